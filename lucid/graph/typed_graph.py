"""The typed graph: selected rows become a PyG `HeteroData`, with one translator between ids and rows.

Rows are counted over the whole graph, sorted by type and id, so that each type is one range of rows. Edge indices
inside `HeteroData` count within their type, as PyG expects.
"""

import json
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_geometric.data import HeteroData

from lucid.data.selection import Selection
from lucid.data.strengths import DISLIKED
from lucid.graph.adjacency import Adjacency
from lucid.graph.entity_types import EntityTypes, read_entity_types
from lucid.graph.histories import InteractionHistory
from lucid.graph.relation_weights import RelationWeights, robust_range
from lucid.store.duck import connect
from lucid.typing import INTERACTION, LINK, TEXT, Floats, Rows

EdgeType = tuple[str, str, str]
"""Source type, relation, target type."""
_FIELDS = "edge_index", "time", "repeats", "strength"


@dataclass(frozen=True)
class TypedGraph:
    """`data[type].num_nodes`; per edge type `edge_index` (2, E) int64 counted within the types, `time` (E) float64
    Unix seconds with NaN for none, `repeats` (E) int64; `strength` (E) float32 with NaN for none, see
    `lucid.data.strengths`, where any edge of the type has one."""

    data: HeteroData
    entity_types: EntityTypes

    @property
    def edge_types(self) -> list[EdgeType]:
        return list(self.data.edge_types)

    @property
    def interaction_types(self) -> list[EdgeType]:
        """The edge types that were uploaded as interactions."""
        return [edge_type for edge_type in self.edge_types if edge_type[1].startswith(INTERACTION)]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs (source type, target type) that interactions link directly, sorted."""
        return sorted({(source, target) for source, _, target in self.interaction_types})

    def rows(self, edge_type: EdgeType) -> Tensor:
        """Edges of one type as rows of the whole graph, (2, E) int64."""
        source, _, target = edge_type
        offsets = torch.tensor([[self.entity_types.rows(source).start], [self.entity_types.rows(target).start]])
        index: Tensor = self.data[edge_type].edge_index
        return index + offsets

    @cached_property
    def time_range(self) -> tuple[float, float] | None:
        """When interactions happened, but for the few oldest and newest, Unix seconds; None where none has a time.

        See `robust_range`. It is one range for all relations, so that their ages can be compared with each other.
        """
        return robust_range([self.data[edge_type].time.numpy() for edge_type in self.interaction_types])

    @property
    def newest(self) -> float | None:
        """The time from which ages count, Unix seconds; None where nothing has a time."""
        return self.time_range[1] if self.time_range else None

    def edge_weights(self, edge_type: EdgeType, weights: RelationWeights) -> Floats:
        """The weight of each edge of a type, (E) float32; ages count from `newest`."""
        edges = self.data[edge_type]
        newest = self.newest if weights.half_life is not None else None
        return weights.edge_weights(
            edge_type[1], edges.repeats.numpy(), edges.time.numpy(), newest, self.strengths(edge_type)
        )

    def strengths(self, edge_type: EdgeType) -> Floats | None:
        """The strength of each edge of a type, (E) with NaN for none; None where none has any."""
        found: Tensor | None = self.data[edge_type].get("strength")
        return None if found is None else found.numpy()

    @property
    def pairs_with_strengths(self) -> set[tuple[str, str]]:
        """Pairs (source type, target type) of which interactions say how much somebody liked what he met."""
        return {(one[0], one[2]) for one in self.interaction_types if self.strengths(one) is not None}

    def history(self) -> InteractionHistory:
        """What each entity interacted with, over all interaction types and both directions."""
        return self._history([self.rows(edge_type).numpy() for edge_type in self.interaction_types])

    def disliked(self) -> InteractionHistory:
        """What each entity disliked, and whom it was disliked by."""
        return self._history(
            [
                self.rows(edge_type).numpy()[:, strengths <= DISLIKED]
                for edge_type in self.interaction_types
                if (strengths := self.strengths(edge_type)) is not None
            ]
        )

    def _history(self, edges: Sequence[NDArray[np.int64]]) -> InteractionHistory:
        joined = np.concatenate(edges, axis=1) if edges else np.empty((2, 0), np.int64)
        return InteractionHistory.from_edges(self.entity_types.size, joined[0], joined[1])

    def adjacency(self, weightings: Sequence[RelationWeights]) -> tuple[Adjacency, list[str]]:
        """The neighbours of every entity with their weights in each decomposition, and the names of the relations."""
        names = sorted({edge_type[1] for edge_type in self.edge_types})
        ends: list[NDArray[np.int64]] = []
        relations, weights, times = [], [], []
        for edge_type in self.edge_types:
            ends.append(self.rows(edge_type).numpy())
            relations.append(np.full(ends[-1].shape[1], names.index(edge_type[1]), np.int16))
            weights.append(np.stack([self.edge_weights(edge_type, weighting) for weighting in weightings]))
            times.append(self.data[edge_type].time.numpy())
        adjacency = Adjacency.build(
            self.entity_types.size,
            np.concatenate(ends, axis=1),
            np.concatenate(relations),
            np.concatenate(weights, axis=1),
            np.concatenate(times),
        )
        return adjacency, names

    def warm(self) -> dict[str, NDArray[np.bool_]]:
        """For each type that has interactions, which entities (n, bool) interacted with one of it."""
        found: dict[str, NDArray[np.bool_]] = {}
        for source, relation, target in self.interaction_types:
            first, second = self.rows((source, relation, target)).numpy()
            for entity_type, rows in ((source, second), (target, first)):
                found.setdefault(entity_type, np.zeros(self.entity_types.size, dtype=bool))[rows] = True
        return found

    def without(self, keep: dict[EdgeType, Tensor]) -> "TypedGraph":
        """The graph with only those edges whose mask (E) bool is true; types not named stay whole."""
        data = HeteroData()
        for entity_type in self.entity_types.types:
            data[entity_type].num_nodes = self.data[entity_type].num_nodes
        for edge_type in self.edge_types:
            store, mask = self.data[edge_type], keep.get(edge_type)
            every = slice(None) if mask is None else mask
            for field in _FIELDS:
                if field in store:
                    data[edge_type][field] = store[field][..., every]
        return TypedGraph(data, self.entity_types)

    def without_strengths(self) -> "TypedGraph":
        """The graph as it is where nothing says how much somebody liked what he met."""
        data = copy(self.data)
        for edge_type in self.edge_types:
            if "strength" in data[edge_type]:
                del data[edge_type].strength
        return TypedGraph(data, self.entity_types)


def build(selection: Selection) -> TypedGraph:
    """Turn a selection into a typed graph."""
    entity_types = read_entity_types(selection.folder / "entities.parquet")
    data = HeteroData()
    for entity_type in entity_types.types:
        data[entity_type].num_nodes = len(entity_types.rows(entity_type))
    rules = {INTERACTION + rule.type: rule for rule in selection.strengths}
    for relation, source, target, time, repeats, number in _read_edges(selection.folder):
        strength = rules[relation].strengths(number) if relation in rules else None
        for edge_type, edges in _by_types(entity_types, relation, source, target):
            index = np.stack(
                [
                    source[edges] - entity_types.rows(edge_type[0]).start,
                    target[edges] - entity_types.rows(edge_type[2]).start,
                ]
            )
            data[edge_type].edge_index = torch.from_numpy(index)
            data[edge_type].time = torch.from_numpy(time[edges])
            data[edge_type].repeats = torch.from_numpy(repeats[edges])
            if strength is not None and not np.isnan(strength[edges]).all():
                data[edge_type].strength = torch.from_numpy(strength[edges])
    return TypedGraph(data, entity_types)


def write_graph(graph: TypedGraph, folder: Path) -> None:
    """Write `graph.safetensors` and `graph.json` into a folder; `read_graph` reads them back."""
    tensors: dict[str, Tensor] = {}
    names = []
    for number, edge_type in enumerate(graph.edge_types):
        names.append(list(edge_type))
        store = graph.data[edge_type]
        tensors |= {f"{number}.{field}": store[field].contiguous() for field in _FIELDS if field in store}
    save_file(tensors, folder / "graph.safetensors")
    meta: dict[str, Any] = {"edge_types": names, "entity_types": graph.entity_types.to_json()}
    (folder / "graph.json").write_text(json.dumps(meta))


def read_graph(folder: Path) -> TypedGraph:
    """Read back what `write_graph` left in a folder."""
    meta = json.loads((folder / "graph.json").read_text())
    tensors = load_file(folder / "graph.safetensors")
    entity_types = EntityTypes.from_json(meta["entity_types"])
    data = HeteroData()
    for entity_type in entity_types.types:
        data[entity_type].num_nodes = len(entity_types.rows(entity_type))
    for number, (source, relation, target) in enumerate(meta["edge_types"]):
        for field in _FIELDS:
            if (tensor := tensors.get(f"{number}.{field}")) is not None:
                data[source, relation, target][field] = tensor
    return TypedGraph(data, entity_types)


def _read_edges(
    folder: Path,
) -> Iterator[tuple[str, Rows, Rows, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]]:
    """Relation name, source rows, target rows, times, repeats and numbers of each interaction type and metadata key."""
    timed = "type AS name, source_row, target_row, epoch(timestamp)::DOUBLE AS time, repeats, number"
    untimed = "key AS name, source_row, target_row, NULL::DOUBLE AS time, 1::BIGINT AS repeats, NULL::DOUBLE AS number"
    queries = (
        (INTERACTION, timed, "interactions.parquet"),
        (LINK, untimed, "links.parquet"),
        (TEXT, untimed, "words.parquet"),
    )
    with connect() as connection:
        for prefix, columns, name in queries:
            edges = connection.execute(
                f"SELECT {columns} FROM read_parquet($path) ORDER BY ALL",
                {"path": str(folder / name)},
            ).fetch_df()
            for relation, part in edges.groupby("name", sort=True):
                yield (
                    prefix + str(relation),
                    part["source_row"].to_numpy(np.int64),
                    part["target_row"].to_numpy(np.int64),
                    part["time"].to_numpy(np.float64, na_value=np.nan),
                    part["repeats"].to_numpy(np.int64),
                    part["number"].to_numpy(np.float64, na_value=np.nan),
                )


def _by_types(entity_types: EntityTypes, relation: str, source: Rows, target: Rows) -> Iterator[tuple[EdgeType, Rows]]:
    """Divide the edges of one relation by the types of their ends: edge type and positions of its edges."""
    width = len(entity_types.types)
    combined = entity_types.type_numbers(source) * width + entity_types.type_numbers(target)
    for number in np.unique(combined):
        ends = entity_types.types[number // width], entity_types.types[number % width]
        yield (ends[0], relation, ends[1]), np.flatnonzero(combined == number)
