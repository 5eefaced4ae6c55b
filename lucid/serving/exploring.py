"""What a version knows of single entities, for people who look at it: found by name, with their edges and metadata.

Needs neither Prefect nor torch, and reads nothing that grows with the number of entities but their names, see
`lucid.graph.entity_search`.
"""

from dataclasses import dataclass
from functools import cache

import duckdb
import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.data.links import WORD
from lucid.graph.adjacency import Neighbours
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.predictor import Predictor
from lucid.serving.sources import Source, edges_of, find_sources
from lucid.store.duck import connect
from lucid.typing import Rows
from lucid.versions.files import VALUES
from lucid.versions.version import Version

MOST_EDGES = 100
"""How many edges of an entity are named, those that weigh most."""
MOST_VALUES = 100


@dataclass(frozen=True)
class NamedEntity:
    """An entity as people know it; `picture` is its `media_url`, empty for none."""

    id: str
    type: str
    name: str
    picture: str


@dataclass(frozen=True)
class Edge:
    """What an entity is linked to: by an interaction, by metadata or by a word of a text."""

    kind: str
    relation: str
    entity: NamedEntity


@dataclass(frozen=True)
class EntityCard:
    """All that is known of an entity; `served_by` is what it is answered from.

    `edges` are the first `MOST_EDGES` of `edge_count`, those first that weigh most: interactions before all else.
    """

    entity: NamedEntity
    served_by: str
    metadata: list[tuple[str, str]]
    interaction_count: int
    edge_count: int
    edges: list[Edge]


def find_entities(predictor: Predictor, text: str, entity_type: str | None = None, most: int = 20) -> list[NamedEntity]:
    """Entities by a part of their names or the beginning of their ids, the likely ones first.

    What was uploaded since the training is found by the beginning of its id. Raises UnknownType.
    """
    version, types = predictor.version, predictor.version.config.entity_types
    rows = range(types.size) if entity_type is None else types.rows(entity_type)
    exact = version.index.row(text)
    found = [exact] if exact is not None and exact in rows else []
    found += [row for row in version.index.find(text, rows, most) if row != exact]
    found.sort(key=lambda row: types.type_of(row) == WORD)  # which people rarely look for
    named = name_entities(version, np.array(found[:most], np.int64))
    new = [
        NamedEntity(entity_id, its_type, "", "")
        for entity_id, its_type in predictor.uploads.new.items()
        if text.strip() and entity_id.lower().startswith(text.strip().lower()) and entity_type in (None, its_type)
    ]
    return [*named, *new][:most]


def show_entity(predictor: Predictor, entity_id: str) -> EntityCard:
    """All that is known of an entity; raises UnknownSource."""
    version, uploads, source = predictor.version, predictor.uploads, _source(predictor, entity_id)
    edges, names = edges_of(source, version, uploads), uploads.relations
    interactions = edges.are_interactions(names) if len(edges.rows) else np.zeros(0, bool)
    first = _by_weight(edges, interactions)[:MOST_EDGES]
    shown = [
        Edge(*_kind_of(names[edges.relations[edge]]), entity)
        for edge, entity in zip(first.tolist(), name_entities(version, edges.rows[first]), strict=True)
    ]
    return EntityCard(
        _named(source, entity_id, version),
        source.served_by,
        _metadata(version, source.row),
        int(interactions.sum()),
        len(edges.rows),
        shown,
    )


def name_entity(predictor: Predictor, entity_id: str) -> NamedEntity:
    """An entity by its id; raises UnknownSource."""
    return _named(_source(predictor, entity_id), entity_id, predictor.version)


def name_entities(version: Version, rows: Rows) -> list[NamedEntity]:
    """Entities by their rows, but for those that were erased."""
    index, types = version.index, version.config.entity_types
    columns = zip(rows.tolist(), index.ids(rows), index.names(rows), index.pictures(rows), strict=True)
    return [
        NamedEntity(orjson.loads(entity_id), types.type_of(row), orjson.loads(name), picture)
        for row, entity_id, name, picture in columns
        if entity_id
    ]


def entities_of(version: Version, ids: list[str]) -> dict[str, NamedEntity]:
    """Entities by their ids, as far as the version holds them."""
    rows = [row for entity_id in ids if (row := version.index.row(entity_id)) is not None]
    return {entity.id: entity for entity in name_entities(version, np.array(rows, np.int64))}


def _source(predictor: Predictor, entity_id: str) -> Source:
    query = RecommendationQuery(model_id=predictor.version.model_id, source_id=[entity_id], use="similar")
    (source,) = next(find_sources(query, predictor.version, predictor.uploads).blocks)
    return source


def _named(source: Source, entity_id: str, version: Version) -> NamedEntity:
    if source.row is None:
        return NamedEntity(entity_id, source.entity_type, "", "")
    (named,) = name_entities(version, np.array([source.row], np.int64))
    return named


def _by_weight(edges: Neighbours, interactions: NDArray[np.bool_]) -> Rows:
    """Positions of edges: interactions first, and of each kind those that weigh most."""
    weights = edges.weights.max(axis=0) if len(edges.rows) else np.empty(0, np.float32)
    return np.lexsort((edges.rows, -weights, ~interactions))


def _kind_of(relation: str) -> tuple[str, str]:
    kind, _, name = relation.partition(":")
    return kind, name


def _metadata(version: Version, row: int | None) -> list[tuple[str, str]]:
    if row is None:
        return []
    return (
        _duckdb()
        .cursor()
        .execute(
            "SELECT key, value FROM read_parquet($path) WHERE row = $row ORDER BY ALL LIMIT $most",
            {"path": str(version.folder / VALUES), "row": row, "most": MOST_VALUES},
        )
        .fetchall()
    )


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """One for all who look: to begin one takes longer than to read the metadata of an entity."""
    return connect(threads=1)
