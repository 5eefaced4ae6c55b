"""The spectral decomposition of a graph, next to a dense one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lucid.errors import TrainingFailed
from lucid.evaluation.splitting import hold_out
from lucid.graph.relation_weights import RelationWeights
from lucid.model.decomposition import Solver, decompose
from lucid.model.spectral_filter import SpectralFilter
from tests.support.checkerboard import ITEMS, USERS
from tests.support.graphs import board


def test_the_order_of_edges_does_not_matter() -> None:
    """Shuffled edges give the same scores."""
    spectral = SpectralFilter("positive", 12, 0.1, 0.25)
    sources, items = np.arange(ITEMS, ITEMS + USERS), range(ITEMS)

    plain, shuffled = (
        decompose(graph, RelationWeights({}, 3.0), 12, Solver()) for graph in (board(), board(shuffle=3))
    )

    assert np.allclose(
        plain.raw_scores(spectral, sources, items), shuffled.raw_scores(spectral, sources, items), atol=1e-5
    )


@pytest.mark.parametrize("friends", [False, True])
def test_the_decomposition_equals_numpys(friends: bool) -> None:
    """What the leading eigenpairs reconstruct agrees with a dense decomposition; with two sides, between the sides."""
    graph, damping = board(), 3.0
    if friends:
        store = graph.data["user", "interaction:follows", "user"]
        store.edge_index = torch.tensor([[0, 1, 2, 3, 9], [2, 3, 9, 5, 0]])
        store.time, store.repeats = torch.full((5,), torch.nan, dtype=torch.float64), torch.ones(5, dtype=torch.int64)
    size = graph.entity_types.size
    dense = np.zeros((size, size))
    for edge_type in graph.edge_types:
        rows = graph.rows(edge_type).numpy()
        dense[rows[0], rows[1]] = dense[rows[1], rows[0]] = 1
    damped = 1 / np.sqrt(dense.sum(axis=1) + damping)
    values, vectors = np.linalg.eigh(damped[:, None] * dense * damped)
    order = np.argsort(-np.abs(values))[:4]
    expected = (vectors[:, order] * values[order]) @ vectors[:, order].T

    ours = decompose(graph, RelationWeights({}, damping), 4 if friends else 2, Solver())

    found = (ours.vectors * ours.values) @ ours.vectors.T
    if friends:
        assert np.allclose(np.abs(values[order]), np.abs(ours.values), atol=1e-3)
        assert np.allclose(expected, found, atol=1e-3)
    else:
        assert np.allclose(np.abs(values[order]), np.repeat(ours.values, 2), atol=1e-3)
        assert np.allclose(expected[:ITEMS, ITEMS:], found[:ITEMS, ITEMS:], atol=1e-3)


def test_a_gpu_that_is_not_there_is_asked_for_in_vain() -> None:
    """`auto` takes what there is; `cuda` without a GPU is an error that says what to set."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")

    assert Solver(3, "cpu") == Solver.of(3, "auto")
    with pytest.raises(TrainingFailed, match="set it to auto or cpu"):
        Solver.of(3, "cuda")


def test_warm_and_cold_starts_find_the_same_vectors() -> None:
    """Starting from the vectors of a part of the graph leads to those of the whole."""
    graph, weights = board(), RelationWeights({}, 3.0)
    part = decompose(hold_out(graph, 0).train, weights, 3, Solver())

    cold, warm = decompose(graph, weights, 3, Solver()), decompose(graph, weights, 3, Solver(), start=part)

    assert np.allclose(cold.values[:2], warm.values[:2], atol=1e-3)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_direction_that_the_start_has_twice_counts_once(rounds: int) -> None:
    """The leading vectors are found, and are orthonormal, whatever the iteration begins with."""
    graph, weights = board(), RelationWeights({}, 3.0)
    cold = decompose(graph, weights, 3, Solver())
    twice = replace(cold, vectors=np.repeat(cold.vectors[:, :1], 3, axis=1))

    found = decompose(graph, weights, 3, Solver(), start=twice, rounds=rounds)

    for side in (found.vectors[:ITEMS, :2], found.vectors[ITEMS:, :2]):
        assert np.allclose(np.eye(2), side.T @ side, atol=1e-3)
    assert np.allclose(cold.values[:2], found.values[:2], atol=1e-3)


def test_older_and_repeated_interactions_count_as_the_weights_say() -> None:
    """An interaction of one half-life ago counts half, four repeats count twice with the exponent one half."""
    graph = board()
    store = graph.data[graph.edge_types[0]]
    store.time[0], store.time[1], store.repeats[2] = 1000.0, 2000.0, 4
    items = store.edge_index[1, :3]
    counts = torch.bincount(store.edge_index[1], minlength=ITEMS)[items].float()

    plain = decompose(graph, RelationWeights({}, 3.0), 2, Solver()).degrees[items]
    weighted = decompose(graph, RelationWeights({}, 3.0, repeats=0.5, half_life=1000.0), 2, Solver()).degrees[items]

    assert counts.tolist() == plain.tolist()
    assert [-0.5, 0.0, 1.0] == pytest.approx((weighted - plain).tolist())
