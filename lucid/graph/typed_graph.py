"""The typed graph: selected rows become a PyG `HeteroData`, with one translator between ids and rows.

Rows are counted over the whole graph, sorted by type and id, so that each type is one block of rows. Edge
indices inside `HeteroData` count within their type, as PyG expects.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_geometric.data import HeteroData

from lucid.data.selection import Selection
from lucid.graph.entity_types import EntityTypes, read_entity_types
from lucid.store.machine import connect
from lucid.typing import INTERACTION, LINK, TEXT

EdgeType = tuple[str, str, str]


@dataclass(frozen=True)
class TypedGraph:
    """`data[type].num_nodes`; per edge type `edge_index` (2, E) int64 counted within the types, `time` (E) float64
    Unix seconds with NaN for none, `repeats` (E) int64."""

    data: HeteroData
    entity_types: EntityTypes

    @property
    def edge_types(self) -> list[EdgeType]:
        return list(self.data.edge_types)

    @property
    def interaction_types(self) -> list[EdgeType]:
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

    def times(self) -> tuple[float, float]:
        """The oldest and the newest interaction, Unix seconds; the first is the larger where none has a time."""
        times = [self.data[edge_type].time for edge_type in self.interaction_types]
        return (
            min((float(time.nan_to_num(torch.inf).min()) for time in times if len(time)), default=torch.inf),
            max((float(time.nan_to_num(-torch.inf).max()) for time in times if len(time)), default=-torch.inf),
        )

    def linked(self) -> dict[str, NDArray[np.bool_]]:
        """For each type that has interactions, which entities (n, bool) interacted with one of it."""
        found: dict[str, NDArray[np.bool_]] = {}
        for source, relation, target in self.interaction_types:
            first, second = self.rows((source, relation, target)).numpy()
            for kind, rows in ((source, second), (target, first)):
                found.setdefault(kind, np.zeros(self.entity_types.size, dtype=bool))[rows] = True
        return found

    def counts(self) -> dict[str, Any]:
        """What the graph holds, for the report."""
        return {
            "entities": self.entity_types.size,
            "entity_types": list(self.entity_types.types),
            "edges": [
                {"source_type": source, "relation": relation, "target_type": target, "count": edges.shape[1]}
                for (source, relation, target), edges in self.data.edge_index_dict.items()
            ],
            "pairs": [list(pair) for pair in self.pairs],
        }

    def without(self, keep: dict[EdgeType, Tensor]) -> "TypedGraph":
        """The same entities with only those edges whose mask (E) bool is true; types not named stay whole."""
        data = HeteroData()
        for kind in self.entity_types.types:
            data[kind].num_nodes = self.data[kind].num_nodes
        for edge_type in self.edge_types:
            store, mask = self.data[edge_type], keep.get(edge_type)
            every = slice(None) if mask is None else mask
            data[edge_type].edge_index = store.edge_index[:, every]
            data[edge_type].time = store.time[every]
            data[edge_type].repeats = store.repeats[every]
        return TypedGraph(data, self.entity_types)


def build(selection: Selection) -> TypedGraph:
    """Turn a selection into a typed graph."""
    entity_types = read_entity_types(selection.folder / "entities.parquet")
    data = HeteroData()
    for kind in entity_types.types:
        data[kind].num_nodes = len(entity_types.rows(kind))
    for relation, source, target, time, repeats in _read_edges(selection.folder):
        for edge_type, chosen in _by_types(entity_types, relation, source, target):
            index = np.stack(
                [
                    source[chosen] - entity_types.rows(edge_type[0]).start,
                    target[chosen] - entity_types.rows(edge_type[2]).start,
                ]
            )
            data[edge_type].edge_index = torch.from_numpy(index)
            data[edge_type].time = torch.from_numpy(time[chosen])
            data[edge_type].repeats = torch.from_numpy(repeats[chosen])
    return TypedGraph(data, entity_types)


def write_graph(graph: TypedGraph, folder: Path) -> None:
    """Write `graph.safetensors` and `graph.json` into a folder; `read_graph` reads them back."""
    tensors, names = {}, []
    for number, edge_type in enumerate(graph.edge_types):
        names.append(list(edge_type))
        for field in ("edge_index", "time", "repeats"):
            tensors[f"{number}.{field}"] = graph.data[edge_type][field].contiguous()
    save_file(tensors, folder / "graph.safetensors")
    (folder / "graph.json").write_text(json.dumps({"edge_types": names, "vocabulary": graph.entity_types.to_json()}))


def read_graph(folder: Path) -> TypedGraph:
    """Read back what `write_graph` left in a folder."""
    meta = json.loads((folder / "graph.json").read_text())
    tensors = load_file(folder / "graph.safetensors")
    entity_types = EntityTypes.from_json(meta["vocabulary"])
    data = HeteroData()
    for kind in entity_types.types:
        data[kind].num_nodes = len(entity_types.rows(kind))
    for number, (source, relation, target) in enumerate(meta["edge_types"]):
        for field in ("edge_index", "time", "repeats"):
            data[source, relation, target][field] = tensors[f"{number}.{field}"]
    return TypedGraph(data, entity_types)


def _read_edges(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Relation name, source rows, target rows, times and repeats of each interaction type and metadata key."""
    timed = "type AS name, source_row, target_row, epoch(timestamp)::DOUBLE AS time, repeats"
    untimed = "key AS name, source_row, target_row, NULL::DOUBLE AS time, 1::BIGINT AS repeats"
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
                )


def _by_types(
    entity_types: EntityTypes, relation: str, source: np.ndarray, target: np.ndarray
) -> Iterator[tuple[EdgeType, np.ndarray]]:
    """Divide the edges of one relation by the types of their ends: edge type and positions of its edges."""
    width = len(entity_types.types)
    combined = entity_types.type_numbers(source) * width + entity_types.type_numbers(target)
    for number in np.unique(combined):
        kinds = entity_types.types[number // width], entity_types.types[number % width]
        yield (kinds[0], relation, kinds[1]), np.flatnonzero(combined == number)
