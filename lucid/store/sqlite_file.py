"""SQLite files of the home with a write-ahead log: written by several processes, and whole after every crash.

What a transaction has written survives every crash once it is committed; one that was torn is as if it had never been.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from lucid.errors import Damaged, Unavailable
from lucid.store.files import fsync, make_folder
from lucid.store.machine import telling

_BUSY_SECONDS = 30.0
_CHECKPOINT_PAGES = 4000
"""The log before the file is taken in when it has so many pages, 16 MB."""
_LACKS = {
    sqlite3.SQLITE_FULL: 28,  # ENOSPC
    sqlite3.SQLITE_IOERR: 5,  # EIO
    sqlite3.SQLITE_CANTOPEN: 13,  # EACCES
    sqlite3.SQLITE_PERM: 13,
    sqlite3.SQLITE_READONLY: 30,  # EROFS
    sqlite3.SQLITE_NOMEM: 12,  # ENOMEM
}
"""What SQLite says of the machine, as the system's number."""


class SqliteFile:
    """A file with a schema of our own; safe to share between threads. It is made when it is first written.

    Calls raise MachineError where the machine does not give what they need, Unavailable where another process holds the
    file for too long, Damaged where it cannot be read; the message ends with what is lost then.

    `changes` are statements that later releases have added to the schema, each done once, and only by who writes; who
    reads a file that lacks some has `as_changed` done first, which may make temporary views alone.
    """

    def __init__(
        self, path: Path, schema: str, last_table: str, lost: str, changes: Sequence[str] = (), as_changed: str = ""
    ) -> None:
        self.path = path
        self._schema, self._last_table, self._lost = schema, last_table, lost
        self._changes, self._as_changed = changes, as_changed
        self._turn = threading.Lock()
        self._writer: sqlite3.Connection | None = None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; all of it or nothing."""
        with self._turn, self._telling():
            try:
                if self._writer is None:
                    self._writer = self._open()
                connection = self._writer
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error:
                self._let_go()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to what is there now, as of one moment; None where nothing was ever written."""
        if not self.path.exists():
            yield None
            return
        # Where nobody may write, SQLite cannot make the files by which writers and readers know of each other.
        wal = self.path.with_name(self.path.name + "-wal")
        alone = not os.access(self.path.parent, os.W_OK) and not wal.exists()
        uri = f"{self.path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        with self._telling(), closing(_connect(uri)) as connection:
            connection.execute("BEGIN")
            is_made = self._is_made(connection)
            if is_made and _changed(connection) < len(self._changes):
                connection.execute(self._as_changed)
            yield connection if is_made else None

    def copy_to(self, target: Path) -> bool:
        """Copy the file as it is now to a new one; tells whether there is one."""
        with self.reading() as connection:
            if connection is None:
                return False
            with closing(sqlite3.connect(target)) as copy:
                connection.backup(copy)
        return True

    def empty_wal(self) -> None:
        """Take in what stands beside the file, which would go on holding what was removed; readers are waited for."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            with self._turn, self._telling():
                if self._writer is None:
                    self._writer = self._open()
                (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.path} stayed in use for {_BUSY_SECONDS:.0f} s; try again")
            time.sleep(0.05)

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        with self._turn:
            self._let_go()

    def _let_go(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> sqlite3.Connection:
        """The file for writing, which is made where there is none, for nobody else."""
        make_folder(self.path.parent)
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            fsync(self.path.parent)
        connection = _connect(f"{self.path.absolute().as_uri()}?mode=rw")
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before it is told
            connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            if not self._is_made(connection):
                connection.executescript(f"BEGIN IMMEDIATE; {self._schema} COMMIT;")
            if _changed(connection) < len(self._changes):
                self._change(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _change(self, connection: sqlite3.Connection) -> None:
        """Do the changes that a file lacks, all or none, and not those that another process has done meanwhile."""
        connection.execute("BEGIN IMMEDIATE")
        for number, change in enumerate(self._changes[_changed(connection) :], start=_changed(connection) + 1):
            connection.execute(change)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")

    def _is_made(self, connection: sqlite3.Connection) -> bool:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [self._last_table]).fetchone()
        return found is not None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell what SQLite says as one of our errors."""
        try:
            with telling(self.path):
                try:
                    yield
                except sqlite3.Error as error:
                    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                    if code in _LACKS:
                        raise OSError(_LACKS[code], str(error), str(self.path)) from error
                    raise
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(
                    f"{self.path} stayed locked by another process for {_BUSY_SECONDS:.0f} s; try again"
                ) from error
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError):
                raise Damaged(
                    f"{self.path} cannot be read ({error}); restore it from a backup, or move it away: {self._lost}"
                ) from error
            raise


def _changed(connection: sqlite3.Connection) -> int:
    """How many changes a file has seen."""
    (count,) = connection.execute("PRAGMA user_version").fetchone()
    return int(count)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
