"""The catalog's one small DuckDB file, attached for one short transaction at a time.

DuckDB lets one process write or many read, never both, so whoever needs the file attaches it and lets it go again; a
file that another process holds is tried again until a deadline. A process keeps one DuckDB for all its turns: to begin
one takes 11 ms of a processor, to attach a file 1 ms.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from lucid.errors import Unavailable
from lucid.store.duck import connect, expect_handles
from lucid.store.files import keep_private, make_folder, replacing
from lucid.store.machine import machine_error, telling
from lucid.store.tables.migrations import is_current, migrate

LOCK_DEADLINE_SECONDS = 30.0
_CLOSING_SECONDS = 2.0
_COPIES = 3
"""How often a copy is begun that finds what a killed process has left."""
_NAME = "catalog"
"""As what the file is attached."""

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
    """Another process holds the file; worth another try."""


class Database:
    """The file of the catalog; safe to share between threads.

    Raises MachineError in all calls where the machine does not give what they need, Unavailable where the file stays
    locked by another process.
    """

    # A DuckDB attaches a file in one mode at a time, and each call needs only milliseconds, so the threads of a process
    # take turns with it. It is made when it is first needed, and anew after whatever went wrong with it.
    _turn: ClassVar[threading.Lock] = threading.Lock()
    _duckdb: ClassVar[Connection | None] = None

    _ready: ClassVar[set[Path]] = set()

    def __init__(self, path: Path) -> None:
        """Make the file where there is none, or bring it to the tables of this release; else it is only read."""
        self.path = path
        with telling(path.parent):
            if not path.exists():
                make_folder(path.parent)
            elif path in self._ready or self._is_current():
                return
        with telling(path), self._turn, self._attached(read_only=False) as connection:
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
    def forget(cls, path: Path) -> None:
        """Look again at the tables of a file when it is opened next: another one has taken its place."""
        cls._ready.discard(path)

    @classmethod
    def close(cls) -> None:
        """Let no thread of this process open a catalog any more; waits a moment for one that has."""
        if cls._turn.acquire(timeout=_CLOSING_SECONDS):
            cls._end_duckdb()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write; all of it or nothing."""
        with telling(self.path), self._turn, self._attached(read_only=False) as connection:
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
        with telling(self.path), self._turn, self._attached(read_only=True) as connection:
            yield connection

    def remove(self, table: str, which: str, values: Sequence[Any], *, dry_run: bool) -> int:
        """Delete rows of a table that fulfil a condition; returns how many, of which a dry run removes none."""
        with self.reading() if dry_run else self.transaction() as connection:
            found = connection.execute(f"SELECT count(*) FROM {table} WHERE {which}", values).fetchone()
            if found and found[0] and not dry_run:
                connection.execute(f"DELETE FROM {table} WHERE {which}", values)
        return int(found[0]) if found else 0

    def rewrite(self) -> None:
        """Copy the catalog to a new file that takes its place: DuckDB leaves old values in free blocks."""
        self._copy(lambda: replacing(self.path))

    def copy_to(self, target: Path) -> None:
        """Copy the catalog as it is now to a new file."""
        self._copy(lambda: nullcontext(target))

    def _copy(self, place: Callable[[], AbstractContextManager[Path]]) -> None:
        """Copy the catalog to a file that `place` gives, and takes where all of it is there."""
        with telling(self.path), self._turn:
            for _ in range(_COPIES):
                if self._is_copied(place):
                    return
                with self._attached(read_only=False):  # a process was killed; a writer takes in what it left
                    pass
        raise Unavailable(f"{self.path} could not be copied; see that its disk has room, and try again")

    def _is_copied(self, place: Callable[[], AbstractContextManager[Path]]) -> bool:
        """Copy the file, with all writers kept out; False where a log stands beside it that belongs to it."""
        with self._attached(read_only=True) as connection:
            if self.path.with_suffix(".duckdb.wal").exists():
                return False
            with place() as new:
                connection.execute(f"ATTACH {_quoted(new)} AS fresh")
                connection.execute(f"COPY FROM DATABASE {_NAME} TO fresh")
                # Letting go does this too, but says nothing where the disk is full.
                connection.execute("CHECKPOINT fresh")
                connection.execute("DETACH fresh")
        return True

    @contextmanager
    def _attached(self, *, read_only: bool) -> Iterator[Connection]:
        """A connection to the file; whoever asks has the turn."""
        try:
            connection = self._patiently(read_only)
            yield connection
        except BaseException:
            self._let_go()
            raise
        try:
            connection.execute(f"USE memory; DETACH {_NAME}")
        except duckdb.Error:  # no room in the file itself; what was committed stands in the log beside it
            self._end_duckdb()

    def _patiently(self, read_only: bool) -> Connection:
        attempts = Retrying(
            retry=retry_if_exception_type(_Busy),
            wait=wait_random_exponential(multiplier=0.01, max=0.25),
            stop=stop_after_delay(LOCK_DEADLINE_SECONDS),
            reraise=True,
        )
        try:
            return attempts(self._attach, read_only)
        except _Busy as busy:
            raise Unavailable(
                f"{self.path} stayed locked by another process for {LOCK_DEADLINE_SECONDS:.0f} s; try again"
            ) from busy

    def _attach(self, read_only: bool) -> Connection:
        expect_handles(self.path)
        connection = self._duckdb
        if connection is None:
            Database._duckdb = connection = connect(threads=1)
        try:
            file = self.path.stat().st_ino if self.path.exists() else None
            connection.execute(f"ATTACH {_quoted(self.path)} AS {_NAME} {'(READ_ONLY)' if read_only else ''}")
        except duckdb.IOException as error:
            raise _busy_or_unavailable(self.path, error) from error
        if file not in (None, self.path.stat().st_ino):  # it was written anew in this moment
            connection.execute(f"DETACH {_NAME}")
            raise _Busy
        connection.execute(f"USE {_NAME}")
        return connection

    def _let_go(self) -> None:
        """Hold the file no more, whatever has gone wrong in the middle of what."""
        if self._duckdb is not None:
            # One that is only closed may hold the file for as long as the error that is told names it.
            for statement in ("ROLLBACK", "USE memory", f"DETACH {_NAME}", "DETACH fresh"):
                with suppress(duckdb.Error):  # there is nothing to roll back, or to let go
                    self._duckdb.execute(statement)
        self._end_duckdb()

    @classmethod
    def _end_duckdb(cls) -> None:
        if cls._duckdb is not None:
            cls._duckdb.close()
            cls._duckdb = None


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
