"""Indirect pairs: types that no interaction links, judged by what is reached in two steps only over withheld edges."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lucid.evaluation.holdout import HeldOut, HoldoutConfig, shuffled
from lucid.graph.histories import InteractionHistory, are_among, distinct
from lucid.graph.typed_graph import EdgeType, TypedGraph
from lucid.typing import TEXT, Rows


def indirect_pairs(
    graph: TypedGraph,
    train: TypedGraph,
    connected: NDArray[np.bool_],
    config: HoldoutConfig,
    rng: np.random.Generator,
) -> list[HeldOut]:
    """What some sources reach in two steps in the graph, but not without the withheld edges in `train`.

    At least one of the two steps is an interaction; `connected` (n) tells which entities still have any edge.
    """
    edge_types = [edge_type for edge_type in graph.edge_types if not edge_type[1].startswith(TEXT)]
    steps = {either for source, _, target in edge_types for either in ((source, target), (target, source))}
    direct = {either for pair in graph.pairs for either in (pair, pair[::-1])}
    between, lost = _between(graph), _lost(graph, train)
    found = []
    for source, target in itertools.permutations(graph.entity_types.types, 2):
        middles = [
            middle
            for middle in graph.entity_types.types
            if {(source, middle), (middle, target)} <= steps and {(source, middle), (middle, target)} & direct
        ]
        targets = graph.entity_types.rows(target)
        if not middles or (source, target) in direct or len(targets) < config.min_indirect_targets:
            continue
        sources, size = graph.entity_types.rows(source), graph.entity_types.size
        rows = np.sort(rng.permutation(np.arange(sources.start, sources.stop))[: config.max_indirect_tried])
        reached_anew = any({_ends(source, middle), _ends(middle, target)} & lost for middle in middles)
        if len(rows) < config.min_indirect or not reached_anew:
            continue
        every, left = (
            sum(_reached(part, between, rows, source, middle, target) for middle in middles).tocoo()
            for part in (graph, train)
        )
        pairs, kept = (
            distinct(rows[reached.row] * size + reached.col.astype(np.int64) + targets.start)
            for reached in (every, left)
        )
        new = pairs[~are_among(pairs, kept)]
        is_judge = np.bincount(kept // size, minlength=size) <= config.max_reached_share * len(targets)
        edges = np.stack([new // size, new % size])[:, (connected & is_judge)[new // size] & connected[new % size]]
        history = InteractionHistory.from_edges(size, kept // size, kept % size)
        held = HeldOut.by_source((source, target), edges, history)
        if len(held.sources) >= config.min_indirect:
            found.append(held.part(np.sort(shuffled(held.sources, size, rng)[: config.max_indirect])))
    return found


Ends = frozenset[str]
"""The types at the ends of an edge, whichever way it points."""


def _ends(first: str, second: str) -> Ends:
    return frozenset((first, second))


def _between(graph: TypedGraph) -> dict[Ends, list[EdgeType]]:
    """The edge types that join two types."""
    found: dict[Ends, list[EdgeType]] = {}
    for edge_type in graph.edge_types:
        found.setdefault(_ends(edge_type[0], edge_type[2]), []).append(edge_type)
    return found


def _lost(graph: TypedGraph, train: TypedGraph) -> set[Ends]:
    """The types between which edges were withheld."""
    return {
        _ends(source, target)
        for source, relation, target in graph.interaction_types
        if graph.data[source, relation, target].num_edges > train.data[source, relation, target].num_edges
    }


def _reached(
    graph: TypedGraph, between: dict[Ends, list[EdgeType]], rows: Rows, source: str, middle: str, target: str
) -> sparse.csr_matrix:
    """How often some rows of a type reach the entities of another in two steps over a third, (rows, targets)."""
    first = _steps(graph, between.get(_ends(source, middle), []), rows, middle)
    reached = distinct(first.indices.astype(np.int64))
    second = _steps(
        graph,
        between.get(_ends(middle, target), []),
        reached + graph.entity_types.rows(middle).start,
        target,
    )
    return first[:, reached] @ second


def _steps(graph: TypedGraph, edge_types: Sequence[EdgeType], rows: Rows, target: str) -> sparse.csr_matrix:
    """Edges of some types, in both directions, from some rows, sorted, to the entities of a type, (rows, targets)."""
    targets = graph.entity_types.rows(target)
    chosen = np.zeros(graph.entity_types.size, dtype=bool)
    chosen[rows] = True
    positions, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for edge_type in edge_types:
        edges = graph.rows(edge_type).numpy()
        for begin, end in (edges, edges[::-1]):
            kept = chosen[begin] & (end >= targets.start) & (end < targets.stop)
            positions.append(np.searchsorted(rows, begin[kept]))
            columns.append(end[kept] - targets.start)
    ends = np.concatenate(positions), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(ends[0]), np.float32), ends), shape=(len(rows), len(targets)))
