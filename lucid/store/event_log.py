"""The log of events: single interactions and entities that were accepted, until they are compacted into batches.

One SQLite file with a write-ahead log: what a call of `append` has written survives every crash once it returns, a
record that was torn is as if it had never been, and several processes may write. Numbers of events rise and never come
again.
"""

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lucid.store.home import Home
from lucid.store.sqlite_file import SqliteFile

_DIGEST_BYTES = 16
_AT_ONCE = 500
"""How many ids stand in one statement."""
_PIECES = 64
"""Known ids are forgotten in so many pieces, between which others may write."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, received INTEGER NOT NULL, event_id TEXT,
    id TEXT, type TEXT NOT NULL, name TEXT, metadata TEXT, media_url TEXT,
    source_id TEXT, target_id TEXT, timestamp INTEGER, source_type TEXT, target_type TEXT);
CREATE INDEX IF NOT EXISTS events_by_id ON events (id) WHERE id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_by_source ON events (source_id, target_id, timestamp) WHERE source_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_by_target ON events (target_id) WHERE target_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS known_ids (digest BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = (
    "received, event_id, id, type, name, metadata, media_url, source_id, target_id, timestamp, source_type, target_type"
)
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that was checked: an entity has an `id`, an interaction a `source_id` and a `target_id`.

    Times are microseconds since 1970, UTC; `timestamp` is None for entities, and for interactions without a time.
    """

    received: int
    event_id: str | None
    id: str | None
    type: str
    name: str | None
    metadata: str | None
    media_url: str | None
    source_id: str | None
    target_id: str | None
    timestamp: int | None
    source_type: str | None
    target_type: str | None

    @property
    def is_entity(self) -> bool:
        return self.id is not None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its number in the log."""

    number: int
    event: NewEvent


class Reading:
    """What stands in a log at one moment; without a connection, nothing."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    def last(self) -> int:
        """The number of the last event that there ever was; 0 for none."""
        return _last(self._connection) if self._connection else 0

    def first(self) -> int | None:
        """The number of the first event that is still there; None for none."""
        found = self._select("SELECT min(number) FROM events", [])
        return found[0][0] if found else None

    def count(self, after: int) -> int:
        """How many events come after a number."""
        found = self._select("SELECT count(*) FROM events WHERE number > ?", [after])
        return int(found[0][0]) if found else 0

    def after(self, number: int, most: int, through: int | None = None) -> list[LoggedEvent]:
        """The first events that come after a number, at most so many, and none beyond `through`."""
        through = self.last() if through is None else through
        return self._found("number > ? AND number <= ? ORDER BY number LIMIT ?", [number, through, most])

    def latest(self, most: int, after: int) -> list[LoggedEvent]:
        """The last events that come after a number, at most so many, in their order."""
        return self._found("number > ? ORDER BY number DESC LIMIT ?", [after, most])[::-1]

    def naming(self, ids: Collection[str], after: int) -> list[LoggedEvent]:
        """Events that come after a number and define one of the ids, or have it at either end; in their order."""
        found, wanted = dict[int, LoggedEvent](), sorted(ids)
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            for column in ("id", "source_id", "target_id"):
                where = f"{column} IN ({', '.join('?' * len(part))}) AND number > ?"
                found |= {one.number: one for one in self._found(where, [*part, after])}
        return [found[number] for number in sorted(found)]

    def repeats(self, first: int, last: int, after: int) -> set[int]:
        """Numbers of interactions, from one number to another, that equal an earlier one that comes after a number."""
        found = self._select(
            "SELECT number FROM events one WHERE number BETWEEN ? AND ? AND EXISTS (SELECT 1 FROM events WHERE "
            "source_id = one.source_id AND target_id = one.target_id AND timestamp IS one.timestamp "
            "AND type = one.type AND number < one.number AND number > ?)",
            [first, last, after],
        )
        return {number for (number,) in found}

    def _found(self, where: str, values: Sequence[object]) -> list[LoggedEvent]:
        found = self._select(f"SELECT number, {_COLUMNS} FROM events WHERE {where}", values)
        return [LoggedEvent(number, NewEvent(*rest)) for number, *rest in found]

    def _select(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall() if self._connection else []


class EventLog:
    """The log of a home; safe to share between threads. The file is made with the first event.

    Calls raise as `SqliteFile` does.
    """

    def __init__(self, home: Path) -> None:
        self._file = SqliteFile(Home(home).events, _SCHEMA, "known_ids", "what waits in it is lost")

    @property
    def path(self) -> Path:
        return self._file.path

    def append(self, events: Sequence[NewEvent], after: int) -> list[bool]:
        """Write events, all or none, numbered above `after`; returns which are new: others have a known `event_id`.

        They are on the disk when this returns.
        """
        with self._file.writing() as connection:
            _continue_after(connection, after)
            day = int(time.time() // _DAY_SECONDS)
            new = [event.event_id is None or _is_new(connection, event.event_id, day) for event in events]
            rows = (_row(event) for event, is_new in zip(events, new, strict=True) if is_new)
            connection.executemany(_INSERT, rows)
        return new

    def forget(self, through: int) -> int:
        """Remove the events up to a number, so that nothing of them is left in the file; returns how many."""
        if not self.path.exists():
            return 0
        with self._file.writing() as connection:
            removed = connection.execute("DELETE FROM events WHERE number <= ?", [through]).rowcount
        if removed:
            self._file.empty_wal()
        return removed

    def forget_ids(self, before: float, *, dry_run: bool = False) -> int:
        """Forget ids of events that came before a time, Unix seconds; returns how many."""
        if not self.path.exists():
            return 0
        day, removed = int(before // _DAY_SECONDS), 0
        bounds = [bytes([256 // _PIECES * piece]) for piece in range(_PIECES)]
        for first, end in zip(bounds, [*bounds[1:], None], strict=True):
            which, values = "digest >= ? AND day < ?", [first, day]
            if end is not None:
                which, values = f"{which} AND digest < ?", [first, day, end]
            if dry_run:
                with self._file.reading() as connection:
                    assert connection is not None
                    removed += connection.execute(f"SELECT count(*) FROM known_ids WHERE {which}", values).fetchone()[0]
            else:
                with self._file.writing() as connection:
                    removed += connection.execute(f"DELETE FROM known_ids WHERE {which}", values).rowcount
        return removed

    def copy_to(self, target: Path) -> bool:
        """Copy the log as it is now to a new file; tells whether there is one."""
        return self._file.copy_to(target)

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        self._file.close()

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """What stands in the log at this moment, whatever is written meanwhile."""
        with self._file.reading() as connection:
            yield Reading(connection)


def _continue_after(connection: sqlite3.Connection, number: int) -> None:
    """Let the next event have a higher number; a file may be older than what is known of it, after a restore."""
    if _last(connection) < number:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", [number])


def _last(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(found[0]) if found else 0


def _is_new(connection: sqlite3.Connection, event_id: str, day: int) -> bool:
    """Note an id; tells whether it was not known."""
    digest = blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()
    return connection.execute("INSERT OR IGNORE INTO known_ids VALUES (?, ?)", [digest, day]).rowcount == 1


def _row(event: NewEvent) -> tuple[object, ...]:
    return (
        *(event.received, event.event_id, event.id, event.type, event.name, event.metadata, event.media_url),
        *(event.source_id, event.target_id, event.timestamp, event.source_type, event.target_type),
    )
