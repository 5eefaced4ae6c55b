"""Events on their way in: read from JSON, held to the rules of files, and written to the log in groups.

Whatever waits at a moment is checked by one query, where it takes one, and written by one commit, so that thousands of
calls a second cost a few waits for the disk. How events become batches: `lucid.data.event_batches`.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import orjson

from lucid.data.csv_file import SHOWN_VALUE
from lucid.data.csv_load import check_sql
from lucid.data.plain_events import plain_row
from lucid.data.type_changes import conflict
from lucid.errors import InvalidRequest
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS, TYPE_COLUMNS
from lucid.schema.events import MAX_EVENT_ID, MAX_EVENTS, EventError, EventsAccepted, WaitingEvent
from lucid.schema.fields import FileType, as_id, utc_now
from lucid.schema.names import unknown
from lucid.schema.wording import shown
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.store.event_log import EventLog, LoggedEvent, NewEvent
from lucid.store.impression_log import ImpressionLog, NewResponse, is_recommendation_id

_COLUMNS: dict[FileType, tuple[str, ...]] = {
    "entities": ENTITY_COLUMNS,
    "interactions": (*INTERACTION_COLUMNS, *TYPE_COLUMNS),
}
_IDS = {"id", "source_id", "target_id"}
_ANSWER = "recommendation_id"
_TAIL = 1000
"""How many waiting events one look gives at most."""


@dataclass
class _Item:
    """One event of a call: its fields as a file would have them, or what is wrong with it."""

    index: int
    event_id: str | None = None
    file_type: FileType = "interactions"
    cells: dict[str, str | None] = field(default_factory=dict)
    error: EventError | None = None
    event: NewEvent | None = None
    recommendation_id: str | None = None

    def reject(self, column: str | None, code: str, message: str, value: str | None) -> None:
        self.error = EventError(
            index=self.index, event_id=self.event_id, column=column, code=code, message=message, value=value
        )


class EventIntake:
    """Takes events into the log of a home; safe to share between threads, which take turns."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._log = settings, EventLog(settings.home)
        self._impressions = ImpressionLog(settings.home)
        self._turn = threading.Lock()
        self._duckdb: duckdb.DuckDBPyConnection | None = None
        self._after: int | None = None

    def accept(self, calls: Sequence[Sequence[Any]]) -> list[EventsAccepted]:
        """Check the events of calls and write the good ones down, all or, where that fails, none; one answer a call.

        They are on the disk when this returns. Raises MachineError, Unavailable, Damaged.
        """
        items = [[_read(index, raw, self._settings) for index, raw in enumerate(call)] for call in calls]
        with self._turn:
            received = int(utc_now().timestamp() * 1e6)
            self._check([item for call in items for item in call], received)
            for call in items:
                _refuse_conflicts(call)
            self._refuse_unknown_answers([item for call in items for item in call])
            good = [item for call in items for item in call if item.error is None]
            new = self._write([item.event for item in good if item.event is not None]) if good else []
            self._attribute(good)
        known = {id(item) for item, is_new in zip(good, new, strict=True) if not is_new}
        return [_answer(call, known) for call in items]

    def close(self) -> None:
        """Let go of the log's file."""
        self._log.close()
        self._impressions.close()

    def _refuse_unknown_answers(self, items: Sequence[_Item]) -> None:
        """Reject events that name an answer which is not known."""
        named = {item.recommendation_id for item in items if item.recommendation_id and item.error is None}
        unknown = named - self._impressions.known(named) if named else named
        for item in items:
            if item.error is None and item.recommendation_id in unknown:
                days = f"{self._settings.keep_impressions_days} days (LUCID_KEEP_IMPRESSIONS_DAYS)"
                told = f"no answer has this id; answers are kept for {days}: send the event without it"
                item.reject("recommendation_id", "unknown_recommendation", told, item.recommendation_id)

    def _attribute(self, items: Sequence[_Item]) -> None:
        """Note what came of answers. Events that were known are noted too, if they are not: a process may have been
        killed after it had written an event and before it had noted this."""
        responses = [
            NewResponse(
                item.recommendation_id,
                item.event_id,
                item.event.type,
                item.event.source_id or "",
                item.event.target_id or "",
                item.event.received,
            )
            for item in items
            if item.recommendation_id is not None and item.event is not None
        ]
        if responses:
            self._impressions.respond(responses)

    def _write(self, events: Sequence[NewEvent]) -> list[bool]:
        if self._after is None:  # once: only a restore makes a log that is older than the catalog
            self._after = Catalog(self._settings.home).batches.compacted_events()
        return self._log.append(events, self._after)

    def _check(self, items: Sequence[_Item], received: int) -> None:
        """Hold events to the rules of files."""
        doubtful = []
        for item in items:
            if item.error is None and item.file_type == "interactions":
                plain = plain_row(item.cells, received, self._settings.max_metadata_characters)
                item.event = None if plain is None else _event(item, plain, received)
            if item.error is None and item.event is None:
                doubtful.append(item)
        for file_type in _COLUMNS:
            bad = []
            for item, row in self._checked(file_type, doubtful, in_words=False):
                if row.pop("reason"):
                    bad.append(item)
                else:
                    item.event = _event(item, row, received)
            for item, row in self._checked(file_type, bad, in_words=True):
                reason = row["reason"]
                item.reject(reason["column_name"], reason["code"], reason["message"], reason["value"])

    def _checked(
        self, file_type: FileType, items: Sequence[_Item], *, in_words: bool
    ) -> Iterator[tuple[_Item, dict[str, Any]]]:
        """What is stored of each event of a type, with the reason against it."""
        items = [item for item in items if item.file_type == file_type]
        if not items:
            return
        columns = _COLUMNS[file_type]
        rows = f"(SELECT {', '.join(f'unnest(${name}::VARCHAR[]) AS {name}' for name in columns)})"
        sql = check_sql(self._settings, file_type, rows, in_words=in_words)
        if file_type == "interactions":
            sql = f"SELECT * REPLACE (epoch_us(timestamp) AS timestamp) FROM ({sql})"
        if self._duckdb is None:
            self._duckdb = connect(threads=1)
        found = self._duckdb.execute(sql, {name: [item.cells[name] for item in items] for name in columns})
        names = [column[0] for column in found.description or ()]
        for item, row in zip(items, found.fetchall(), strict=True):
            yield item, dict(zip(names, row, strict=True))


