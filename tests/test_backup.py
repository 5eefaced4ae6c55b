"""Backups: what is restored is what was backed up, or nothing."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from lucid import backup
from lucid.backup import MANIFEST, read_backup
from lucid.data.batches import new_batches
from lucid.errors import Damaged, InvalidRequest, LucidError, MachineError, Unavailable
from lucid.keys import create_key
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.documents import sealed
from lucid.store.files import copy_new
from lucid.store.home import Home
from lucid.store.locks import working
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard

DIES = """
import os, sys
from pathlib import Path
from lucid import backup
from lucid.settings import Settings

done, most = 0, int(sys.argv[4])
copy_new = backup.copy_new

def dying(source, target):
    global done
    done += 1
    if done > most:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read()[:7])
        os.kill(os.getpid(), 9)
    return copy_new(source, target)

backup.copy_new = dying
settings = Settings(home=Path(sys.argv[2]))
getattr(backup, sys.argv[1])(settings, Path(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("original")
    workspace = train_checkerboard(Workspace(folder / "home"), folder / "files")
    create_key(Catalog(workspace.settings.home))
    workspace.train("other")
    return workspace


@pytest.fixture(scope="module")
def taken(original: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("taken") / "backup"
    original.back_up(target)
    return target


def answers(workspace: Workspace) -> pd.DataFrame:
    return workspace.recommend("board", source_type="user", target_type="item")


def damage(path: Path) -> None:
    """Change one byte in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_restored_home_is_the_one_that_was_backed_up(original: Workspace, taken: Path, tmp_path: Path) -> None:
    """Answers, batches, models, reports and keys; every file but the catalog is the same to the byte."""
    restored = Workspace.restore(taken, tmp_path / "elsewhere" / "home")

    assert answers(original).equals(answers(restored))
    assert original.batches() == restored.batches()
    assert original.models() == restored.models()
    assert Catalog(original.settings.home).keys.all() == Catalog(restored.settings.home).keys.all()
    assert {"ok"} == {finding.state for finding in restored.check()}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in taken.rglob("*") if path.is_file()}
    saved = contents(taken)
    assert {MANIFEST, "catalog.duckdb"} == {
        name for name, content in saved.items() if contents(original.settings.home).get(name) != content
    }


def test_a_restored_home_can_be_worked_with(taken: Path, tmp_path: Path) -> None:
    """It is trained, refreshed by a training, erased from, and backed up again."""
    restored = Workspace.restore(taken, tmp_path / "home")

    assert "completed" == restored.train("board").status
    restored.erase(["u00"])
    again = restored.back_up(tmp_path / "again")
    assert 2 == again.batches
    assert "u00" not in set(answers(Workspace.restore(tmp_path / "again", tmp_path / "third"))["source_id"])


def kinds(folder: Path) -> list[str]:
    """One file of each kind in a backup."""
    files = {Path(name).name: name for name in contents(folder)}
    return sorted(files.values())


def test_one_wrong_byte_in_any_kind_of_file_is_told_by_its_name(taken: Path, tmp_path: Path) -> None:
    """And nothing of the backup is to be seen."""
    names = [name for name in kinds(taken) if (taken / name).stat().st_size]
    assert {"catalog.duckdb", MANIFEST} < set(names)
    for number, name in enumerate(names):
        copied = tmp_path / str(number)
        shutil.copytree(taken, copied)
        damage(copied / name)

        with pytest.raises(Damaged, match=Path(name).name.replace(".", r"\.")):
            Workspace.restore(copied, tmp_path / "home")

        assert not (tmp_path / "home").exists()
    assert {str(number) for number in range(len(names))} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_backup_that_lacks_something_is_refused(taken: Path, tmp_path: Path, how: str) -> None:
    """With the name of the file; a folder without the list of its files is no backup at all."""
    copied = shutil.copytree(taken, tmp_path / "copied")
    (name,) = [name for name in contents(copied) if name.endswith("board/1/embeddings.safetensors")]
    if how == "missing":
        (copied / name).unlink()
    else:
        os.truncate(copied / name, 100)

    with pytest.raises(Damaged, match=r"embeddings\.safetensors"):
        Workspace.restore(copied, tmp_path / "home")
    (copied / MANIFEST).unlink()
    with pytest.raises(InvalidRequest, match="no complete backup"):
        Workspace.restore(copied, tmp_path / "home")

    assert not (tmp_path / "home").exists()


def test_a_list_that_leads_out_of_the_home_is_refused(tmp_path: Path, taken: Path) -> None:
    """Whoever made it, and however well it is sealed."""
    copied = shutil.copytree(taken, tmp_path / "copied")
    listed = json.loads((copied / MANIFEST).read_text())
    del listed["seal"]
    listed["files"]["../evil"] = listed["files"].pop("catalog.duckdb")
    shutil.copy(copied / "catalog.duckdb", tmp_path / "evil")
    (copied / MANIFEST).write_text(sealed(listed))

    with pytest.raises(Damaged, match=MANIFEST):
        Workspace.restore(copied, tmp_path / "home")

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("most", [0, 1, 5])
def test_a_backup_that_is_killed_leaves_none(original: Workspace, tmp_path: Path, most: int) -> None:
    """And does not stand in the way of the next one."""
    command = [sys.executable, "-c", DIES, "back_up", str(original.settings.home), str(tmp_path / "b"), str(most)]

    assert -signal.SIGKILL == subprocess.run(command, check=False).returncode
    assert not (tmp_path / "b").exists()
    original.back_up(tmp_path / "b")
    assert ["b"] == [path.name for path in tmp_path.iterdir()]
    assert answers(original).equals(answers(Workspace.restore(tmp_path / "b", tmp_path / "home")))


@pytest.mark.parametrize("most", [0, 1, 5, 20])
def test_a_restore_that_is_killed_leaves_no_home(original: Workspace, taken: Path, tmp_path: Path, most: int) -> None:
    """And does not stand in the way of the next one."""
    home = tmp_path / "home"
    command = [sys.executable, "-c", DIES, "restore", str(home), str(taken), str(most)]

    assert -signal.SIGKILL == subprocess.run(command, check=False).returncode
    assert not home.exists()
    assert answers(original).equals(answers(Workspace.restore(taken, home)))
    assert ["home"] == [path.name for path in tmp_path.iterdir()]


def test_a_backup_goes_into_a_folder_that_is_new_or_empty(original: Workspace, tmp_path: Path) -> None:
    """Not over another backup, nor a file, nor into the home itself."""
    (tmp_path / "empty").mkdir()
    original.back_up(tmp_path / "empty")
    before = contents(tmp_path / "empty")
    (tmp_path / "file").write_text("mine")

    for target in ("empty", "file"):
        with pytest.raises(InvalidRequest, match="exists already"):
            original.back_up(tmp_path / target)
    with pytest.raises(InvalidRequest, match="lies in the home itself"):
        original.back_up(original.settings.home / "backup")

    assert before == contents(tmp_path / "empty")
    assert "mine" == (tmp_path / "file").read_text()


def test_what_is_no_home_is_not_backed_up(tmp_path: Path) -> None:
    """And is not made into one."""
    with pytest.raises(InvalidRequest, match="no home of Lucid"):
        backup.back_up(Settings(home=tmp_path / "nothing"), tmp_path / "b")

    assert [] == [*tmp_path.iterdir()]


def test_a_home_that_is_there_stays_unless_it_is_to_be_replaced(taken: Path, tmp_path: Path) -> None:
    """Then it stands beside, under another name, with all that was in it."""
    home = tmp_path / "home"
    mine = create_key(Catalog(home))[0]
    with pytest.raises(InvalidRequest, match=r"is not empty \(catalog\.duckdb\)"):
        Workspace.restore(taken, home)
    assert [mine] == Catalog(home).keys.all()

    restored = Workspace.restore(taken, home, replace=True)

    assert 2 == len(restored.batches())
    (aside,) = tmp_path.glob("home.replaced-*")
    assert [mine] == Catalog(aside).keys.all()


def test_a_home_that_is_served_is_not_replaced(taken: Path, tmp_path: Path) -> None:
    """Not even where it is to be."""
    home = tmp_path / "home"
    with working(home, "service"), pytest.raises(InvalidRequest, match="lucid down"):
        Workspace.restore(taken, home, replace=True)

    assert ["home"] == [path.name for path in tmp_path.iterdir()]


def test_a_full_disk_is_told_and_leaves_nothing(
    original: Workspace, taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a backup and of a restore, with the path."""

    def full(_source: object, target: Path) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(backup, "copy_new", full)

    with pytest.raises(MachineError, match="No space left"):
        original.back_up(tmp_path / "b")
    with pytest.raises(MachineError, match="No space left"):
        Workspace.restore(taken, tmp_path / "home")

    assert [] == [*tmp_path.iterdir()]


def test_a_target_below_a_file_is_told(original: Workspace, tmp_path: Path) -> None:
    """With the path and what to see to."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(LucidError, match="file"):
        original.back_up(tmp_path / "file" / "b")


def test_files_that_go_while_they_are_copied_belong_to_an_earlier_moment(
    original: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later one is taken, in which all is whole: here a batch is deleted in the middle."""
    copied = Workspace.restore(_backed_up(original, tmp_path), tmp_path / "home")
    gone = copied.batches()[1].batch_id
    asked = list[str]()

    def deleting(source: object, target: Path) -> tuple[int, str]:
        if not asked:
            asked.append(gone)
            copied.delete_batches([gone])
        return copy_new(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "copy_new", deleting)
    made = copied.back_up(tmp_path / "later")
    monkeypatch.undo()

    assert 1 == made.batches
    assert [] == [name for name in made.files if gone in name]
    assert sorted(made.files) == sorted(set(contents(tmp_path / "later")) - {MANIFEST})
    assert copied.batches() == Workspace.restore(tmp_path / "later", tmp_path / "third").batches()


def test_a_version_that_is_damaged_is_told_and_backed_up_as_it_is(original: Workspace, tmp_path: Path) -> None:
    """A backup may be all that is left."""
    copied = Workspace.restore(_backed_up(original, tmp_path), tmp_path / "home")
    damage(Home(copied.settings.home).version("other", 1) / "embeddings.safetensors")

    made = copied.back_up(tmp_path / "later")

    assert ("models/other/1 is damaged: embeddings.safetensors is not as it was published; see: lucid check",) == (
        made.warnings
    )
    assert made == read_backup(tmp_path / "later")


def test_an_upload_that_waits_is_imported_from_the_restored_home(original: Workspace, tmp_path: Path) -> None:
    """Its file is in the backup, and is looked for where it is now."""
    copied = Workspace.restore(_backed_up(original, tmp_path), tmp_path / "home")
    (batch,) = new_batches(["waits.csv"], ["late"])
    waiting = Home(copied.settings.home).upload(batch.batch_id) / "waits.csv"
    waiting.parent.mkdir(parents=True)
    waiting.write_text("rows")
    parameters = {"files": [str(waiting)], "batch_ids": [batch.batch_id]}
    Catalog(copied.settings.home).batches.enter([batch], parameters)
    copied.back_up(tmp_path / "later")
    shutil.rmtree(copied.settings.home)

    restored = Workspace.restore(tmp_path / "later", tmp_path / "third")

    found = Catalog(restored.settings.home).batches.first_waiting()
    assert found is not None
    assert ["rows"] == [Path(file).read_text() for file in found.parameters["files"]]


def test_a_home_that_is_a_link_is_restored_where_it_leads(original: Workspace, taken: Path, tmp_path: Path) -> None:
    """And one that is empty is no obstacle."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")

    restored = Workspace.restore(taken, tmp_path / "home")

    assert (tmp_path / "home").is_symlink()
    assert answers(original).equals(answers(restored))


def test_a_home_that_is_mounted_is_filled_where_it_is(
    original: Workspace, taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nothing can take its place; one that is not empty stays, and a backup is not made on top of a disk."""
    home = tmp_path / "home"
    (home / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == home)

    with pytest.raises(InvalidRequest, match="a disk of its own"):
        original.back_up(home)
    restored = Workspace.restore(taken, home)
    with pytest.raises(InvalidRequest, match="empty it, or name another"):
        Workspace.restore(taken, home, replace=True)

    assert answers(original).equals(answers(restored))
    assert [] == [path.name for path in home.iterdir() if "restored" in path.name]


def test_prefect_is_backed_up_where_the_home_has_its_database(
    original: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written to; another that Prefect was told to use is not there, which the backup says."""
    copied = Workspace.restore(_backed_up(original, tmp_path), tmp_path / "home")
    database = Home(copied.settings.home).prefect / "prefect.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as written:
        written.execute("PRAGMA journal_mode=WAL")
        written.execute("CREATE TABLE schedules AS SELECT 'board' AS model")
        written.commit()
        written.execute("INSERT INTO schedules VALUES ('not committed yet')")
        assert copied.back_up(tmp_path / "later").schedules
    restored = Workspace.restore(tmp_path / "later", tmp_path / "third")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://me:secret@db/prefect")

    assert not copied.back_up(tmp_path / "without").schedules
    with closing(sqlite3.connect(Home(restored.settings.home).prefect / "prefect.db")) as found:
        assert [("board",)] == found.execute("SELECT model FROM schedules").fetchall()


def test_a_backup_of_a_later_release_is_refused(taken: Path, tmp_path: Path) -> None:
    """Whether its list or its catalog is of a form that this one does not know."""
    copied = shutil.copytree(taken, tmp_path / "copied")
    listed = json.loads((copied / MANIFEST).read_text())
    del listed["seal"]
    (copied / MANIFEST).write_text(sealed({**listed, "format": 2}))

    with pytest.raises(Unavailable, match="a later release of Lucid"):
        Workspace.restore(copied, tmp_path / "home")

    assert not (tmp_path / "home").exists()


def _backed_up(original: Workspace, folder: Path) -> Path:
    original.back_up(folder / "first")
    return folder / "first"
