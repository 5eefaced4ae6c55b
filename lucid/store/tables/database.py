"""The catalog's one small DuckDB file, opened for one short transaction at a time.

DuckDB lets one process write or many read, never both, so whoever needs the file opens it and closes it again; a file
that another process holds is tried again until a deadline.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from lucid.errors import Unavailable
from lucid.store.duck import connect
from lucid.store.files import keep_private, make_folder, replacing
from lucid.store.machine import machine_error, telling
from lucid.store.tables.migrations import is_current, migrate

LOCK_DEADLINE_SECONDS = 30.0
_CLOSING_SECONDS = 2.0

MAX_MESSAGE = 1000
"""How much of a message is kept, in characters."""

Connection = duckdb.DuckDBPyConnection
Row = dict[str, Any]
"""A row by the names of its columns."""


@dataclass(frozen=True)
class Ended:
    """A piece of work that has ended: what it was, a name that no other of its kind has, how it ended, and when."""

    work: str
    name: str
    outcome: str
    started: datetime
    ended: datetime


class _Busy(Exception):
    """Another connection holds the file; worth another try."""


class Database:
    """The file of the catalog; safe to share between threads.

    Raises MachineError in all calls where the machine does not give what they need, Unavailable where the file stays
    locked by another process.
    """

    # DuckDB refuses two connections of one process with different access modes, and each call needs only
    # milliseconds, so the threads of a process take turns.
    _turn: ClassVar[threading.Lock] = threading.Lock()

    # A connection is only gone some time after it was closed, when nothing names it any more.
    _connections: ClassVar[WeakSet[Connection]] = WeakSet()

    _ready: ClassVar[set[Path]] = set()

    def __init__(self, path: Path) -> None:
        """Make the file where there is none, or bring it to the tables of this release; else it is only read."""
        self.path = path
        with telling(path.parent):
            if not path.exists():
                make_folder(path.parent)
            elif path in self._ready or self._is_current():
                return
        with telling(path), self._turn, self._connect(read_only=False) as connection:
            keep_private(path)  # before anything stands in it
            migrate(connection)
        self._ready.add(path)

    def _is_current(self) -> bool:
        with self.reading() as connection:
            current = is_current(connection)
        if current:
            self._ready.add(self.path)
        return current

    @classmethod
    def close(cls) -> None:
        """Let no thread of this process open a catalog any more; waits a moment for one that has."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        cls._turn.acquire(timeout=_CLOSING_SECONDS)
        while cls._connections and time.monotonic() < deadline:
            time.sleep(0.001)  # a thread whose turn is over may still take its connection down

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write; all of it or nothing."""
        with telling(self.path), self._turn, self._connect(read_only=False) as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read what is there now."""
        with telling(self.path), self._turn, self._connect(read_only=True) as connection:
            yield connection

    def rewrite(self) -> None:
        """Copy the catalog to a new file that takes its place: DuckDB leaves old values in free blocks."""
        with telling(self.path), self._turn, self._patiently(self._attach) as connection, replacing(self.path) as new:
            connection.execute(f"ATTACH {_quoted(new)} AS fresh")
            connection.execute("COPY FROM DATABASE old TO fresh")
            connection.execute("CHECKPOINT fresh")  # letting go does it too, but says nothing where the disk is full
            connection.execute("DETACH fresh")

    def _attach(self) -> Connection:
        """A connection that only reads the catalog, as `old`, and keeps all writers out."""
        connection = connect()
        try:
            connection.execute(f"ATTACH {_quoted(self.path)} AS old (READ_ONLY)")
        except duckdb.IOException as error:
            raise _busy_or_unavailable(self.path, error) from error
        if self.path.with_suffix(".duckdb.wal").exists():  # a process was killed; the next writer takes it in
            connection.close()
            with self._connect(read_only=False):
                raise _Busy
        return connection

    def _connect(self, *, read_only: bool) -> Connection:
        return self._patiently(lambda: self._open(read_only))

    def _patiently(self, opening: Callable[[], Connection]) -> Connection:
        attempts = Retrying(
            retry=retry_if_exception_type(_Busy),
            wait=wait_random_exponential(multiplier=0.01, max=0.25),
            stop=stop_after_delay(LOCK_DEADLINE_SECONDS),
            reraise=True,
        )
        try:
            connection = attempts(opening)
        except _Busy as busy:
            raise Unavailable(
                f"{self.path} stayed locked by another process for {LOCK_DEADLINE_SECONDS:.0f} s; try again"
            ) from busy
        self._connections.add(connection)
        return connection

    def _open(self, read_only: bool) -> Connection:
        try:
            file = self.path.stat().st_ino if self.path.exists() else None
            connection = connect(self.path, read_only=read_only, threads=1)
        except duckdb.IOException as error:
            raise _busy_or_unavailable(self.path, error) from error
        if file not in (None, self.path.stat().st_ino):  # it was written anew in this moment
            connection.close()
            raise _Busy
        return connection


def rows(found: Connection) -> list[Row]:
    """What a statement has found, each row by the names of its columns."""
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def row(found: Connection) -> Row | None:
    """The first row that a statement has found; None where it found none."""
    return next(iter(rows(found)), None)


def cut(message: str) -> str:
    """A message as it is kept."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def list_or_none(values: Any) -> list[Any] | None:
    return list(values) if values is not None else None


def _busy_or_unavailable(path: Path, error: duckdb.IOException) -> Exception:
    if "Could not set lock" in str(error):
        return _Busy()
    return machine_error(error, path) or Unavailable(f"{path} cannot be opened: {error}")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
