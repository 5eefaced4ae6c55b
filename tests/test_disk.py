"""What a home takes of the disk is told in full, by kind, model and version, and is cheap to ask for."""

import os
from pathlib import Path
from typing import Any

import pytest

from lucid.disk import DiskMeter
from lucid.store.home import Home
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard


@pytest.fixture
def home(workspace: Workspace, tmp_path: Path) -> Home:
    train_checkerboard(workspace, tmp_path)
    home = Home(workspace.settings.home)
    for folder in (home.logs, home.prefect, home.upload("0" * 32)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("x" * 1000)
    return home


def below(path: Path) -> int:
    """The plain sum."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def test_every_file_counts_once(home: Home) -> None:
    """The kinds together are the home, and models and versions are what lies in their folders."""
    use = DiskMeter(home.path).look()

    assert below(home.path) == use.total
    assert [below(home.batches), below(home.models), 1000] == [use.batches, use.models, use.uploads]
    assert [1000, 1000, home.catalog.stat().st_size] == [use.logs, use.prefect, use.catalog]
    (model,) = use.by_model
    assert ("board", below(home.model("board"))) == (model.model_id, model.bytes)
    assert [(1, below(home.version("board", 1)))] == [(one.version, one.bytes) for one in model.versions]


def test_a_model_says_what_each_version_takes(home: Home, workspace: Workspace) -> None:
    """All its files but the manifest, which tells their sizes."""
    (version,) = workspace.model("board").versions
    folder = home.version("board", 1)

    assert below(folder) - (folder / "manifest.json").stat().st_size == version.bytes


def test_what_does_not_change_is_not_looked_into_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at its folder tells; what came, went or was replaced is seen."""
    meter, looked_into = DiskMeter(home.path), list[str]()
    first = meter.look()
    scan = os.scandir

    def noting(path: str | Path) -> Any:
        looked_into.append(str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", noting)

    again = meter.look()

    assert first == again
    assert [] == [path for path in looked_into if Path(path).parent in (home.batches, home.model("board"))]
    rows = next(home.batches.glob("*/rows.parquet"))
    rows.with_suffix(".new").write_bytes(b"x")
    rows.with_suffix(".new").rename(rows)
    assert below(home.path) == meter.look().total < first.total


def test_a_home_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    """As one whose folder is closed to us."""
    assert 0 == DiskMeter(tmp_path / "none").look().total
