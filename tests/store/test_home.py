"""The home: nothing stands in it but what has its place there, and names of customers stay within theirs."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lucid.store.home import Home, file_name, text_of
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@example("..")
@example(".hidden")
@example("%2e")
@example("\0")
def test_any_text_is_one_file_name_and_comes_back(text: str) -> None:
    """Whatever it holds, it leads out of no folder and hides nothing."""
    name = file_name(text)

    assert "/" not in name
    assert not name.startswith(".")
    assert text == text_of(name)


@pytest.mark.parametrize("name", ["", "a b", "ä", "%zz", "%2e", "%FF", ".hidden", "a%2fb", "\udcff"])
def test_names_that_are_not_ours_mean_nothing(name: str) -> None:
    """What somebody else has put there is left alone."""
    assert text_of(name) is None


def test_work_leaves_nothing_in_a_home_that_has_no_place_there(workspace: Workspace, tmp_path: Path) -> None:
    """After imports, a training and an erasure, every entry is one that `Home` names."""
    train_checkerboard(workspace, tmp_path)
    workspace.erase("u03")
    home = Home(workspace.settings.home)
    named = {getattr(home, name) for name in vars(Home) if isinstance(getattr(Home, name), property)}

    assert set(home.path.iterdir()) <= named
    assert {home.model("board")} == set(home.models.iterdir())
    assert {home.batch(batch.batch_id) for batch in workspace.batches()} == set(home.batches.iterdir())
