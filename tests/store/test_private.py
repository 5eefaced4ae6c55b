"""What stands in a home is for its owner alone, whatever the umask of whoever starts Lucid."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lucid.store.files import close_home, make_folder, open_new, write_text
from tests.support.checkerboard import write_checkerboard
from tests.support.modes import open_to_others

_LIBRARY = """
import os, sys
from pathlib import Path

from lucid import Workspace
from lucid.store.catalog import Catalog
from lucid.erasure import requests
from lucid.keys import create_key
from lucid.webhooks.callbacks import callback_secret
from lucid.training.steps import refresh

home, *files = map(Path, sys.argv[1:])
workspace = Workspace(home)
workspace.import_files(files, tags=["a"])
workspace.train("board")
workspace.import_files(files[1:])
refresh(workspace.settings, "board")
create_key(Catalog(home), "shop")
callback_secret(workspace.settings)
workspace.erase("u01")
requests.enter(workspace.settings, ["u03"])
workspace.recommend("board", source_id="u02", target_type="item")
print(os.umask(0))
"""


def run(umask: int, home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "LUCID_HOME": str(home)},
        umask=umask,
        check=False,
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def files_with_a_bad_row(folder: Path) -> list[str]:
    entities, interactions = write_checkerboard(folder)
    with entities.open("a") as file:
        file.write(",user,no id,,\n")
    return [str(entities), str(interactions)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_the_command_leaves_is_for_its_owner_alone(tmp_path: Path) -> None:
    """After imports, trainings, keys and erasures nobody else has a right to any file or folder of the home.

    What goes to --output is the user's own file, with the mode that the user's umask gives.
    """
    home, output = tmp_path / "home", tmp_path / "all.csv"

    def lucid(*arguments: str, umask: int = 0) -> None:
        run(umask, home, "-m", "lucid", *arguments)

    lucid("import", *files_with_a_bad_row(tmp_path), "--tags", "a")
    lucid("train", "--model-id", "board")
    lucid("keys", "create", "--name", "shop")
    lucid("erase", "u01")
    lucid(*f"recommend --model-id board --source-id u02 --target-type item --output {output}".split(), umask=0o027)

    assert [] == open_to_others(home)
    assert {"batches", "models", "locks", "catalog.duckdb"} <= {path.name for path in home.iterdir()}
    assert 0o640 == mode(output)


def test_what_the_library_leaves_is_for_its_owner_alone(tmp_path: Path) -> None:
    """In somebody else's process files and folders are as private, and the umask of that process stays."""
    home = tmp_path / "home"

    umask = run(0, home, "-c", _LIBRARY, str(home), *files_with_a_bad_row(tmp_path))

    assert "0\n" == umask
    assert [] == open_to_others(home)
    assert {"batches", "models", "erasures", "catalog.duckdb"} <= {path.name for path in home.iterdir()}


@pytest.mark.parametrize("before", [0o755, 0o770, 0o707, 0o700])
def test_a_home_that_exists_is_closed_when_a_command_begins(tmp_path: Path, before: int) -> None:
    """A home of an earlier release, or one that somebody made by hand, lets nobody in any more."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(before)

    run(0, home, "-m", "lucid", "keys", "list")

    assert 0o700 == mode(home)


def test_a_place_for_all_is_not_closed(tmp_path: Path) -> None:
    """A folder like /tmp, in which everybody may write, is not taken away from them."""
    tmp_path.chmod(0o1777)

    close_home(tmp_path)

    assert 0o1777 == mode(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_home_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    """Who owns a folder decides who may look into it."""
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 65534, -1)

    close_home(tmp_path)

    assert 0o755 == mode(tmp_path)


def test_every_folder_on_the_way_is_private_and_an_old_one_stays(tmp_path: Path) -> None:
    """Folders that are made are for nobody else, those above as well; what was there keeps its mode."""
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "a" / "b")
        write_text(tmp_path / "a" / "text", "€")
        open_new(tmp_path / "new").close()
    finally:
        os.umask(before)

    assert [tmp_path] == open_to_others(tmp_path)
    assert "€" == (tmp_path / "a" / "text").read_text(encoding="utf-8")
