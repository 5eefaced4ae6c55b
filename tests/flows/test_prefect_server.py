"""Our own Prefect server: what would make it stand still."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.service import migrated_database

STANDING_STILL = """
import gc, sqlite3, sys, threading, time
from lucid.flows.prefect_server import collect_apart

class Garbage:
    pass

def connect():
    return sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False, timeout=20)

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
for _ in range(250):                             # what an event loop does, until the collector has come
    kept = [[number] for number in range(1000)]
    time.sleep(0.01)
writing.execute("COMMIT")
waiter.join()
"""


def _waiter(database: Path, how: str) -> str:
    """What becomes of one that waits for a lock, whose holder works on for some seconds while garbage is collected."""
    command = [sys.executable, "-c", STANDING_STILL, str(database), how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_garbage_does_not_make_it_stand_still(tmp_path: Path) -> None:
    """A cursor in the garbage of one connection, which waits for a lock of another: the collector waits with it.

    Where the event loop collects, the one that would release the lock waits too, until SQLite gives up.
    """
    assert "got it" == _waiter(tmp_path / "apart.db", "apart")
    assert "database is locked" == _waiter(tmp_path / "loop.db", "loop")


EVALUATING = """
import asyncio, sqlite3, sys
from prefect.server.events import triggers
from sqlalchemy import text
from lucid.flows.prefect_server import evaluate_in_turn

async def evaluate():
    async with triggers.automations_session(begin_transaction=True) as session:
        await session.execute(text("SELECT * FROM alembic_version"))
        with sqlite3.connect(sys.argv[1], timeout=0.1) as other:
            other.execute("UPDATE alembic_version SET version_num = version_num")
        await session.execute(text("UPDATE alembic_version SET version_num = version_num"))

if sys.argv[2] == "in turn":
    evaluate_in_turn()
try:
    asyncio.run(evaluate())
except Exception as error:
    print(type(error).__module__, error)
"""


def test_what_evaluates_triggers_has_its_turn_to_write(tmp_path: Path) -> None:
    """Another writer waits for it, in vain here; else Prefect's own statement fails, and the event is lost to it."""
    database = migrated_database(tmp_path)

    def failed(how: str) -> str:
        command = [sys.executable, "-c", EVALUATING, str(database), how]
        environment = os.environ | {"PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "sqlite3 database is locked" == failed("in turn").strip()
    assert failed("as it was").startswith("sqlalchemy.exc (sqlite3.OperationalError) database is locked")
