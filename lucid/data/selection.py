"""Selection: which rows of which batches one training uses.

Reads the immutable batch files, applies tags, overwrites and age, makes entities of metadata, and writes three
Parquet files for the graph. Knows nothing of tensors.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from lucid.data.activity import copy_activity
from lucid.data.conditions import Binder, where
from lucid.data.csv_load import ROWS
from lucid.data.flattening import flatten
from lucid.data.links import add_made, find_merges, learn, link, read, write_learnt
from lucid.data.metadata import SHOWN_VALUE, KeyRule, Reading, judge_keys, read_values
from lucid.data.names import KeyValues, Names, check_conditions, check_keys, check_pairs, read_keys, read_types
from lucid.data.numbers import Misfits, find_misfits
from lucid.data.strengths import StrengthRule, disliking, find_rules, number_of, pointer
from lucid.data.timestamps import CLOCK_SKEW_DAYS
from lucid.data.type_changes import find_losses, refuse_losses
from lucid.errors import TrainingFailed
from lucid.schema.fields import FileType, KeyUse
from lucid.schema.filters import ENTITY_FIELDS, INTERACTION_FIELDS, METADATA, Condition, DataFilters
from lucid.schema.training import InteractionUse, PrecomputePair
from lucid.store.duck import connect, copy, count
from lucid.store.files import make_folder
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch
from lucid.typing import Rows

INTERACTIONS_FILE, LEFT_OUT_FILE = "interactions.parquet", "left_out.parquet"
_SHOWN = 3
"""How many values that did not fit, and spellings that were merged, stand in the report for a key."""
STEP_TYPES = "entities: ids that had another type before"


@dataclass(frozen=True)
class Step:
    """What one step of the selection kept and removed, in rows."""

    step: str
    kept: int
    removed: int
    examples: list[str]


@dataclass(frozen=True)
class Selection:
    """Where the selected rows lie and how they came about.

    `folder` holds `entities.parquet` (row, id, type, name, media_url), sorted by type and id, rows counted from 0, and
    `values.parquet` (row, key, value), their metadata; `interactions.parquet` (type, source_row, target_row, timestamp,
    repeats, number), and `left_out.parquet` (source_row, target_row), interactions of known entities that are too old,
    impossible or not wanted; `links.parquet` and `words.parquet` (key, source_row, target_row); `activity.parquet`
    (row, day, count), see `lucid.data.activity`; and what `lucid.data.links` has learnt of all values.
    """

    folder: Path
    batches: list[SelectedBatch]
    steps: list[Step]
    keys: list[KeyRule]
    reading: Reading
    strengths: list[StrengthRule] = field(default_factory=list)
    """What the interactions of each type say; `number` holds the values that they speak of."""

    @property
    def batch_ids(self) -> list[str]:
        return [batch.batch_id for batch in self.batches]


def select(
    home: Path,
    batches: Sequence[SelectedBatch],
    folder: Path,
    *,
    started: datetime,
    maximum_interaction_age_days: int | None = None,
    data_filters: DataFilters | None = None,
    metadata_rules: Mapping[str, KeyUse] | None = None,
    interaction_rules: Mapping[str, InteractionUse] | None = None,
    precompute: Sequence[PrecomputePair] = (),
    allow_type_changes: bool = False,
    checked: bool = False,
    strengths: Sequence[StrengthRule] | None = None,
    memory_limit: str | None = None,
) -> Selection:
    """Write the rows that a training uses into `folder`.

    `started` (aware) is the moment from which age counts; interactions without a timestamp have no age and stay.
    Raises TrainingFailed, with the step that emptied the data, where no interaction is left, and where more than a few
    ids of a type have become another type, unless that is allowed; UnknownType or InvalidRequest for names that the
    rows do not have, unless they were `checked` when there were perhaps others. `strengths` are given where it is known
    what interactions say, as a version has read them. `memory_limit` as for `connect`.
    """
    make_folder(folder)
    with connect(spill=folder / "spill", memory_limit=memory_limit) as connection:
        filters = data_filters or DataFilters()
        steps = [read_entities(connection, home, batches), *_tell_losses(connection, home, batches, allow_type_changes)]
        flattened = read_values(connection)
        if not checked:
            check_entity_names(connection, filters.entities, metadata_rules or ())
        steps += filter_entities(connection, filters.entities)
        keys, reading = judge_keys(connection, metadata_rules, flattened)
        uses = {key.key: key.use for key in keys}
        read(connection, uses, reading)
        learn(connection)
        link(connection, uses, reading)
        keys = _tell_readings(connection, keys)
        add_made(connection)
        if not checked:
            types = read_types(connection, "entities")
            check_pairs(precompute, types)
            check_interaction_names(connection, files_of(home, batches, "interactions"), filters.interactions, types)
        if strengths is None:
            strengths = find_rules(connection, files_of(home, batches, "interactions"), interaction_rules)
        steps += read_interactions(connection, home, batches, started, maximum_interaction_age_days, filters, strengths)
        _refuse_nothing(steps, batches)
        _write(connection, folder, started, strengths)
    selection = Selection(folder, list(batches), steps, keys, reading, list(strengths))
    (folder / "selection.json").write_text(json.dumps(asdict(selection), default=str))
    return selection


def read_selection(folder: Path) -> Selection:
    """Read back what `select` left in a folder."""
    raw: dict[str, Any] = json.loads((folder / "selection.json").read_text())
    return Selection(
        folder,
        [SelectedBatch(**batch) for batch in raw["batches"]],
        [Step(**step) for step in raw["steps"]],
        [KeyRule(**key) for key in raw["keys"]],
        Reading.from_json(raw["reading"]),
        [StrengthRule.from_json(rule) for rule in raw["strengths"]],
    )


def _tell_readings(connection: duckdb.DuckDBPyConnection, keys: Sequence[KeyRule]) -> list[KeyRule]:
    """The rules with what was read of the values: of numbers which did not fit, and of spellings which are the same."""
    numbers = [key.key for key in keys if key.use == "number"]
    misfits, merges = find_misfits(connection, numbers, _SHOWN), find_merges(connection, _SHOWN)
    told = []
    for key in keys:
        merged, shown = merges.get(key.key, (0, []))
        key = replace(key, merged=merged, merges=[[text[:SHOWN_VALUE] for text in merge] for merge in shown])
        if key.use == "number":
            lost = misfits.get(key.key, Misfits(0, []))
            examples = [example[:SHOWN_VALUE] for example in lost.examples]
            key = replace(key, fitting=(key.values - lost.values) / key.values, misfits=examples)
        told.append(key)
    return told


def interactions_among(
    folder: Path, entities: Path, name: str = INTERACTIONS_FILE, disliked: Sequence[StrengthRule] | None = None
) -> tuple[Rows, Rows]:
    """Source and target rows of a selection's interactions in the numbering of another `entities.parquet`.

    `name` is one of the selection's files. Interactions with an entity that the other numbering lacks are left out, and
    so are those that tell of no dislike, where the rules are given that say which do.
    """
    bind = Binder()
    wanted = "true" if disliked is None else disliking(disliked, bind)
    with connect() as connection:
        found = connection.execute(
            "WITH known AS (SELECT here.row AS here, there.row AS there FROM read_parquet($here) here "
            "JOIN read_parquet($there) there USING (id)) "
            "SELECT s.there AS source, t.there AS target FROM read_parquet($interactions) "
            f"JOIN known s ON s.here = source_row JOIN known t ON t.here = target_row WHERE {wanted}",
            {
                **bind.values,
                "here": str(folder / "entities.parquet"),
                "there": str(entities),
                "interactions": str(folder / name),
            },
        ).fetchnumpy()
    return np.asarray(found["source"], np.int64), np.asarray(found["target"], np.int64)


def files_of(home: Path, batches: Sequence[SelectedBatch], file_type: FileType) -> list[str]:
    """The files of the batches of a type; raises TrainingFailed where one was deleted."""
    files = [Home(home).batch(batch.batch_id) / ROWS for batch in batches if batch.file_type == file_type]
    missing = [file.parent.name for file in files if not file.exists()]
    if missing:
        raise TrainingFailed(f"batch {', '.join(missing)} was deleted while the training began; train again")
    return [str(file) for file in files]


def read_entities(connection: duckdb.DuckDBPyConnection, home: Path, batches: Sequence[SelectedBatch]) -> Step:
    """Create `entities`: of every id the last row of the latest batch."""
    connection.execute(
        "CREATE TABLE entities (id VARCHAR, type VARCHAR, name VARCHAR DEFAULT '', metadata VARCHAR, media_url VARCHAR)"
    )
    files = files_of(home, batches, "entities")
    if not files:
        return Step("entities: latest version of each id", 0, 0, [])
    rows = count(connection, "read_parquet($files)", {"files": files})
    connection.execute(
        """
        INSERT INTO entities SELECT id, type, name, metadata, media_url
        FROM read_parquet($files, filename = true, file_row_number = true)
        QUALIFY row_number() OVER (
            PARTITION BY id ORDER BY list_position($files, filename) DESC, file_row_number DESC) = 1""",
        {"files": files},
    )
    kept = count(connection, "entities")
    return Step("entities: latest version of each id", kept, rows - kept, [])


def _tell_losses(
    connection: duckdb.DuckDBPyConnection, home: Path, batches: Sequence[SelectedBatch], allowed: bool
) -> list[Step]:
    """The step of ids that have changed their type, if any has; raises TrainingFailed for many, unless allowed."""
    files = files_of(home, batches, "entities")
    lost = find_losses(connection, files) if files else []
    if not allowed:
        refuse_losses(lost)
    if not lost:
        return []
    examples = [f"'{entity_id}' was {loss.type}" for loss in lost for entity_id in loss.examples]
    return [Step(STEP_TYPES, count(connection, "entities"), sum(loss.lost for loss in lost), examples)]


def check_entity_names(
    connection: duckdb.DuckDBPyConnection, conditions: Sequence[Condition], rules: Collection[str]
) -> None:
    """Refuse conditions on, and rules about, what no row of `entities` and `metadata_values` has."""
    if conditions or rules:
        keys = read_keys(connection, "metadata_values")
        names = Names("entity", keys, {"type": read_types(connection, "entities")})
        check_conditions(conditions, names, "data_filters.entities")
        check_keys(rules, keys, "metadata_rules")


def check_interaction_names(
    connection: duckdb.DuckDBPyConnection, files: list[str], conditions: Sequence[Condition], entity_types: set[str]
) -> None:
    """Refuse conditions on what no row of files of interactions has; `entity_types` are those that their ends have."""
    if not conditions or not files:
        return
    keys: dict[str, KeyValues] = {}
    if any(condition.field.startswith(METADATA) for condition in conditions):
        _read_interaction_values(connection, files)
        keys = read_keys(connection, "interaction_values")
    types = read_types(connection, "read_parquet($files)", {"files": files})
    names = Names("interaction", keys, {"type": types, "source_type": entity_types, "target_type": entity_types})
    check_conditions(conditions, names, "data_filters.interactions")


def filter_entities(connection: duckdb.DuckDBPyConnection, conditions: list[Condition]) -> list[Step]:
    """Move entities that do not fulfil the conditions to `removed_entities`."""
    connection.execute("CREATE TABLE removed_entities (id VARCHAR)")
    if not conditions:
        return []
    bind = Binder()
    connection.execute("CREATE VIEW entity_values AS SELECT id AS row, key, value FROM metadata_values")
    held = where(conditions, {name: name for name in ENTITY_FIELDS}, "id", "entity_values", bind)
    connection.execute(f"INSERT INTO removed_entities SELECT id FROM entities WHERE NOT ({held})", bind.values)
    for table in ("entities", "metadata_values"):
        connection.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM removed_entities)")
    removed = count(connection, "removed_entities")
    return [Step("entities: data_filters", count(connection, "entities"), removed, [])]


_POSSIBLE_STEP = "interactions: not from after the start of the training"
_FILTER_STEP = "interactions: data_filters"
_FILTERED_ENTITIES_STEP = "interactions: of entities that data_filters keep"
_STEPS_TOLD_IF_ANY = {_POSSIBLE_STEP, _FILTER_STEP, _FILTERED_ENTITIES_STEP}


def read_interactions(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    batches: Sequence[SelectedBatch],
    started: datetime,
    age_days: int | None,
    filters: DataFilters,
    strengths: Sequence[StrengthRule] = (),
) -> list[Step]:
    """Create `interactions`: young enough, as the filters want, equal rows once, both ends known.

    `number` is the value that tells how much was liked what, where `strengths` name one; of equal rows the last one
    counts, which `position` tells. Types whose weight is 0 are left out. What the age or the filters leave out stays
    known as `left_out` (source_id, target_id), each once.

    Times of more than a day after `started` (aware) cannot be. Imports refuse them, and what earlier ones have let
    pass is left out: with any other time it would move all ages or count as new.
    """
    connection.execute("CREATE TABLE left_out (source_id VARCHAR, target_id VARCHAR)")
    files = files_of(home, batches, "interactions")
    if not files:
        return [Step("interactions: in the selected batches", 0, 0, [])]
    bind = Binder()
    wanted = _interactions_wanted(connection, files, filters.interactions, bind)
    oldest = days_before(started, age_days) if age_days is not None else None
    rows = count(connection, "read_parquet($files)", {"files": files})
    resolved = _resolved(connection, files)
    number, position = _numbers(strengths, bind)
    if unweighed := [rule.type for rule in strengths if rule.weight == 0]:
        wanted = f"{wanted} AND NOT list_contains({bind(unweighed)}, type)"
    connection.execute(
        f"CREATE TABLE young AS SELECT type, source_id, target_id, timestamp, {number} AS number, "
        f"{position} AS position, {wanted} AS wanted "
        f"FROM {_WITH_TYPES.format(resolved) if filters.interactions else resolved} "
        "WHERE $oldest::TIMESTAMPTZ IS NULL OR timestamp IS NULL OR timestamp >= $oldest::TIMESTAMPTZ",
        {"files": files, "oldest": oldest, **bind.values},
    )
    if oldest is not None:
        connection.execute(
            f"INSERT INTO left_out SELECT DISTINCT source_id, target_id FROM {resolved} "
            "WHERE timestamp < $oldest::TIMESTAMPTZ",
            {"files": files, "oldest": oldest},
        )
    young = count(connection, "young")
    impossible = _remove_impossible(connection, started)
    possible = count(connection, "young")
    _leave_out(connection, "NOT wanted")
    filtered = count(connection, "young")
    connection.execute(
        "CREATE TABLE equal_once AS SELECT DISTINCT type, source_id, target_id, timestamp, NULL::DOUBLE AS number, "
        "NULL::BIGINT AS position FROM young; DROP TABLE young"
        if position == _NO_POSITION
        else "CREATE TABLE equal_once AS SELECT type, source_id, target_id, timestamp, "
        "arg_max(number, position) AS number, max(position) AS position FROM young GROUP BY ALL; DROP TABLE young"
    )
    different = count(connection, "equal_once")
    connection.execute(
        "DELETE FROM equal_once WHERE source_id IN (FROM removed_entities) OR target_id IN (FROM removed_entities)"
    )
    kept = count(connection, "equal_once")
    connection.execute(
        "CREATE TABLE interactions AS SELECT * FROM equal_once "
        "SEMI JOIN entities s ON s.id = source_id SEMI JOIN entities t ON t.id = target_id"
    )
    known = count(connection, "interactions")
    dangling = connection.execute(
        "SELECT DISTINCT unnest([source_id, target_id]) AS id FROM equal_once "
        "EXCEPT SELECT id FROM entities ORDER BY id LIMIT 5"
    ).fetchall()
    age = f"not older than {age_days} days" if age_days else "any age"
    steps = [
        Step("interactions: in the selected batches", rows, 0, []),
        Step(f"interactions: {age}", young, rows - young, []),
        Step(_POSSIBLE_STEP, possible, young - possible, impossible),
        Step(_FILTER_STEP, filtered, possible - filtered, []),
        Step("interactions: equal rows count once", different, filtered - different, []),
        Step(_FILTERED_ENTITIES_STEP, kept, different - kept, []),
        Step("interactions: both ends are known entities", known, kept - known, [row[0] for row in dangling]),
    ]
    return [step for step in steps if step.removed or step.step not in _STEPS_TOLD_IF_ANY]


def _remove_impossible(connection: duckdb.DuckDBPyConnection, started: datetime) -> list[str]:
    """Remove from `young` what a clock that is right cannot have written; examples of its times, ISO 8601."""
    impossible = f"timestamp > $started::TIMESTAMPTZ + INTERVAL {CLOCK_SKEW_DAYS} DAY"
    found = connection.execute(
        f"SELECT DISTINCT strftime(timestamp, '%Y-%m-%dT%H:%M:%SZ') FROM young WHERE {impossible} ORDER BY ALL LIMIT 5",
        {"started": started},
    ).fetchall()
    _leave_out(connection, impossible, {"started": started})
    return [row[0] for row in found]


def _leave_out(
    connection: duckdb.DuckDBPyConnection, condition: str, values: Mapping[str, datetime] | None = None
) -> None:
    """Move rows of `young` to `left_out`."""
    connection.execute(
        f"INSERT INTO left_out SELECT DISTINCT source_id, target_id FROM young WHERE {condition}", values
    )
    connection.execute(f"DELETE FROM young WHERE {condition}", values)


_WITH_TYPES = """(
    SELECT i.*, s.type AS source_type, t.type AS target_type, filename || ':' || file_row_number AS row
    FROM {} i LEFT JOIN entities s ON s.id = source_id LEFT JOIN entities t ON t.id = target_id)"""
_INTERACTIONS = "read_parquet($files, union_by_name = true, filename = true, file_row_number = true)"
# An end that names its type is the entity with just that id, or the one of a namespace, `type:id`; never one of another
# type.
_RESOLVED = f"""(
    SELECT i.type, i.timestamp, i.metadata, filename, file_row_number,
        CASE WHEN sn.id IS NULL AND sp.id IS NULL OR sp.type = i.source_type THEN i.source_id
            ELSE i.source_type || ':' || i.source_id END AS source_id,
        CASE WHEN tn.id IS NULL AND tp.id IS NULL OR tp.type = i.target_type THEN i.target_id
            ELSE i.target_type || ':' || i.target_id END AS target_id
    FROM {_INTERACTIONS} i
    LEFT JOIN entities sp ON i.source_type IS NOT NULL AND sp.id = i.source_id
    LEFT JOIN entities sn ON sn.id = i.source_type || ':' || i.source_id
    LEFT JOIN entities tp ON i.target_type IS NOT NULL AND tp.id = i.target_id
    LEFT JOIN entities tn ON tn.id = i.target_type || ':' || i.target_id)"""


def _resolved(connection: duckdb.DuckDBPyConnection, files: list[str]) -> str:
    """Interactions in SQL, their ends named as the entities are, with the place of each row in `$files`."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {_INTERACTIONS}", {"files": files}).fetchall()
    return _RESOLVED if "source_type" in {row[0] for row in described} else _INTERACTIONS