def check_call(events: Any) -> list[Any]:
    """The events of a call, which has one or a list of them; raises InvalidRequest where it has none or too many."""
    if isinstance(events, Mapping):
        return [events]
    if not isinstance(events, list):
        raise InvalidRequest(f"expected an event, as a JSON object, or a list of them; found {shown(events)}")
    if not events:
        raise InvalidRequest("the list of events is empty; send at least one")
    if len(events) > MAX_EVENTS:
        raise InvalidRequest(f"{len(events):,} events are more than {MAX_EVENTS:,} in one call; make several calls")
    return events


def waiting_events(settings: Settings, after: int | None, limit: int) -> list[WaitingEvent]:
    """Events that are not compacted yet, in their order: the first after a number, or else the last ones.

    Raises InvalidRequest for a limit that is none.
    """
    if not 1 <= limit <= _TAIL:
        raise InvalidRequest(f"limit: found {limit}, expected 1 to {_TAIL:,}")
    through = Catalog(settings.home).batches.compacted_events()
    with EventLog(settings.home).reading() as log:
        found = log.latest(limit, through) if after is None else log.after(max(after, through), limit)
    return [_waiting(one) for one in found]


def count_waiting_events(settings: Settings) -> int:
    """How many events are not compacted yet."""
    through = Catalog(settings.home).batches.compacted_events()
    with EventLog(settings.home).reading() as log:
        return log.count(through)


# Reading


