"""The workload: how much a training has to do, counted in what its selection left; needs no torch.

What the counts cost in time and memory is told by `lucid.training.cost`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from lucid.data.selection import INTERACTIONS_FILE
from lucid.schema.training import PrecomputePair
from lucid.store.duck import connect, count
from lucid.training.report import EdgeCount
from lucid.typing import INTERACTION, LINK, TEXT
from lucid.versions.precompute import pairs_to_precompute


@dataclass(frozen=True)
class PairLoad:
    """How much there is to judge and to precompute of one pair of types that interactions link."""

    source_type: str
    target_type: str
    interactions: int
    """Different pairs of entities, whichever way the interactions point."""
    is_forward: bool
    """Whether interactions point this way; other directions are judged only."""
    held_out: int
    """Sources of which something is probably withheld."""
    walks: int
    """Of two steps, from sources to sources; see `lucid.model.item_knn`."""


@dataclass(frozen=True)
class Workload:
    """What a training works on, in counts."""

    entities: Mapping[str, int]
    """Of each type."""
    connected: Mapping[str, int]
    """Those of each type that have an edge; words do not count, as they start without weight."""
    edges: Sequence[EdgeCount]
    pairs: Sequence[PairLoad]
    precomputed: Sequence[PrecomputePair]
    are_repeated: bool
    """Whether the same interaction comes at several times."""
    are_timed: bool
    """Whether interactions span any time."""
    values: int
    """Of metadata."""
    have_strengths: bool = False
    """Whether interactions carry values that tell how much was liked what."""

    @property
    def size(self) -> int:
        """All entities."""
        return sum(self.entities.values())

    @property
    def edge_count(self) -> int:
        return sum(edge.count for edge in self.edges)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "precomputed": [pair.model_dump() for pair in self.precomputed]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Workload":
        """Read what `to_json` gave; raises KeyError or TypeError for what is none."""
        lists = {"edges": EdgeCount, "pairs": PairLoad, "precomputed": PrecomputePair}
        return cls(**{**raw, **{name: [kind(**one) for one in raw[name]] for name, kind in lists.items()}})


HELD_OUT_SHARE = 0.1
"""Of each pair's interactions, as `HoldoutConfig` has it, which loads torch."""
_FILES = ((INTERACTION, "type", INTERACTIONS_FILE), (LINK, "key", "links.parquet"), (TEXT, "key", "words.parquet"))


def count_workload(folder: Path, asked: Iterable[PrecomputePair] = ()) -> Workload:
    """Count what `select` left in a folder; `asked` are further pairs to precompute."""
    interactions, links = ({"path": str(folder / name)} for name in (INTERACTIONS_FILE, "links.parquet"))
    with connect() as connection:
        _read_types(connection, folder / "entities.parquet")
        names = [name for (name,) in connection.execute("SELECT name FROM types ORDER BY number").fetchall()]
        edges = [
            EdgeCount(names[source], prefix + relation, names[target], count)
            for prefix, name, file in _FILES
            for source, relation, target, count in connection.execute(
                f"SELECT s.type, e.{name}, t.type, count(*) FROM read_parquet($path) e {_WITH_TYPES} "
                "GROUP BY ALL ORDER BY ALL",
                {"path": str(folder / file)},
            ).fetchall()
        ]
        found = connection.execute(_PAIRS, interactions).fetchall()
        pairs = [PairLoad(names[source], names[target], *counts) for source, target, *counts in found]
        direct = [(pair.source_type, pair.target_type) for pair in pairs if pair.is_forward]
        repeated, timed = connection.execute(
            "SELECT coalesce(max(repeats) > 1, false), coalesce(min(timestamp) < max(timestamp), false) "
            "FROM read_parquet($path)",
            interactions,
        ).fetchone() or (False, False)
        linked = connection.execute(
            "WITH ends AS (SELECT source_row, target_row FROM read_parquet($path) "
            "UNION ALL SELECT source_row, target_row FROM read_parquet($links)) "
            "SELECT type, count(*) FROM kinds SEMI JOIN (SELECT source_row AS row FROM ends UNION "
            "SELECT target_row FROM ends) USING (row) GROUP BY ALL ORDER BY ALL",
            {**interactions, "links": links["path"]},
        ).fetchall()
        return Workload(
            dict(connection.execute("SELECT name, entities FROM types ORDER BY number").fetchall()),
            {names[number]: count for number, count in linked},
            edges,
            pairs,
            pairs_to_precompute(direct, asked),
            repeated,
            timed,
            count(connection, "read_parquet($path)", {"path": str(folder / "values.parquet")}),
            bool(count(connection, "read_parquet($path) WHERE number IS NOT NULL", interactions)),
        )


def _read_types(connection: duckdb.DuckDBPyConnection, entities: Path) -> None:
    """Create `types` (number, name, entities) and `kinds` (row, type), the number of each entity's type."""
    connection.execute(
        "CREATE TABLE types AS SELECT row_number() OVER (ORDER BY type) - 1 AS number, type AS name, "
        "count(*) AS entities FROM read_parquet($path) GROUP BY type",
        {"path": str(entities)},
    )
    connection.execute(
        "CREATE TABLE kinds AS SELECT row, number AS type FROM read_parquet($path) e JOIN types ON types.name = e.type",
        {"path": str(entities)},
    )


_WITH_TYPES = "JOIN kinds s ON s.row = source_row JOIN kinds t ON t.row = target_row"
# Both directions of every pair: what is linked one way is judged the other way too.
_PAIRS = f"""
    WITH linked AS (
        SELECT s.type AS source, t.type AS target, source_row, target_row FROM read_parquet($path) {_WITH_TYPES}),
    ends AS (
        SELECT source, target, source_row, target_row, bool_or(forward) AS forward FROM (
            SELECT *, true AS forward FROM linked
            UNION ALL SELECT target, source, target_row, source_row, source = target FROM linked)
        GROUP BY ALL),
    sources AS (
        SELECT source, target, sum(degree) AS interactions, bool_or(forward) AS forward,
            sum(CASE WHEN forward THEN least(1, {HELD_OUT_SHARE} * degree)
                ELSE 1 - pow(1 - {HELD_OUT_SHARE}, degree) END) FILTER (degree > 1) AS held_out
        FROM (SELECT source, target, count(*) AS degree, bool_or(forward) AS forward FROM ends
            GROUP BY source, target, source_row)
        GROUP BY ALL),
    targets AS (
        SELECT source, target, sum(degree * degree) AS walks
        FROM (SELECT source, target, count(*) AS degree FROM ends GROUP BY source, target, target_row) GROUP BY ALL)
    SELECT source, target, interactions::BIGINT, forward, coalesce(held_out, 0)::BIGINT, walks::BIGINT
    FROM sources JOIN targets USING (source, target) ORDER BY ALL"""
"""Source and target type, then what `PairLoad` holds."""