_NO_POSITION = "NULL::BIGINT"


def _numbers(strengths: Sequence[StrengthRule], bind: Binder) -> tuple[str, str]:
    """SQL of the number that an interaction carries, as its type has it, and of what tells the later row; or NULLs."""
    valued = [rule for rule in strengths if rule.has_values]
    if not valued:
        return "NULL::DOUBLE", _NO_POSITION
    numbers = (f"WHEN {bind(rule.type)} THEN {number_of(bind(pointer(rule.key or '')))}" for rule in valued)
    return (
        f"CASE type {' '.join(numbers)} END",
        "list_position($files, filename)::BIGINT * 1_000_000_000_000 + file_row_number",
    )


def _interactions_wanted(
    connection: duckdb.DuckDBPyConnection, files: list[str], conditions: list[Condition], bind: Binder
) -> str:
    """SQL that tells which interactions fulfil the conditions; needs `row` and the types of the ends beside them."""
    if not conditions:
        return "true"
    _read_interaction_values(connection, files)
    columns = {name: name for name in INTERACTION_FIELDS}
    return where(conditions, {**columns, "timestamp": "timestamp::VARCHAR"}, "row", "interaction_values", bind)


def _read_interaction_values(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Create `interaction_values(row, key, value)`, unless it is there."""
    if connection.execute("FROM duckdb_tables() WHERE table_name = 'interaction_values'").fetchall():
        return
    rows = (
        "(SELECT filename || ':' || file_row_number AS row, metadata "
        "FROM read_parquet($files, filename = true, file_row_number = true))"
    )
    flatten(connection, "interaction_values", rows, "row", {"files": files}, blanks=True)


def days_before(moment: datetime, days: int) -> datetime | None:
    """None where that is before the calendar begins."""
    try:
        return moment - timedelta(days=days)
    except OverflowError:
        return None


def _refuse_nothing(steps: list[Step], batches: Sequence[SelectedBatch]) -> None:
    if steps[-1].kept:
        return
    told = "; ".join(f"{step.step}: {step.kept:,} kept, {step.removed:,} removed" for step in steps)
    hint = "no batch was selected: check data_tags" if not batches else f"of {len(batches)} selected batches: {told}"
    missing = steps[-1].examples
    if missing:
        shown = ", ".join(f"'{entity_id}'" for entity_id in missing)
        hint += f"; ids that no entity defines, for example {shown}"
    raise TrainingFailed(f"no interactions are left to train on; {hint}", code="no_interactions")


def latest_number(strengths: Sequence[StrengthRule], kind: str = "type") -> str:
    """SQL of the number of several equal interactions, of which `kind` is the type: amounts are added, of ratings the
    latest counts."""
    added = [rule.type for rule in strengths if rule.meaning == "amount"]
    latest = "arg_max(number, (coalesce(timestamp, '-infinity'::TIMESTAMPTZ), position))"
    if not any(rule.has_values for rule in strengths):
        return "NULL::DOUBLE"
    types = ", ".join("'" + name.replace("'", "''") + "'" for name in added)
    return f"CASE WHEN {kind} IN ({types}) THEN sum(number) ELSE {latest} END" if added else latest


def _write(
    connection: duckdb.DuckDBPyConnection, folder: Path, started: datetime, strengths: Sequence[StrengthRule]
) -> None:
    # Rows are numbered by type and id, so a type is one block of rows and the order of rows is that of ids.
    connection.execute(
        "CREATE TABLE numbered AS SELECT (row_number() OVER (ORDER BY type, id) - 1)::BIGINT AS row, id, type, name, "
        "nullif(media_url, '') AS media_url FROM entities"
    )
    copy(connection, "SELECT * FROM numbered ORDER BY row", folder / "entities.parquet")
    copy(
        connection,
        "SELECT i.type, s.row AS source_row, t.row AS target_row, max(timestamp) AS timestamp, count(*) AS repeats, "
        f"{latest_number(strengths, 'i.type')} AS number "
        "FROM interactions i JOIN numbered s ON s.id = source_id JOIN numbered t ON t.id = target_id "
        "GROUP BY i.type, s.row, t.row ORDER BY ALL",
        folder / INTERACTIONS_FILE,
    )
    copy(
        connection,
        "SELECT DISTINCT s.row AS source_row, t.row AS target_row FROM left_out "
        "JOIN numbered s ON s.id = source_id JOIN numbered t ON t.id = target_id ORDER BY ALL",
        folder / LEFT_OUT_FILE,
    )
    copy(
        connection,
        "SELECT row, key, value FROM metadata_values JOIN numbered USING (id) ORDER BY ALL",
        folder / "values.parquet",
    )
    for table in ("links", "words"):
        copy(
            connection,
            f"SELECT DISTINCT key, s.row AS source_row, t.row AS target_row FROM {table} "
            "JOIN numbered s ON s.id = source_id JOIN numbered t ON t.id = target_id "
            "WHERE s.row <> t.row ORDER BY ALL",
            folder / f"{table}.parquet",
        )
    copy_activity(connection, folder, started, strengths)
    write_learnt(connection, folder)
