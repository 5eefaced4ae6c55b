"""Events that are not compacted into batches yet, as answers count them: at once.

New interactions go through the selection of all batches by themselves, or past it where they are plain, and what is
found is added to what is known of their ends; of an entity that events define, all that names it is read again. So an
answer does not change when events are compacted, and a look costs what has come since the last one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import duckdb
import numpy as np

from lucid.data.csv_load import ROWS
from lucid.data.event_batches import write_events
from lucid.data.plain_since import Known, are_plain, plain_since
from lucid.data.since import Since
from lucid.schema.events import EVENTS_TAG
from lucid.schema.fields import FileType
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.store.duck import connect, copy
from lucid.store.event_log import EventLog, NewEvent
from lucid.store.files import make_folder
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch
from lucid.typing import Rows
from lucid.versions.availability import Span, availability_since
from lucid.versions.read_edges import Edges, ReadEdges, edges_of, summed
from lucid.versions.uploads import Uploads, activity_of, disliked_in, neighbours, others_by_id, recent_in, select_from
from lucid.versions.version import Version

K = TypeVar("K")
T = TypeVar("T")

_AT_ONCE = 20_000
"""So many new events are taken in by one look; the next one takes the others."""
_COLUMNS: dict[FileType, str] = {
    "entities": "id, type, name, metadata, media_url",
    "interactions": "type, source_id, target_id, timestamp, metadata, source_type, target_type",
}
_ONE_OF_EACH = [SelectedBatch(file_type, file_type) for file_type in _COLUMNS]


def with_events(version: Version, uploads: Uploads, request: TrainingRequest, *, now: datetime) -> Uploads:
    """What was uploaded since, with the events that have come until now; the same where there are none."""
    if request.data_tags is not None and EVENTS_TAG not in request.data_tags:
        return uploads
    with EventLog(version.home).reading() as log:
        last = log.last()
    while uploads.seen < last:  # not until there are none: they may come faster
        if (more := _with_next(version, uploads, request, now)) is uploads:
            break
        uploads = more
    return uploads


@dataclass(frozen=True)
class _News:
    """New events: interactions that equal no earlier one, and all rows that name an entity that is `defined`; those
    that say something new of an entity that the version holds are `updates`.

    `names` are ends of the interactions; those that are defined are not among them.
    """

    seen: int
    interactions: Sequence[NewEvent]
    names: Set[str]
    defined: Collection[str]
    spellings: Collection[str]
    naming: Sequence[NewEvent]
    updates: Sequence[NewEvent]


def _with_next(version: Version, uploads: Uploads, request: TrainingRequest, now: datetime) -> Uploads:
    news = _read_news(version, uploads)
    if news is None:
        return uploads
    added = _select(version, request, now, news.interactions, _known(version, uploads, news.names))
    news = replace(news, names=news.names & {*added.edges["id"], *added.left_out["id"]})
    again = _select_again(version, request, now, news, uploads.batches)
    amounts = version.amounts
    read, edges = _with_news(uploads.read, news, added, again, amounts)
    read_later, edges_later, again_later = read, edges, again
    folded = set(version.origin.folded_ids)
    if any(batch.batch_id in folded for batch in uploads.batches):
        unfolded = [batch for batch in uploads.batches if batch.batch_id not in folded]
        again_later = _select_again(version, request, now, news, unfolded)
        read_later, edges_later = _with_news(uploads.read_later, news, added, again_later, amounts)
    touched, relations = {*news.names, *news.defined}, list(uploads.relations)
    every, disliked = neighbours(edges, version, relations), disliked_in(edges, version)
    later = every if edges_later is edges else neighbours(edges_later, version, relations)
    recent = recent_in(edges, version)
    recent_later = recent if edges_later is edges else recent_in(edges_later, version)
    rows = {name: row for name in touched if (row := version.index.row(name)) is not None}
    left_out, left_out_later = (_left_out(uploads, rows, news, [added, one]) for one in (again, again_later))

    def by_row(before: Mapping[int, T], found: Mapping[str, T]) -> Mapping[int, T]:
        return _changed(before, rows.values(), {rows[name]: value for name, value in found.items() if name in rows})

    def by_id(before: Mapping[str, T], found: Mapping[str, T], of: Iterable[str] = touched) -> Mapping[str, T]:
        return _changed(before, of, {name: value for name, value in found.items() if name not in rows})

    types = version.config.entity_types.types
    new = {name: of_type for name, of_type in again.new.items() if of_type in types}
    return replace(
        uploads,
        by_row=by_row(uploads.by_row, later),
        every=by_row(uploads.every, every),
        by_id=by_id(uploads.by_id, every),
        new=by_id(uploads.new, new, of=news.defined),
        relations=relations,
        left_out_by_row=by_row(uploads.left_out_by_row, left_out_later),
        left_out_by_id=by_id(uploads.left_out_by_id, left_out),
        spans={**uploads.spans, **_spans(version, news.updates)},
        activity=uploads.activity.joined(activity_of(added, version.history)),
        recent_by_row=by_row(uploads.recent_by_row, recent_later),
        recent_by_id=by_id(uploads.recent_by_id, recent),
        disliked_by_row=by_row(uploads.disliked_by_row, disliked),
        disliked_by_id=by_id(uploads.disliked_by_id, disliked),
        read=read,
        read_later=read_later,
        seen=news.seen,
    )


# What is new


def _read_news(version: Version, uploads: Uploads) -> _News | None:
    """The first events that are not taken in yet; None where there are none, or batches that are not read hold some."""
    with EventLog(version.home).reading() as log:
        first = log.first()
        if first is None or first > uploads.compacted + 1:
            return None
        new = log.after(uploads.seen, _AT_ONCE)
        if not new:
            return None
        ids = {one.event.id for one in new if one.event.id is not None}
        defined = {name for name in ids if version.index.row(name) is None}  # what the version holds stays as it is
        spellings = defined | {ending for name in defined for ending in _endings(name)}
        naming = [one.event for one in log.naming(spellings, uploads.compacted) if one.number <= new[-1].number]
        repeats = log.repeats(new[0].number, new[-1].number, uploads.compacted)
    fresh = [one.event for one in new if not (one.event.is_entity or one.number in repeats)]
    interactions = _not_uploaded(version, uploads, fresh)
    names = {name for event in interactions for name in _names(event)} - defined
    updates = [one.event for one in new if one.event.id is not None and one.event.id not in defined]
    return _News(new[-1].number, interactions, names, defined, spellings, naming, updates)


def _not_uploaded(version: Version, uploads: Uploads, interactions: Sequence[NewEvent]) -> Sequence[NewEvent]:
    """Interactions that equal none of the batches, for those count once."""
    doubtful = [one for one in interactions if one.timestamp is not None and one.timestamp <= uploads.newest]
    if not doubtful:
        return interactions
    with TemporaryDirectory() as folder, connect(threads=2) as connection:
        own = Path(folder) / ROWS
        write_events(connection, doubtful, "interactions", own)
        found = connection.execute(
            "SELECT file_row_number FROM read_parquet($own, file_row_number = true) SEMI JOIN ("
            "SELECT type, source_id, target_id, timestamp FROM read_parquet($files, union_by_name = true) "
            "WHERE timestamp >= (SELECT min(timestamp) FROM read_parquet($own))) "
            "USING (type, source_id, target_id, timestamp)",
            {"own": str(own), "files": _files(version, uploads.batches, "interactions")},
        ).fetchall()
    repeated = {id(doubtful[place]) for (place,) in found}
    return [one for one in interactions if id(one) not in repeated]


def _names(event: NewEvent) -> Iterator[str]:
    """The entities that an interaction may be about: an end that names its type may be called `type:id`."""
    for end, of_type in ((event.source_id, event.source_type), (event.target_id, event.target_type)):
        if end is not None:
            yield end
            if of_type is not None:
                yield f"{of_type}:{end}"


def _endings(name: str) -> Iterator[str]:
    """How an end may be spelt that has a type beside it and is the entity of this name."""
    for place, letter in enumerate(name):
        if letter == ":" and name[place + 1 :]:
            yield name[place + 1 :]


def _entity(entity_id: str, of_type: str) -> NewEvent:
    """An entity of which nothing more is said."""
    return NewEvent(0, None, entity_id, of_type, "", None, None, None, None, None, None, None)


# What it means for the version


def _known(version: Version, uploads: Uploads, names: Iterable[str]) -> dict[str, Known]:
    """Those of some entities that the version holds, or that are new."""
    found = dict[str, Known]()
    for name in names:
        if (row := version.index.row(name)) is not None:
            found[name] = Known(version.config.entity_types.type_of(row), row)
        elif name in uploads.new:
            found[name] = Known(uploads.new[name])
    return found


def _select(
    version: Version, request: TrainingRequest, now: datetime, interactions: Sequence[NewEvent], known: dict[str, Known]
) -> Since:
    """What interactions say of entities that are known, selected as a training would have done."""
    if not known:
        return Since.nothing()
    strengths, age = version.origin.strengths, request.maximum_interaction_age_days
    if are_plain(interactions, request.data_filters or DataFilters(), strengths):
        return plain_since(interactions, known, strengths, now=now, maximum_interaction_age_days=age)
    return _select_by_query(version, request, now, interactions, known)


def _select_by_query(
    version: Version, request: TrainingRequest, now: datetime, interactions: Sequence[NewEvent], known: dict[str, Known]
) -> Since:
    events = [*(_entity(name, one.type) for name, one in known.items() if one.row is None), *interactions]
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with connect(threads=1) as connection:
            for file_type in _COLUMNS:
                _write(connection, home, file_type, events)
        return select_from(version, _ONE_OF_EACH, request, now, home=home, only=sorted(known))


def _select_again(
    version: Version, request: TrainingRequest, now: datetime, news: _News, batches: Sequence[SelectedBatch]
) -> Since:
    """All that batches and events say of the entities that are defined, selected as a training would have done."""
    if not news.defined:
        return Since.nothing()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with connect(threads=2) as connection:
            for file_type in _COLUMNS:
                _write(connection, home, file_type, news.naming)
                _add_uploaded(connection, home, file_type, _files(version, batches, file_type), news.spellings)
        return select_from(version, _ONE_OF_EACH, request, now, home=home)


def _spans(version: Version, updates: Sequence[NewEvent]) -> Mapping[int, Span]:
    """When entities that the version holds are to be had, as events say of them."""
    if not updates:
        return {}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with connect(threads=1) as connection:
            _write(connection, home, "entities", updates)
        return availability_since(version, _ONE_OF_EACH[:1], home)


def _write(connection: duckdb.DuckDBPyConnection, home: Path, file_type: FileType, events: Sequence[NewEvent]) -> None:
    """Write the events of a type as the only batch of that type of another home."""
    make_folder(Home(home).batch(file_type))
    of_type = [event for event in events if event.is_entity == (file_type == "entities")]
    write_events(connection, of_type, file_type, Home(home).batch(file_type) / ROWS)


def _add_uploaded(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    file_type: FileType,
    files: Sequence[str],
    spellings: Collection[str],
) -> None:
    """Put the rows of batches that name one of the ids before those of a written batch."""
    if not files:
        return
    rows = Home(home).batch(file_type) / ROWS
    own = rows.rename(rows.with_name("own.parquet"))
    columns = ("id",) if file_type == "entities" else ("source_id", "target_id")
    named = " OR ".join(f"{column} IN (SELECT unnest($ids::VARCHAR[]))" for column in columns)
    copy(
        connection,
        f"SELECT {_COLUMNS[file_type]} FROM read_parquet($files, union_by_name = true, filename = true, "
        f"file_row_number = true) WHERE filename = $own OR {named} "
        "ORDER BY list_position($files, filename), file_row_number",
        rows,
        {"files": [*files, str(own)], "own": str(own), "ids": list(spellings)},
    )


def _files(version: Version, batches: Sequence[SelectedBatch], file_type: FileType) -> list[str]:
    return [str(Home(version.home).batch(one.batch_id) / ROWS) for one in batches if one.file_type == file_type]


# What is known then


def _with_news(
    before: ReadEdges, news: _News, added: Since, again: Since, amounts: Collection[str]
) -> tuple[ReadEdges, Edges]:
    """All edges, and those of what was touched, with those that were added or read again; `amounts` as in `summed`."""
    parts = [*before.of(news.names), edges_of(added.edges, news.names), edges_of(again.edges, news.defined)]
    edges = summed(parts, amounts)
    return before.with_edges({*news.names, *news.defined}, edges), edges


def _left_out(uploads: Uploads, rows: Mapping[str, int], news: _News, found: Sequence[Since]) -> dict[str, Rows]:
    """The same of what entities interacted with but a training would not learn from."""
    added, again = (others_by_id(one.left_out) for one in found)
    left_out = {name: others for name, others in again.items() if name in news.defined}
    for name in news.names:
        known = uploads.left_out_by_row.get(rows[name]) if name in rows else uploads.left_out_by_id.get(name)
        parts = [part for part in (known, added.get(name)) if part is not None]
        if parts:
            left_out[name] = np.unique(np.concatenate(parts))
    return left_out


def _changed(before: Mapping[K, T], touched: Iterable[K], values: Mapping[K, T]) -> Mapping[K, T]:
    """The values of what was touched, or none where it has none any more, beside the others; in a new mapping."""
    after = dict(before)
    for key in touched:
        after.pop(key, None)
    after.update(values)
    return after
