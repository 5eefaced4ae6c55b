"""A version made from another holds every file that a trained one holds."""

from pathlib import Path

import pytest

from lucid.training import steps
from lucid.versions.derive import derive
from lucid.versions.files import TRAINED
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard


@pytest.fixture
def trained(workspace: Workspace, tmp_path: Path) -> Workspace:
    train_checkerboard(workspace, tmp_path)
    return workspace


def files(workspace: Workspace, number: int) -> set[str]:
    return set(Version(workspace.settings.home, "board", number).manifest.files)


def test_a_refresh_and_an_erasure_hold_every_file_of_a_training(trained: Workspace) -> None:
    """A file that is new at training is forgotten by neither of them."""
    of_training = files(trained, 1)

    steps.refresh(trained.settings, "board")
    of_refresh = files(trained, 2)
    trained.erase("u03")

    assert set(TRAINED) <= of_training
    assert of_training == of_refresh
    assert of_training == files(trained, 3)


@pytest.mark.parametrize("forgotten", TRAINED)
def test_a_file_that_is_neither_changed_nor_kept_is_noticed(trained: Workspace, forgotten: str) -> None:
    """Whoever derives a version has to say of each file what becomes of it; nothing is written otherwise."""
    parent, child = (Version(trained.settings.home, "board", number) for number in (1, 2))

    with pytest.raises(AssertionError, match="either changed or kept"):
        derive(parent, child, changed={}, kept={name for name in TRAINED if name != forgotten})

    assert not child.folder.exists()
