"""What a training names is looked up before it begins, as far as that is cheap; `select` looks all of it up again."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import duckdb

from lucid.data.links import WORD
from lucid.data.metadata import read_values
from lucid.data.names import check_pairs, read_keys, read_types
from lucid.data.selection import check_entity_names, check_interaction_names, files_of, read_entities
from lucid.errors import InvalidRequest, TrainingFailed
from lucid.schema.events import EVENTS_TAG
from lucid.schema.filters import DataFilters
from lucid.schema.names import unknown
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.duck import connect, count
from lucid.store.event_log import EventLog
from lucid.store.tables.batches import SelectedBatch

MAX_ROWS = 2_000_000
"""With more rows than this, to look names up takes too long for a call that waits for it."""
_MEMORY = "500MB"


def check_names(home: Path, request: TrainingRequest) -> None:
    """Refuse tags that no batch carries, and names that the rows of its batches do not have.

    Raises InvalidRequest or UnknownType. What cannot be read here, or is too much, is for the training to tell.
    """
    batches = Catalog(home).batches
    if request.data_tags:
        with EventLog(home).reading() as log:
            coming = {EVENTS_TAG} if log.last() else set()  # a training compacts what waits before it selects
        check_tags(request.data_tags, batches.tags() | coming)
    if request.data_filters or request.metadata_rules or request.precompute:
        with suppress(duckdb.Error, OSError, TrainingFailed):
            _check_rows(home, batches.select(request.data_tags), request)


def check_tags(asked: Sequence[str], known: set[str]) -> None:
    """Refuse tags that no batch carries; raises InvalidRequest."""
    for number, tag in enumerate(asked):
        if tag not in known:
            raise InvalidRequest(f"data_tags.{number}: {unknown('batch carries the tag', tag, known)}")


def _check_rows(home: Path, batches: Sequence[SelectedBatch], request: TrainingRequest) -> None:
    filters = request.data_filters or DataFilters()
    interactions = files_of(home, batches, "interactions")
    with connect(threads=2, memory_limit=_MEMORY) as connection:
        if not batches or _rows(connection, files_of(home, batches, "entities") + interactions) > MAX_ROWS:
            return
        read_entities(connection, home, batches)
        read_values(connection)
        check_entity_names(connection, filters.entities, request.metadata_rules or ())
        # Which keys make entities, and with that types, is judged by the training; here any may.
        types = read_types(connection, "entities") | read_keys(connection, "metadata_values").keys() | {WORD}
        check_pairs(request.precompute or (), types)
        check_interaction_names(connection, interactions, filters.interactions, types)


def _rows(connection: duckdb.DuckDBPyConnection, files: list[str]) -> int:
    return sum(count(connection, "read_parquet($file)", {"file": file}) for file in files)
