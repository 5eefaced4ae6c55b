"""The log of impressions: which rows answers have shown to whom, and which events came of them.

An answer that is noted has an id, and an impression for each source and type of targets in it; one for nobody, or for a
session, has impressions without a source. A response is an event that names an answer. Ids of answers begin with their
time, so that new ones stand together in the file. Times are microseconds since 1970, UTC.
"""

import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import orjson

from lucid.store.home import Home
from lucid.store.sqlite_file import SqliteFile

Value = TypeVar("Value")

_AT_ONCE = 500
"""How many ids stand in one statement, and how many answers are forgotten by one transaction."""
_DIGEST_BYTES = 16
_ID = re.compile("[0-9a-f]{32}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, shown INTEGER NOT NULL, model_id TEXT NOT NULL,
    experiment TEXT);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (model_id, shown);
CREATE INDEX IF NOT EXISTS answers_by_experiment ON answers (experiment, shown) WHERE experiment IS NOT NULL;
CREATE TABLE IF NOT EXISTS impressions (
    answer INTEGER, place INTEGER, version INTEGER NOT NULL, variant TEXT, placement TEXT, source_id TEXT,
    source_type TEXT, target_type TEXT, count INTEGER NOT NULL, targets TEXT NOT NULL, ranks TEXT,
    PRIMARY KEY (answer, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS responses (
    digest BLOB PRIMARY KEY, answer INTEGER NOT NULL, place INTEGER, rank INTEGER, type TEXT NOT NULL,
    source_id TEXT, target_id TEXT, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_by_answer ON responses (answer);
"""
_CHANGES = (
    "ALTER TABLE impressions ADD COLUMN propensities TEXT",
    "UPDATE impressions SET source_id = nullif(source_id, ''), source_type = nullif(source_type, '') "
    "WHERE source_id = '' OR source_type = ''",
)
_AS_CHANGED = """
CREATE TEMP VIEW impressions AS SELECT answer, place, version, variant, placement, nullif(source_id, '') AS source_id,
    nullif(source_type, '') AS source_type, target_type, count, targets, ranks, NULL AS propensities
FROM main.impressions
"""
_PRECISION = ".6g"
"""Digits of propensities that are stored; small ones keep as many as large ones."""


@dataclass(frozen=True, slots=True)
class Impression:
    """Targets of one type that a source was shown, by rising rank; none of them where it got nothing.

    `source_id` is None where nobody was named. `placement` is `name@version`. `propensities` are the chances that just
    these targets stood there, given those above; empty where all are 1.
    """

    version: int
    source_id: str | None
    source_type: str | None
    target_type: str | None
    targets: Sequence[str]
    ranks: Sequence[int]
    variant: str | None = None
    placement: str | None = None
    propensities: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer that is to be noted, with all that it shows."""

    recommendation_id: str
    shown: int
    model_id: str
    impressions: Sequence[Impression]
    experiment: str | None = None


@dataclass(frozen=True, slots=True)
class NewResponse:
    """An event that names an answer; one without an `event_id` is always another one."""

    recommendation_id: str
    event_id: str | None
    type: str
    source_id: str
    target_id: str
    received: int


@dataclass(slots=True)
class _Waiting:
    """An answer that waits to be written, and what came of it."""

    answer: NewAnswer
    written: bool = False
    error: BaseException | None = field(default=None)


def new_recommendation_id(shown: int) -> str:
    """An id that no other answer has: 32 hexadecimal digits, the first twelve of which are its milliseconds."""
    return f"{shown // 1000:012x}{secrets.token_hex(10)}"


def is_recommendation_id(text: object) -> bool:
    """Whether a value has the form of such an id."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


class ImpressionLog:
    """The log of a home; safe to share between threads. Raises as `SqliteFile` does."""

    def __init__(self, home: Path) -> None:
        self._file = SqliteFile(
            Home(home).impressions,
            _SCHEMA,
            "responses_by_answer",
            "what was shown, and what came of it, is lost",
            _CHANGES,
            _AS_CHANGED,
        )
        self._turn, self._entering = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    @property
    def path(self) -> Path:
        return self._file.path

    def note(self, answer: NewAnswer) -> None:
        """Write down what an answer shows; it is on the disk when this returns.

        Answers of several threads that come while others are written are written together.
        """
        mine = _Waiting(answer)
        with self._entering:
            self._waiting.append(mine)
        with self._turn:
            if not mine.written and mine.error is None:
                with self._entering:
                    together, self._waiting = self._waiting, []
                self._note(together)
        if mine.error is not None:
            raise mine.error

    def known(self, recommendation_ids: Iterable[str]) -> set[str]:
        """Those of some ids that answers have."""
        wanted, found = sorted(set(recommendation_ids)), set[str]()
        with self._file.reading() as connection:
            if connection is not None:
                for part in _parts(wanted):
                    query = f"SELECT id FROM answers WHERE id IN ({', '.join('?' * len(part))})"
                    rows = connection.execute(query, [bytes.fromhex(one) for one in part])
                    found |= {recommendation_id.hex() for (recommendation_id,) in rows}
        return found

    def respond(self, responses: Sequence[NewResponse]) -> int:
        """Note events with the rows that they are about, each `event_id` once; returns how many are new.

        An event is about the row with its target that its source was shown; where the answer was for one source only,
        or for nobody, whoever the event's source is. Answers that are not known are passed over. They are on the disk
        when this returns.
        """
        with self._file.writing() as connection:
            return sum(_respond(connection, response) for response in responses)

    def forget(self, before: int, *, dry_run: bool = False) -> int:
        """Remove answers that were shown before a time, with all that came of them; returns how many."""
        count = 0
        with self._file.reading() as connection:
            if connection is None:
                return 0
            query = "SELECT number FROM answers WHERE shown < ?"
            numbers = [number for (number,) in connection.execute(query, [before])]
        if dry_run:
            return len(numbers)
        for part in _parts(numbers):
            with self._file.writing() as connection:
                some = f"IN ({', '.join('?' * len(part))})"
                connection.execute(f"DELETE FROM responses WHERE answer {some}", part)
                connection.execute(f"DELETE FROM impressions WHERE answer {some}", part)
                count += connection.execute(f"DELETE FROM answers WHERE number {some}", part).rowcount
        if count:
            self._file.empty_wal()
        return count

    def erase(self, ids: Sequence[str], names_one: Callable[[str], bool]) -> int:
        """Remove the impressions of sources and of targets that are one of the ids, or of which one is a part, so that
        nothing of them is left in the file; returns how many rows that were shown went.

        Responses to them, or by or of one of them, go too.
        """
        erased, removed, wanted = 0, 0, set(ids)
        for rows in self._naming(wanted, names_one):
            with self._file.writing() as connection:
                for answer, place in rows:
                    erased += _erase(connection, answer, place, wanted, names_one)
        for digests in self._responses_naming(wanted):
            with self._file.writing() as connection:
                some = f"IN ({', '.join('?' * len(digests))})"
                removed += connection.execute(f"DELETE FROM responses WHERE digest {some}", digests).rowcount
        if erased or removed:
            self._file.empty_wal()
        return erased

    def copy_to(self, target: Path) -> bool:
        """Copy the log as it is now to a new file; tells whether there is one."""
        return self._file.copy_to(target)

    def select(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows of a query; none where nothing was ever noted."""
        with self._file.reading() as connection:
            return [] if connection is None else connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        self._file.close()

    def _note(self, together: Sequence[_Waiting]) -> None:
        try:
            with self._file.writing() as connection:
                for one in together:
                    _note(connection, one.answer)
        except BaseException as error:
            for one in together:
                one.error = error
            if not isinstance(error, Exception):
                raise
        else:
            for one in together:
                one.written = True

    def _naming(self, ids: set[str], names_one: Callable[[str], bool]) -> Iterator[list[tuple[int, int]]]:
        """Impressions that hold one of the ids at either end, some at a time."""
        with self._file.reading() as connection:
            if connection is None:
                return
            found = []
            for answer, place, source_id, targets in connection.execute(
                "SELECT answer, place, source_id, targets FROM impressions"
            ):
                if _is_of(source_id, ids, names_one) or not ids.isdisjoint(orjson.loads(targets)):
                    found.append((answer, place))
        yield from _parts(found)

    def _responses_naming(self, ids: set[str]) -> Iterator[list[bytes]]:
        with self._file.reading() as connection:
            if connection is None:
                return
            query = "SELECT digest, source_id, target_id FROM responses"
            found = [digest for digest, *ends in connection.execute(query) if not ids.isdisjoint(ends)]
        yield from _parts(found)


def _parts(values: list[Value]) -> Iterator[list[Value]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _note(connection: sqlite3.Connection, answer: NewAnswer) -> None:
    values = [bytes.fromhex(answer.recommendation_id), answer.shown, answer.model_id, answer.experiment]
    number = connection.execute(
        "INSERT INTO answers (id, shown, model_id, experiment) VALUES (?, ?, ?, ?)", values
    ).lastrowid
    connection.executemany(
        "INSERT INTO impressions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(number, place, one.version, one.variant, one.placement, one.source_id, one.source_type),
                *(one.target_type, len(one.targets), *_lists(one.targets, one.ranks, one.propensities)),
            )
            for place, one in enumerate(answer.impressions)
        ),
    )


def _lists(
    targets: Sequence[str], ranks: Sequence[int], propensities: Sequence[float]
) -> tuple[str, str | None, str | None]:
    """Targets, ranks and propensities as they are stored; ranks that count from 1 are not, nor propensities of 1."""
    counted = list(ranks) == list(range(1, len(targets) + 1))
    certain = all(propensity == 1 for propensity in propensities)
    return (
        orjson.dumps(list(targets)).decode(),
        None if counted else orjson.dumps(list(ranks)).decode(),
        None if certain else orjson.dumps([float(format(one, _PRECISION)) for one in propensities]).decode(),
    )


def _respond(connection: sqlite3.Connection, response: NewResponse) -> bool:
    """Note an event; tells whether it is new."""
    query = "SELECT number FROM answers WHERE id = ?"
    found = connection.execute(query, [bytes.fromhex(response.recommendation_id)]).fetchone()
    if found is None:  # it was forgotten in this moment
        return False
    (answer,) = found
    event_id = response.event_id
    digest = secrets.token_bytes(_DIGEST_BYTES) if event_id is None else _digest(event_id)
    values = [
        *(digest, answer, *_row_of(connection, answer, response)),
        *(response.type, response.source_id, response.target_id, response.received),
    ]
    return connection.execute("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values).rowcount == 1


def _digest(event_id: str) -> bytes:
    return blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()


def _row_of(connection: sqlite3.Connection, answer: int, response: NewResponse) -> tuple[int | None, int | None]:
    """Place and rank of the row that an event is about; None where it was not shown."""
    query = "SELECT place, source_id, targets, ranks FROM impressions WHERE answer = ? ORDER BY place"
    rows = connection.execute(query, [answer]).fetchall()
    own = [row for row in rows if row[1] == response.source_id]
    if not own and len({row[1] for row in rows}) == 1:
        own = rows
    for place, _, targets, ranks in own:
        with suppress(ValueError):
            at = orjson.loads(targets).index(response.target_id)
            return place, at + 1 if ranks is None else orjson.loads(ranks)[at]
    return None, None


def _is_of(source_id: str | None, ids: set[str], names_one: Callable[[str], bool]) -> bool:
    """Whether an impression is that of one of the ids; several sources that were asked for as one have a joint id."""
    return source_id is not None and (source_id in ids or (" + " in source_id and names_one(source_id)))


def _erase(
    connection: sqlite3.Connection, answer: int, place: int, ids: set[str], names_one: Callable[[str], bool]
) -> int:
    """Erase the ids from an impression; returns how many rows went."""
    key = [answer, place]
    query = "SELECT source_id, targets, ranks, propensities FROM impressions WHERE answer = ? AND place = ?"
    found = connection.execute(query, key).fetchone()
    if found is None:
        return 0
    source_id, targets, ranks, propensities = found
    shown = orjson.loads(targets)
    numbers = range(1, len(shown) + 1) if ranks is None else orjson.loads(ranks)
    chances = [1.0] * len(shown) if propensities is None else orjson.loads(propensities)
    if _is_of(source_id, ids, names_one):
        connection.execute("DELETE FROM responses WHERE answer = ? AND place = ?", key)
        connection.execute("DELETE FROM impressions WHERE answer = ? AND place = ?", key)
        return max(1, len(shown))
    kept = [row for row in zip(shown, numbers, chances, strict=True) if row[0] not in ids]
    lists = _lists(*([row[column] for row in kept] for column in range(3)))
    connection.execute(
        "UPDATE impressions SET count = ?, targets = ?, ranks = ?, propensities = ? WHERE answer = ? AND place = ?",
        [len(kept), *lists, *key],
    )
    return len(shown) - len(kept)
