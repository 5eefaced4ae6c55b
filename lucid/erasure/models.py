"""Entities leave the models: of each, a version without them takes over, and versions that hold them are removed."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from lucid.data.links import KNOWN_RANGES, KNOWN_WORDS
from lucid.data.spellings import fold, made_of, telling_part
from lucid.erasure.batches import PATIENCE_SECONDS
from lucid.erasure.matching import matcher
from lucid.errors import AlreadyTraining, DamagedVersion, ModelNotReady, UnknownModel
from lucid.schema.batches import Erased
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect, copy, count
from lucid.training import steps
from lucid.training.held_out import read_held_out, write_held_out
from lucid.training.report import read_report, write_report
from lucid.training.run import Training, alone_with, deriving
from lucid.training.soundness import repair_model
from lucid.typing import Rows
from lucid.versions.config import write_config
from lucid.versions.derive import derive
from lucid.versions.files import (
    ACTIVITY,
    ADJACENCY,
    CONFIG,
    EMBEDDINGS,
    ENTITIES,
    FOLLOWS,
    HELD_OUT,
    HISTORY,
    ORIGIN,
    RECOMMENDATIONS,
    REPORT,
    VALUES,
    write_adjacency,
    write_embeddings,
    write_follows,
    write_history,
)
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.standings import write_standings
from lucid.versions.version import Version


def erase_from_model(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    """Erase entities from a model, once no training works on it: a version without them takes over.

    Versions that hold one of them, or an example of a value that names one, are removed.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(AlreadyTraining),
        wait=wait_fixed(1),
        stop=stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )
    with suppress(UnknownModel):  # deleted meanwhile
        counts: Erased = attempts(_erase_now, settings, model_id, ids)
        return counts
    return Erased()


