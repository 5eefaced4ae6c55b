"""What is withheld from a training, so that it can be judged by it."""

import numpy as np
import torch
from torch_geometric.data import HeteroData

from lucid.evaluation.splitting import hold_out
from lucid.graph.entity_types import EntityTypes
from lucid.graph.typed_graph import TypedGraph
from tests.support.checkerboard import USERS
from tests.support.graphs import board


def with_items(items: int) -> TypedGraph:
    """Users with random items, each of which has one of ten colours as metadata."""
    rng = np.random.default_rng(0)
    data = HeteroData()
    data["colour"].num_nodes, data["item"].num_nodes, data["user"].num_nodes = 10, items, USERS
    edges = {
        ("user", "interaction:likes", "item"): np.stack(
            [np.repeat(np.arange(USERS), 100), rng.integers(0, items, USERS * 100)]
        ),
        ("item", "metadata:colour", "colour"): np.stack([np.arange(items), np.arange(items) % 10]),
    }
    for edge_type, index in edges.items():
        data[edge_type].edge_index = torch.from_numpy(np.unique(index, axis=1))
        count = data[edge_type].edge_index.shape[1]
        data[edge_type].time = torch.full((count,), torch.nan, dtype=torch.float64)
        data[edge_type].repeats = torch.ones(count, dtype=torch.int64)
    return TypedGraph(data, EntityTypes(("colour", "item", "user"), (0, 10, 10 + items, 10 + items + USERS)))


def test_withheld_pairs_are_gone_from_what_propagates() -> None:
    """No withheld pair of entities is linked in the training part, in either direction."""
    graph = board()
    parts = hold_out(graph, 0)
    left = parts.train.history()

    withheld_pairs = [
        (int(source), int(target))
        for held in parts.warm.validation + parts.warm.test
        for position, source in enumerate(held.sources)
        for target in held.of(position)
    ]

    assert 0.05 < len(withheld_pairs) / 2 / graph.data.num_edges < 0.15  # each pair is judged in both directions
    assert not any(target in left.of(source) for source, target in withheld_pairs)


def test_later_interactions_are_withheld_before_earlier_ones() -> None:
    """With timestamps, what a source did last is what must be predicted: nothing kept is younger."""
    graph = board()
    store = graph.data[graph.edge_types[0]]
    store.time = torch.arange(store.edge_index.shape[1], dtype=torch.float64)
    times = {tuple(edge): index for index, edge in enumerate(graph.rows(graph.edge_types[0]).T.tolist())}

    parts = hold_out(graph, 0)

    kept = graph.entity_types.rows("user")
    youngest = {row: max(times[row, int(item)] for item in parts.train.history().of(row)) for row in kept}
    for held in (held for held in parts.warm.validation + parts.warm.test if held.source_type == "user"):
        for position, source in enumerate(held.sources.tolist()):
            assert all(times[source, int(item)] > youngest[source] for item in held.of(position))


def test_what_comes_later_never_reaches_what_is_judged_by_it() -> None:
    """Two histories that differ only in what is withheld propagate exactly the same."""
    graph, other = board(), board()
    edge_type = graph.edge_types[0]
    users, items = graph.data[edge_type].edge_index
    times = torch.arange(len(users), dtype=torch.float64)
    graph.data[edge_type].time = other.data[edge_type].time = times
    first = hold_out(graph, 0)
    judged = torch.tensor([row for held in first.warm.validation + first.warm.test for row in held.sources])
    last = torch.cat([users[1:] != users[:-1], torch.tensor([True])])
    later = last & torch.isin(users + graph.entity_types.rows("user").start, judged)
    # In the other history these users last liked an item of the other colour.
    other.data[edge_type].edge_index = torch.stack([users, torch.where(later, items ^ 1, items)])

    second = hold_out(other, 0)

    assert later.sum() > USERS / 3
    assert torch.equal(first.train.rows(edge_type), second.train.rows(edge_type))


def test_some_targets_lose_all_interactions_where_metadata_tells_of_them() -> None:
    """Whole targets are withheld for the choice of their filter, and nothing else is judged by them."""
    graph = with_items(2000)
    assert [] == [held for held in hold_out(board(), 0).cold.validation if len(held.sources)]  # nothing tells of those

    parts = hold_out(graph, 0)

    (held,) = (held for held in parts.cold.validation if len(held.sources))
    left = parts.train.history()
    cold = np.unique(held.targets)
    assert ("user", "item") == held.pair
    assert 20 < len(cold) <= 100
    assert not any(len(left.of(int(row))) for row in cold)
    assert not any(np.isin(judged.targets, cold).any() for judged in parts.warm.validation + parts.warm.test)


def test_pairs_two_steps_apart_are_judged_by_what_only_withheld_edges_tell() -> None:
    """Users and makers are linked over items only: judged by makers that a user does not reach in what propagates."""
    rng, items, makers = np.random.default_rng(0), 400, 100
    data, entity_types = HeteroData(), EntityTypes(("item", "maker", "user"), (0, items, items + makers, 900))
    edges = {
        ("item", "metadata:maker", "maker"): np.stack([np.arange(items), np.arange(items) % makers]),
        ("user", "interaction:likes", "item"): np.stack([np.repeat(np.arange(400), 12), rng.integers(0, items, 4800)]),
    }
    for entity_type in entity_types.types:
        data[entity_type].num_nodes = len(entity_types.rows(entity_type))
    for edge_type, index in edges.items():
        data[edge_type].edge_index = torch.from_numpy(np.unique(index, axis=1))
        count = data[edge_type].edge_index.shape[1]
        data[edge_type].time = torch.full((count,), torch.nan, dtype=torch.float64)
        data[edge_type].repeats = torch.ones(count, dtype=torch.int64)
    graph = TypedGraph(data, entity_types)

    parts = hold_out(graph, 0)

    def reached(part: TypedGraph) -> set[tuple[int, int]]:
        likes = part.rows(("user", "interaction:likes", "item")).T.tolist()
        return {(user, items + item % makers) for user, item in likes}

    new = reached(graph) - reached(parts.train)
    judged: dict[tuple[str, str], set[tuple[int, int]]] = {held.pair: set() for held in parts.indirect.validation}
    for held in parts.indirect.validation + parts.indirect.test:
        for position, source in enumerate(held.sources.tolist()):
            judged[held.pair] |= {(source, target) for target in held.of(position).tolist()}
    assert {("user", "maker"), ("maker", "user")} == judged.keys()
    assert judged["user", "maker"] <= new
    assert {(user, maker) for maker, user in judged["maker", "user"]} <= new
    assert len(judged["user", "maker"]) > 50
