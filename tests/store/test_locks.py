"""Locks: two never hold the same one, however often its file comes and goes."""

import subprocess
import sys
from pathlib import Path

from lucid.store.home import file_name, text_of
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


def test_names_of_files_that_are_not_ours_encode_no_text(tmp_path: Path) -> None:
    """Any text has one file name and comes back from it; what else stands in a folder comes back as nothing."""
    for text in ("..", ".hidden", "a/b", "ünï", "%2e", "x:y", "\0"):
        assert text == text_of(file_name(text))
    for name in (".hidden", "ünï", "%2e", "a b", "%FF", "", "\udcff"):
        assert text_of(name) is None
