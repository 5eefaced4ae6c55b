"""Our own Prefect server: what would make it stand still."""

import subprocess
import sys
from pathlib import Path

STANDING_STILL = """
import gc, sqlite3, sys, threading, time
from lucid.flows.prefect_server import collect_apart

class Garbage:
    pass

def connect():
    return sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False, timeout=10)

writing, waiting = connect(), connect()
writing.execute("PRAGMA journal_mode = WAL")
if sys.argv[2] == "apart":
    collect_apart()
garbage = Garbage()
garbage.cursor, garbage.itself = waiting.execute("VALUES (1), (2)"), garbage
del garbage                                      # only the collector frees it, and its cursor
writing.execute("BEGIN IMMEDIATE")

def wait():
    try:
        waiting.execute("BEGIN IMMEDIATE")
        print("got it")
    except sqlite3.OperationalError as error:
        print(error)

waiter = threading.Thread(target=wait)
waiter.start()
time.sleep(0.5)                                  # it waits for the lock, and holds its connection
began = time.monotonic()
while time.monotonic() - began < 2.5:            # what an event loop does, until the collector has come
    kept = [[number] for number in range(1000)]
    time.sleep(0.01)
writing.execute("COMMIT")
waiter.join()
"""


def _waiter(database: Path, how: str) -> str:
    """What becomes of one that waits for a lock, whose holder works on for 2.5 s while garbage is collected."""
    command = [sys.executable, "-c", STANDING_STILL, str(database), how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_garbage_does_not_make_it_stand_still(tmp_path: Path) -> None:
    """A cursor in the garbage of one connection, which waits for a lock of another: the collector waits with it.

    Where the event loop collects, the one that would release the lock waits too, until SQLite gives up.
    """
    assert "got it" == _waiter(tmp_path / "apart.db", "apart")
    assert "database is locked" == _waiter(tmp_path / "loop.db", "loop")