def _read(index: int, raw: Any, settings: Settings) -> _Item:
    """One event as it was sent; what is no text where a file has text is told as its error."""
    item = _Item(index)
    if not isinstance(raw, Mapping):
        item.reject(None, "invalid_value", "expected an event, as a JSON object", shown(raw))
        return item
    given = {name: value for name, value in raw.items() if value is not None}
    event_id = given.pop("event_id", None)
    if event_id is not None and not (isinstance(event_id, str) and 0 < len(event_id) <= MAX_EVENT_ID):
        expected = f"expected a text of 1 to {MAX_EVENT_ID} characters"
        item.reject("event_id", "invalid_value", expected, _cut(event_id))
        return item
    item.event_id = event_id
    is_entity, is_interaction = "id" in given, bool({"source_id", "target_id"} & given.keys())
    if is_entity == is_interaction:
        has = "has both id and source_id or target_id" if is_entity else "has neither id nor source_id and target_id"
        item.reject(
            None, "mixed_kinds" if is_entity else "missing_column", f"{has}: an entity, or an interaction?", None
        )
        return item
    item.file_type = "entities" if is_entity else "interactions"
    columns = _COLUMNS[item.file_type]
    fields = ["event_id", *columns]
    if not is_entity:
        fields.append(_ANSWER)
        item.recommendation_id = given.pop(_ANSWER, None)
        if item.recommendation_id is not None and not is_recommendation_id(item.recommendation_id):
            expected = "expected the id of an answer: 32 of the characters 0-9 a-f"
            item.reject(_ANSWER, "invalid_value", expected, _cut(item.recommendation_id))
            return item
    strange = next((name for name in given if name not in columns), None)
    if strange is not None:
        what = f"field of an event of {item.file_type}"
        item.reject(strange[:SHOWN_VALUE], "unknown_field", unknown(what, strange, fields), None)
        return item
    for name in columns:
        try:
            item.cells[name] = _as_text(name, given.get(name))
        except ValueError as error:
            item.reject(name, "invalid_value", str(error), _cut(given[name]))
            return item
    size = sum(len(text) for text in item.cells.values() if text)
    if 4 * size > settings.max_row_bytes:
        size = sum(len(text.encode()) for text in item.cells.values() if text)
        if size > settings.max_row_bytes:
            most = f"{settings.max_row_bytes:,} bytes (LUCID_MAX_ROW_BYTES)"
            item.reject(None, "line_size_over_maximum", f"the event is over {most}", None)
    return item


def _as_text(name: str, value: Any) -> str | None:
    """A value as a file has it, None where it is empty; raises ValueError for what has no place there."""
    if name in _IDS and value is not None:
        value = as_id(value)
    if name == "timestamp" and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if isinstance(value, int) or abs(value) < 1e15 else f"{value:.0f}"
    if name == "metadata" and isinstance(value, Mapping):
        try:
            value = orjson.dumps(value).decode() if value else None
        except orjson.JSONEncodeError as error:
            raise ValueError("expected a JSON object that is not nested so deeply") from error
    if value is not None and not isinstance(value, str):
        expected = {"metadata": "a JSON object", "timestamp": "ISO 8601 or Unix seconds"}.get(name, "a text")
        raise ValueError(f"expected {expected}")
    return value or None


def _cut(value: Any) -> str:
    return (value if isinstance(value, str) else shown(value))[:SHOWN_VALUE]


def _event(item: _Item, row: Mapping[str, Any], received: int) -> NewEvent:
    if item.file_type == "entities":
        ends: Mapping[str, Any] = dict.fromkeys(("source_id", "target_id", "timestamp", *TYPE_COLUMNS))
        return NewEvent(received=received, event_id=item.event_id, **row, **ends)
    row = {**row, "timestamp": received if item.cells["timestamp"] is None else row["timestamp"]}
    return NewEvent(received=received, event_id=item.event_id, id=None, name=None, media_url=None, **row)


def _refuse_conflicts(call: Collection[_Item]) -> None:
    """Reject entities whose id has another type earlier in the call, as in a file; the first type holds."""
    types: dict[str, str] = {}
    for item in call:
        if item.error is None and item.event is not None and item.event.id is not None:
            first = types.setdefault(item.event.id, item.event.type)
            if first != item.event.type:
                item.reject("id", "type_conflict", conflict(first, item.event.type), item.event.id[:SHOWN_VALUE])


def _answer(call: Sequence[_Item], known: Collection[int]) -> EventsAccepted:
    errors = [item.error for item in call if item.error is not None]
    duplicates = sum(1 for item in call if id(item) in known)
    return EventsAccepted(accepted=len(call) - len(errors), duplicates=duplicates, rejected=len(errors), errors=errors)


def _waiting(logged: LoggedEvent) -> WaitingEvent:
    event = logged.event
    names = ("event_id", "type", "source_id", "target_id", "id", "name", "metadata", "media_url", *TYPE_COLUMNS)
    return WaitingEvent(
        number=logged.number,
        received=_moment(event.received),
        timestamp=None if event.timestamp is None else _moment(event.timestamp),
        **{name: getattr(event, name) for name in names},
    )


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