def _erase_now(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    home, counts = settings.home, Erased()
    with alone_with(settings, model_id), suppress(ModelNotReady):
        try:
            counts = _erase_from_versions(settings, model_id, ids)
        except DamagedVersion:
            repair_model(home, Catalog(home), model_id)
            counts = _erase_from_versions(settings, model_id, ids)
        ModelVersions(home, model_id).remove_set_aside()
    return counts


def _erase_from_versions(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    """Erase entities from the versions of a model; raises DamagedVersion where one of them cannot be read."""
    versions, names_one, counts = ModelVersions(settings.home, model_id), matcher(ids), Erased()
    holding = [version for version in versions.begun() if _names_one(version, ids, names_one)]
    for live in holding:
        if versions.is_live(live.number):
            live.expect_sound(thoroughly=True)
            rows = _rows_of(live, ids)
            counts = Erased(models=1, vectors=len(rows), recommendations=_recommendations(live, rows))
            with deriving(settings, model_id) as derived:
                training = replace(derived, cancellable=False)
                _derive_without(training, live, rows, ids, names_one)
                steps.precompute(training)
                steps.publish(training)
    for version in holding:
        versions.remove_version(version)
    return counts


def _names_one(version: Version, ids: Sequence[str], names_one: Callable[[str], bool]) -> bool:
    """Whether a version holds one of the entities, or an example in its report names one; raises DamagedVersion."""
    with version.reading():
        examples = [*read_report(version.folder).examples()]
    try:
        return len(_rows_of(version, ids)) > 0 or any(names_one(example) for example in examples)
    except duckdb.Error as error:
        raise DamagedVersion(f"version {version.number}", f"{ENTITIES}: not a readable Parquet file") from error


def _rows_of(version: Version, ids: Sequence[str]) -> Rows:
    """Rows of the entities in a version, and of those that metadata made of their ids, in whatever spelling."""
    entities = {"path": str(version.folder / ENTITIES)}
    with connect() as connection:
        made = _made_of(connection, version, "SELECT type, name FROM read_parquet($path)", entities, ids)
        found = connection.execute(
            "SELECT row FROM read_parquet($path) WHERE list_contains($ids, id) "
            "OR (list_contains($ids, name) AND ends_with(id, ':' || name)) "
            "OR (list_contains($made, id) AND id = type || ':' || name) ORDER BY row",
            {**entities, "ids": list(ids), "made": made},
        ).fetchnumpy()
    return np.asarray(found["row"], np.int64)


def _made_of(
    connection: duckdb.DuckDBPyConnection, version: Version, pairs: str, bound: Mapping[str, str], ids: Sequence[str]
) -> list[str]:
    """`key:value` of the pairs, SQL with two columns, that differ from one of the ids in spelling only."""
    if version.origin.reading is None:  # it tells spellings apart
        return []
    made = made_of(ids)
    rows = connection.execute(
        f"SELECT DISTINCT key, value FROM ({pairs}) found(key, value) WHERE list_contains($keys, key) "
        "AND (contains(value, '&') OR len(list_filter($sure, lambda part: contains(lower(value), part))) > 0)",
        {
            **bound,
            "keys": sorted({name[:at] for name in ids for at, letter in enumerate(name) if letter == ":"}),
            "sure": sorted({telling_part(name.partition(":")[2]) for name in made}),
        },
    ).fetchall()
    return [f"{key}:{value}" for key, value in rows if f"{key}:{fold(value)}" in made]


def _recommendations(version: Version, rows: Rows) -> int:
    """How many precomputed recommendations are for or of some entities."""
    with connect(version.folder / RECOMMENDATIONS, read_only=True) as connection:
        return count(
            connection,
            "recommendations WHERE list_contains($rows, source_row) OR list_contains($rows, target_row)",
            {"rows": rows.tolist()},
        )


def _derive_without(
    training: Training, parent: Version, rows: Rows, ids: Sequence[str], names_one: Callable[[str], bool]
) -> None:
    """Derive a version from which the erased rows are gone; they stay empty, so that all others keep their numbers."""
    embeddings = [embedding.without(rows) for embedding in parent.embeddings]
    recorded = read_held_out(parent.folder).without(rows)
    follows = {pair: one.without(rows) for pair, one in parent.follows.items()}
    report = read_report(parent.folder).without_examples(names_one).judged_by(recorded)
    with parent.learnt() as learnt:
        derive(
            parent,
            training.made,
            changed={
                CONFIG: lambda folder: write_config(folder, parent.config.without(rows)),
                EMBEDDINGS: lambda folder: write_embeddings(folder, embeddings),
                HISTORY: lambda folder: write_history(
                    folder, *(one.without(rows) for one in (parent.history, parent.left_out, parent.disliked))
                ),
                ADJACENCY: lambda folder: write_adjacency(folder, parent.adjacency.without(rows)),
                ACTIVITY: lambda folder: _write_standings_without(parent, folder, rows),
                FOLLOWS: lambda folder: write_follows(folder, follows),
                REPORT: lambda folder: write_report(folder, report),
                HELD_OUT: lambda folder: write_held_out(folder, recorded),
                ENTITIES: lambda folder: _write_entities_without(parent, folder, rows),
                VALUES: lambda folder: _write_values_without(parent, folder, rows, ids),
                KNOWN_RANGES: lambda folder: _write_without(learnt / KNOWN_RANGES, folder, "key || ':' || label", ids),
                KNOWN_WORDS: lambda folder: _write_without(learnt / KNOWN_WORDS, folder, "word", ids),
            },
            kept={ORIGIN},
        )


def _write_standings_without(parent: Version, folder: Path, rows: Rows) -> None:
    """Write what is popular and trending without the erased rows; nothing where the parent has none of it."""
    if standings := parent.standings:
        types = parent.config.entity_types
        write_standings(folder, types, standings.activity.without(rows), standings.spans)


def _write_without(source: Path, folder: Path, named: str, ids: Sequence[str]) -> None:
    """Copy a Parquet file without the rows that name one of the ids in an expression."""
    with connect() as connection:
        query = f"SELECT * FROM read_parquet($path) WHERE NOT list_contains($ids, {named}) ORDER BY ALL"
        copy(connection, query, folder / source.name, {"ids": list(ids), "path": str(source)})


def _write_entities_without(parent: Version, folder: Path, rows: Rows) -> None:
    with connect() as connection:
        copy(
            connection,
            "SELECT row, type, * EXCLUDE (row, type) FROM read_parquet($path) WHERE NOT list_contains($rows, row) "
            "UNION ALL BY NAME SELECT row, type FROM read_parquet($path) WHERE list_contains($rows, row) ORDER BY row",
            folder / ENTITIES,
            {"rows": rows.tolist(), "path": str(parent.folder / ENTITIES)},
        )


def _write_values_without(parent: Version, folder: Path, rows: Rows, ids: Sequence[str]) -> None:
    values = {"path": str(parent.folder / VALUES)}
    with connect() as connection:
        made = _made_of(connection, parent, "SELECT key, value FROM read_parquet($path)", values, ids)
        copy(
            connection,
            "SELECT * FROM read_parquet($path) WHERE NOT list_contains($rows, row) "
            "AND NOT list_contains($ids, value) AND NOT list_contains($named, key || ':' || value) ORDER BY ALL",
            folder / VALUES,
            {**values, "rows": rows.tolist(), "ids": list(ids), "named": [*ids, *made]},
        )
