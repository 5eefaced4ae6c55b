"""Graphs and embeddings whose properties are known, made without files and trainings."""

import numpy as np
import torch
from torch_geometric.data import HeteroData

from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.graph.typed_graph import TypedGraph
from lucid.model.embedding import Embedding
from tests.support.checkerboard import ITEMS, USERS, liked

EMPTY_HISTORY = InteractionHistory.from_edges(900, np.empty(0, np.int64), np.empty(0, np.int64))


def board(*, shuffle: int | None = None) -> TypedGraph:
    """The checkerboard as a graph, its edges in another order if a seed is given."""
    edges = np.array([(user, item) for user in range(USERS) for item in range(ITEMS) if liked(user, item)]).T
    if shuffle is not None:
        edges = edges[:, np.random.default_rng(shuffle).permutation(edges.shape[1])]
    data = HeteroData()
    data["item"].num_nodes, data["user"].num_nodes = ITEMS, USERS
    store = data["user", "interaction:likes", "item"]
    store.edge_index = torch.from_numpy(edges)
    store.time = torch.full((edges.shape[1],), torch.nan, dtype=torch.float64)
    store.repeats = torch.ones(edges.shape[1], dtype=torch.int64)
    return TypedGraph(data, EntityTypes(("item", "user"), (0, ITEMS, ITEMS + USERS)))


def random_vectors(entities: int, rank: int) -> Embedding:
    rng = np.random.default_rng(1)
    return Embedding(
        np.sort(rng.uniform(-1, 1, rank).astype(np.float32))[::-1].copy(),
        rng.normal(size=(entities, rank)).astype(np.float32),
        rng.integers(0, 50, entities).astype(np.float32),
        3.0,
        {"a": rng.random(entities) < 0.8},
    )
