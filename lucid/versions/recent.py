"""Events that are not compacted into batches yet, as answers count them: at once.

Of the ids that new events name, everything since the version was trained is read again, from the batches and from the
log, by the same selection as for all batches. So an answer does not change when events are compacted, and a look costs
what was touched since the last one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from lucid.data.csv_load import ROWS
from lucid.data.event_batches import write_events
from lucid.data.since import Since
from lucid.graph.adjacency import Neighbours
from lucid.schema.events import EVENTS_TAG
from lucid.schema.fields import FileType
from lucid.schema.training import TrainingRequest
from lucid.store.duck import connect, copy
from lucid.store.event_log import EventLog, LoggedEvent, NewEvent
from lucid.store.files import make_folder
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch
from lucid.versions.uploads import Uploads, neighbours, others_by_id, select_from
from lucid.versions.version import Version

K = TypeVar("K")
T = TypeVar("T")

_AT_ONCE = 20_000
"""So many new events are taken in by one look; the next one takes the others."""
_COLUMNS: dict[FileType, str] = {
    "entities": "id, type, name, metadata, media_url",
    "interactions": "type, source_id, target_id, timestamp, metadata, source_type, target_type",
}


def with_events(version: Version, uploads: Uploads, request: TrainingRequest, *, now: datetime) -> Uploads:
    """What was uploaded since, with the events that have come since the last look; the same where there are none."""
    if request.data_tags is not None and EVENTS_TAG not in request.data_tags:
        return uploads
    while (more := _with_next(version, uploads, request, now)) is not uploads:
        uploads = more
    return uploads


def _with_next(version: Version, uploads: Uploads, request: TrainingRequest, now: datetime) -> Uploads:
    with EventLog(version.home).reading() as log:
        first = log.first()
        if first is None or first > uploads.compacted + 1:  # none, or batches hold some that are not read yet
            return uploads
        new = log.after(uploads.seen, _AT_ONCE)
        if not new:
            return uploads
        touched = {name for one in new for name in _names(one.event)}
        spellings = touched | {ending for name in touched for ending in _endings(name)}
        waiting = log.naming(spellings, uploads.compacted)
    seen = new[-1].number
    waiting = [one for one in waiting if one.number <= seen]
    relations, folded = list(uploads.relations), set(version.origin.folded_ids)

    def read(batches: Sequence[SelectedBatch]) -> tuple[dict[str, Neighbours], Since]:
        found = _since(version, batches, waiting, spellings, request, now)
        part = np.fromiter((name in touched for name in found.edges["id"]), bool, len(found.edges["id"]))
        return neighbours({name: column[part] for name, column in found.edges.items()}, version, relations), found

    every, found = read(uploads.batches)
    unfolded = [batch for batch in uploads.batches if batch.batch_id not in folded]
    later, found_later = (every, found) if len(unfolded) == len(uploads.batches) else read(unfolded)
    left_out, left_out_later = (
        {name: others for name, others in others_by_id(one).items() if name in touched} for one in (found, found_later)
    )
    rows = {name: row for name in touched if (row := version.index.row(name)) is not None}

    def by_row(before: Mapping[int, T], by_id: Mapping[str, T]) -> Mapping[int, T]:
        return _changed(before, rows.values(), {rows[name]: value for name, value in by_id.items() if name in rows})

    def by_id(before: Mapping[str, T], found: Mapping[str, T]) -> Mapping[str, T]:
        return _changed(before, touched, {name: value for name, value in found.items() if name not in rows})

    types = version.config.entity_types.types
    return replace(
        uploads,
        by_row=by_row(uploads.by_row, later),
        every=by_row(uploads.every, every),
        by_id=by_id(uploads.by_id, every),
        new=by_id(uploads.new, {name: of_type for name, of_type in found.new.items() if of_type in types}),
        relations=relations,
        left_out_by_row=by_row(uploads.left_out_by_row, left_out_later),
        left_out_by_id=by_id(uploads.left_out_by_id, left_out),
        seen=seen,
    )


def _names(event: NewEvent) -> Iterator[str]:
    """The entities that an event may be about: an end that names its type may be called `type:id`."""
    if event.id is not None:
        yield event.id
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


def _since(
    version: Version,
    batches: Sequence[SelectedBatch],
    waiting: Sequence[LoggedEvent],
    spellings: Collection[str],
    request: TrainingRequest,
    now: datetime,
) -> Since:
    """What batches and the log say of some ids, and more, selected as a training would have done."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        _gather(version, batches, waiting, spellings, home, "entities")
        _gather(version, batches, waiting, spellings, home, "interactions")
        small = [SelectedBatch(file_type, file_type) for file_type in _COLUMNS]
        return select_from(version, small, request, now, home=home, only=_held(version, home))


def _gather(
    version: Version,
    batches: Sequence[SelectedBatch],
    waiting: Sequence[LoggedEvent],
    spellings: Collection[str],
    home: Path,
    file_type: FileType,
) -> None:
    """Write the rows of one type that name one of the ids into one batch of another home, those of the log last."""
    folder = Home(home).batch(file_type)
    make_folder(folder)
    wanted = [one.event for one in waiting if one.event.is_entity == (file_type == "entities")]
    write_events(wanted, file_type, folder / ROWS)
    files = [str(Home(version.home).batch(one.batch_id) / ROWS) for one in batches if one.file_type == file_type]
    if not files:
        return
    ids = ("id",) if file_type == "entities" else ("source_id", "target_id")
    named = " OR ".join(f"{column} IN (SELECT unnest($ids::VARCHAR[]))" for column in ids)
    own = folder / "own.parquet"
    (folder / ROWS).rename(own)
    with connect(threads=2) as connection:
        copy(
            connection,
            f"SELECT {_COLUMNS[file_type]} FROM read_parquet($files, union_by_name = true, filename = true, "
            f"file_row_number = true) WHERE filename = $own OR {named} "
            "ORDER BY list_position($files, filename), file_row_number",
            folder / ROWS,
            {"files": [*files, str(own)], "own": str(own), "ids": list(spellings)},
        )


def _held(version: Version, home: Path) -> list[str] | None:
    """Which entities of the version the gathered rows name; None where one is new, whose metadata may name any."""
    entities, interactions = (str(Home(home).batch(file_type) / ROWS) for file_type in _COLUMNS)
    with connect(threads=1) as connection:
        defined = connection.execute("SELECT DISTINCT id FROM read_parquet(?)", [entities]).fetchall()
        if any(version.index.row(name) is None for (name,) in defined):
            return None
        ends = connection.execute(
            "SELECT DISTINCT unnest([source_id, target_id, source_type || ':' || source_id, "
            "target_type || ':' || target_id]) FROM read_parquet(?)",
            [interactions],
        ).fetchall()
    return [name for (name,) in ends if name is not None]


def _changed(before: Mapping[K, T], touched: Iterable[K], values: Mapping[K, T]) -> Mapping[K, T]:
    """The values of what was touched, or none where it has none any more, beside the others; in a new mapping."""
    after = dict(before)
    for key in touched:
        after.pop(key, None)
    return after | dict(values)
