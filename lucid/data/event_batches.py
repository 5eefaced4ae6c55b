"""Compaction: events leave the log for ordinary batches, of entities and of interactions.

Which events stand in batches is one number in the catalog, set by the transaction that makes the batches visible. So a
process may be killed between any two steps: what was not visible is compacted again, and what was is not. Answers
count the events above that number besides, see `lucid.versions.recent`; the log keeps those below until the next
compaction, so that who has not seen the new batches yet goes on answering with them.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
from filelock import Timeout

from lucid.data.batches import LOADED, LOADED_FILE, importing, new_batches, publish_batches
from lucid.data.blanks import blank_warnings
from lucid.data.csv_load import REJECTS, ROWS
from lucid.data.timestamps import time_warnings
from lucid.errors import MachineError, Unavailable
from lucid.schema.batches import Batch, LoadedFile
from lucid.schema.events import EVENTS_TAG
from lucid.schema.fields import FileType
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect, copy
from lucid.store.event_log import EventLog, LoggedEvent, NewEvent
from lucid.store.files import make_folder, write_text
from lucid.store.home import Home
from lucid.store.locks import working

COMPACTED_ROWS = 100_000
"""So many events are compacted without waiting for the hour, and at most so many into the batches of one turn."""
_LOCK = "compact-events"
_PATIENCE_SECONDS = 600.0
_NAME = "events-"
"""How the names of these batches begin; the numbers of the first and last event follow."""
_EMPTY_REJECTS = (
    'SELECT NULL::BIGINT AS line, NULL::VARCHAR AS "column", NULL::VARCHAR AS code, NULL::VARCHAR AS message, '
    "NULL::VARCHAR AS value WHERE false"
)
_STORED: dict[FileType, dict[str, str]] = {
    "entities": dict.fromkeys(("id", "type", "name", "metadata", "media_url"), "VARCHAR"),
    "interactions": {
        **dict.fromkeys(("type", "source_id", "target_id"), "VARCHAR"),
        "timestamp": "BIGINT",
        **dict.fromkeys(("metadata", "source_type", "target_type"), "VARCHAR"),
    },
}
_log = logging.getLogger("lucid")


def compact_events(settings: Settings, catalog: Catalog, most: int = COMPACTED_ROWS) -> list[Batch]:
    """Turn all events that the log has now into batches, of at most so many events a turn; returns the batches.

    Waits for another process that does it. Raises MachineError, Unavailable, Damaged; what is compacted by then stays
    so, and the rest waits in the log.
    """
    log, made = EventLog(settings.home), list[str]()
    if not log.path.exists():
        return []
    try:
        with _alone(settings.home):
            through = catalog.batches.compacted_events()
            log.forget(through)
            _forget_failed(catalog)
            last = _last(log)
            while events := _next(log, through, most, last):
                through = events[-1].number
                name = f"{_NAME}{events[0].number}-{through}"
                made += _compact(settings, catalog, name, [one.event for one in events], through)
    finally:
        log.close()
    return catalog.batches.find(made) if made else []


def forget_compacted(settings: Settings, catalog: Catalog) -> None:
    """Remove from the log what stands in batches; else it stays until the next compaction, for who reads it now."""
    log = EventLog(settings.home)
    try:
        log.forget(catalog.batches.compacted_events())
    finally:
        log.close()


def last_compacted(catalog: Catalog) -> Batch | None:
    """The newest batch that events were compacted into and that is there still; None for none."""
    return next((batch for batch in reversed(_of_events(catalog)) if batch.status == "completed"), None)


def compaction_due(settings: Settings, catalog: Catalog) -> bool:
    """Whether so many events wait that the hour is not waited for."""
    last = _last(EventLog(settings.home))
    return last >= COMPACTED_ROWS and last - catalog.batches.compacted_events() >= COMPACTED_ROWS


def write_events(
    connection: duckdb.DuckDBPyConnection, events: Sequence[NewEvent], file_type: FileType, path: Path
) -> None:
    """Write the rows of events of one type, in their order, as those of a file."""
    columns = _STORED[file_type]
    rows = ", ".join(f"unnest(${name}::{sql_type}[]) AS {name}" for name, sql_type in columns.items())
    query = f"SELECT *, NULL AS reason FROM (SELECT {rows})"
    if file_type == "interactions":
        query = query.replace("*,", "* REPLACE (make_timestamptz(timestamp) AS timestamp),", 1)
    copy(connection, query, path, {name: [getattr(event, name) for event in events] for name in columns})


def _compact(
    settings: Settings, catalog: Catalog, name: str, events: Sequence[NewEvent], through: int
) -> Sequence[str]:
    """Make batches of events, visible all at once together with the number of the last; returns their ids."""
    began = time.monotonic()
    by_type: dict[FileType, list[NewEvent]] = {"entities": [], "interactions": []}
    for event in events:
        by_type["entities" if event.is_entity else "interactions"].append(event)
    of_type = {file_type: some for file_type, some in by_type.items() if some}
    batches = new_batches([f"{name}-{file_type}" for file_type in of_type], [EVENTS_TAG])
    ids = [batch.batch_id for batch in batches]
    try:
        with importing(settings, catalog, batches):
            for batch_id, (file_type, some) in zip(ids, of_type.items(), strict=True):
                _load(Home(settings.home).staging(batch_id), file_type, some)
            publish_batches(settings.home, catalog, ids, events_through=through)
    except BaseException:
        with suppress(MachineError):  # nobody has asked for these batches, so nobody looks why they failed
            catalog.batches.delete(ids)
        raise
    _log.info("%s: %d events compacted in %.1f s", name, len(events), time.monotonic() - began)
    return ids


def _last(log: EventLog) -> int:
    with log.reading() as reading:
        return reading.last()


def _next(log: EventLog, after: int, most: int, through: int) -> list[LoggedEvent]:
    with log.reading() as reading:
        return reading.after(after, most, through)


def _load(staging: Path, file_type: FileType, events: Sequence[NewEvent]) -> None:
    """Write all files of a batch that `publish_batches` needs."""
    shutil.rmtree(staging, ignore_errors=True)
    make_folder(staging)
    with connect(threads=1, search_path=staging) as connection:
        write_events(connection, events, file_type, staging / ROWS)
        copy(connection, _EMPTY_REJECTS, staging / REJECTS)
        warnings = blank_warnings(connection, file_type)
        if file_type == "interactions":
            warnings += time_warnings(connection, "read_parquet('rows.parquet')")
    loaded = LoadedFile(file_type, len(events), 0, [], warnings)
    write_text(staging / LOADED, LOADED_FILE.dump_json(loaded).decode())


def _forget_failed(catalog: Catalog) -> None:
    """Forget batches of compactions that were killed; their events are still in the log."""
    if failed := [batch.batch_id for batch in _of_events(catalog) if batch.status == "error"]:
        catalog.batches.delete(failed)


def _of_events(catalog: Catalog) -> list[Batch]:
    """The batches of compactions, the newest last, but for those whose tag somebody took."""
    return [batch for batch in catalog.batches.find(tags=[EVENTS_TAG]) if batch.file_name.startswith(_NAME)]


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Be the only one who compacts."""
    try:
        with working(home, _LOCK, _PATIENCE_SECONDS):
            yield
    except Timeout as error:
        raise Unavailable("another process still compacts events; try again") from error
