"""Locks: two never hold the same one, however often its file comes and goes."""

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import Timeout

from lucid.store.home import Home
from lucid.store.locks import begun, forget, is_worked_on, was_worked_on, working

WORKER = """
import os, sys
from pathlib import Path
from filelock import Timeout
from lucid.store.locks import forget, is_worked_on, working
home, held = Path(sys.argv[1]), 0
inside = home / "inside"
while held < 60:
    try:
        with working(home, "work", 30):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another holds the lock
            held += 1
            inside.unlink()
    except Timeout:
        continue
    forget(home, "work")
    is_worked_on(home, "work")
"""

HOLDER = """
import sys, time
from pathlib import Path
from lucid.store.locks import working
with working(Path(sys.argv[1]), "work"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_free_as_soon_as_its_process_is_gone(tmp_path: Path) -> None:
    """Killed it cannot tidy up, so the file stays and tells that the work was begun."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            assert b"held\n" == holder.stdout.readline()
            assert is_worked_on(tmp_path, "work")
            with pytest.raises(Timeout), working(tmp_path, "work", 0):
                pass
        finally:
            holder.kill()

    assert not is_worked_on(tmp_path, "work")
    assert ["work"] == begun(tmp_path, "")
    with working(tmp_path, "work", 0):
        assert is_worked_on(tmp_path, "work")


def test_a_lock_is_not_held_twice_by_one_process(tmp_path: Path) -> None:
    """Nor by its threads; other work has another lock."""
    with working(tmp_path, "work"), working(tmp_path, "other", 0):
        with pytest.raises(Timeout), working(tmp_path, "work", 0):
            pass

        assert is_worked_on(tmp_path, "work")


def test_asking_for_a_lock_leaves_no_file(tmp_path: Path) -> None:
    """Work that nobody has begun was not begun by a question."""
    assert not is_worked_on(tmp_path, "work")
    forget(tmp_path, "work")

    assert not was_worked_on(tmp_path, "work")
    assert [] == list(tmp_path.iterdir())


def test_only_files_of_ours_tell_of_work(tmp_path: Path) -> None:
    """Names of customers stay within the folder of locks; folders, and names that encode nothing, are left alone."""
    with working(tmp_path, "train-../a/b"):
        assert [Home(tmp_path).lock("train-../a/b")] == list(Home(tmp_path).locks.iterdir())
    (Home(tmp_path).locks / "train-folder.lock").mkdir()
    (Home(tmp_path).locks / "train-a b.lock").touch()
    (Home(tmp_path).locks / "train-c.other").touch()

    assert ["../a/b"] == begun(tmp_path, "train-")


def test_two_never_hold_one_lock_though_all_remove_its_file(tmp_path: Path) -> None:
    """Processes that take the lock and remove its file as often as they can are never inside at the same time."""
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)]) for _ in range(4)]

    assert [0] * len(workers) == [worker.wait(120) for worker in workers]


def test_a_lock_that_is_held_is_not_forgotten(tmp_path: Path) -> None:
    """Its file stays for as long as somebody works, and goes when it is forgotten afterwards."""
    with working(tmp_path, "work"):
        forget(tmp_path, "work")
        assert is_worked_on(tmp_path, "work")
        assert ["rk"] == begun(tmp_path, "wo")

    assert was_worked_on(tmp_path, "work")
    forget(tmp_path, "work")
    assert not was_worked_on(tmp_path, "work")
    assert [] == begun(tmp_path, "wo")
