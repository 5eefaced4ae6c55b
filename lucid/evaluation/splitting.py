"""Splitting: which interactions of a graph are withheld, so that nothing of the answer is left in what propagates."""

import numpy as np
import torch
from numpy.typing import NDArray

from lucid.data.strengths import LIKED
from lucid.evaluation.holdout import Halves, HeldOut, Holdout, HoldoutConfig, shuffled
from lucid.graph.histories import InteractionHistory, are_among, distinct
from lucid.graph.typed_graph import TypedGraph
from lucid.model.pair_model import Pair


def hold_out(graph: TypedGraph, seed: int, config: HoldoutConfig | None = None) -> Holdout:
    """Withhold interactions of every pair: each source's latest where there are timestamps, else random ones.

    A withheld pair of entities is linked by no interaction any more, whatever its type or direction, so that
    nothing of the answer is left in what propagates. To find again is what was liked: of interactions that say how much
    somebody liked what he met, only those that say so.
    """
    from lucid.evaluation.indirect import indirect_pairs

    config, rng, size = config or HoldoutConfig(), np.random.default_rng(seed), graph.entity_types.size
    linked = _edges_by_pair(graph)
    withheld = [_withhold(rows, times, size, config, rng) for rows, times in linked.values()]
    described = _neighbour_types(graph) > 1
    whole = [
        (ends, _withhold_whole(ends, edges, described, config, rng))
        for pair, (rows, _) in linked.items()
        for ends, edges in {pair: rows, pair[::-1]: rows[::-1] if pair[0] != pair[1] else rows}.items()
    ]
    every = [*withheld, *(edges for _, edges in whole)]
    keys = distinct(np.concatenate([_undirected(edges, size) for edges in every]))
    train = graph.without(
        {
            edge_type: torch.from_numpy(~are_among(_undirected(graph.rows(edge_type).numpy(), size), keys))
            for edge_type in graph.interaction_types
        }
    )
    connected, cold = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    for edge_type in train.edge_types:
        connected[train.rows(edge_type).numpy().ravel()] = True
    for _, edges in whole:
        cold[edges[1]] = True
    history, warm, disliked = train.history(), connected & ~cold, _not_liked(graph)

    def liked(edges: NDArray[np.int64], among: NDArray[np.bool_]) -> NDArray[np.int64]:
        return edges[:, among[edges].all(axis=0) & ~are_among(_undirected(edges, size), disliked)]

    warm_targets = [
        held
        for pair, edges in zip(linked, withheld, strict=True)
        for held in _both_directions(pair, liked(edges, warm), history)
    ]
    cold_targets = [HeldOut.by_source(pair, liked(edges, connected), history) for pair, edges in whole]
    indirect = indirect_pairs(graph, train, connected, config, rng)
    not_liked = [
        HeldOut.by_source(
            pair, edges[:, warm[edges].all(axis=0) & are_among(_undirected(edges, size), disliked)], history
        )
        for pair, edges in zip(linked, withheld, strict=True)
        if pair in graph.pairs_with_strengths
    ]
    warm_halves, cold_halves, indirect_halves, disliked_halves = (
        Halves.at_random(held, config, rng) for held in (warm_targets, cold_targets, indirect, not_liked)
    )
    return Holdout(train, warm_halves, cold_halves, indirect_halves, disliked_halves, graph)


def _not_liked(graph: TypedGraph) -> NDArray[np.int64]:
    """Pairs of rows, as `_undirected` numbers them, of which an interaction says that they are not liked; sorted."""
    keys = [np.empty(0, np.int64)]
    for edge_type in graph.interaction_types:
        if (strengths := graph.strengths(edge_type)) is not None:
            keys.append(_undirected(graph.rows(edge_type).numpy()[:, strengths < LIKED], graph.entity_types.size))
    return distinct(np.concatenate(keys))


def _pairs_each_way_once(graph: TypedGraph) -> list[Pair]:
    """Linked pairs, in the direction that most of their interactions have."""
    counts = dict.fromkeys(graph.pairs, 0)
    for edge_type in graph.interaction_types:
        counts[edge_type[0], edge_type[2]] += graph.data[edge_type].edge_index.shape[1]
    return [pair for pair, count in counts.items() if (count, pair) >= (counts.get(pair[::-1], 0), pair[::-1])]


def _undirected(edges: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """One number per pair of rows, whichever way the edge points."""
    keys: NDArray[np.int64] = np.minimum(edges[0], edges[1]) * size + np.maximum(edges[0], edges[1])
    return keys


def _edges_by_pair(graph: TypedGraph) -> dict[Pair, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Interactions of each pair, whichever way they point, as (2, E) from source to target, and their times."""
    found: dict[Pair, list[tuple[NDArray[np.int64], NDArray[np.float64]]]]
    found = {pair: [] for pair in _pairs_each_way_once(graph)}
    for edge_type in graph.interaction_types:
        rows, time = graph.rows(edge_type).numpy(), graph.data[edge_type].time.numpy()
        pair = edge_type[0], edge_type[2]
        if pair in found:
            found[pair].append((rows, time))
        else:
            found[pair[::-1]].append((rows[::-1], time))
    return {
        pair: (np.concatenate([rows for rows, _ in parts], axis=1), np.concatenate([times for _, times in parts]))
        for pair, parts in found.items()
    }


def _neighbour_types(graph: TypedGraph) -> NDArray[np.int64]:
    """With how many types each entity (n) has edges."""
    types = graph.entity_types.types
    keys = [np.empty(0, np.int64)]
    for edge_type in graph.edge_types:
        first, second = graph.rows(edge_type).numpy()
        keys.append(distinct(first) * len(types) + types.index(edge_type[2]))
        keys.append(distinct(second) * len(types) + types.index(edge_type[0]))
    return np.bincount(distinct(np.concatenate(keys)) // max(len(types), 1), minlength=graph.entity_types.size)


def _withhold(
    rows: NDArray[np.int64], time: NDArray[np.float64], size: int, config: HoldoutConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Edges (2, W) to withhold of one pair's (2, E) in a graph of some size: a share of each source's; one stays."""
    keys, first = np.unique(rows[0] * size + rows[1], return_inverse=True)
    latest = np.full(len(keys), -np.inf)
    np.maximum.at(latest, first, np.nan_to_num(time, nan=-np.inf))
    sources, targets = keys // size, keys % size
    # Numbers drawn for edges come from elsewhere, so that one more edge leaves what else is drawn as it is.
    (of_edges,) = rng.spawn(1)
    order = np.lexsort((of_edges.random(len(keys)), -latest, sources))
    counts = np.bincount(sources, minlength=size)
    rank = np.arange(len(keys)) - np.concatenate([[0], np.cumsum(counts)])[sources[order]]
    # Rounding up or down at random withholds the share also where sources have few interactions.
    quota = np.floor(counts * config.share + rng.random(len(counts)))
    chosen = order[rank < np.minimum(quota, counts - 1)[sources[order]]]
    return np.stack([sources[chosen], targets[chosen]])


def _withhold_whole(
    pair: Pair,
    rows: NDArray[np.int64],
    described: NDArray[np.bool_],
    config: HoldoutConfig,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """All interactions (2, W), of a pair's (2, E), of a few targets that edges to other types tell of (n, bool)."""
    candidates = distinct(rows[1, described[rows[1]]])
    count = min(config.max_cold, int(config.cold_share * len(candidates)))
    chosen = candidates[shuffled(candidates, len(described), rng)][
        : count if count >= config.min_cold and pair[0] != pair[1] else 0
    ]
    return np.unique(rows[:, np.isin(rows[1], chosen)], axis=1)


def _both_directions(pair: Pair, edges: NDArray[np.int64], history: InteractionHistory) -> list[HeldOut]:
    forward = HeldOut.by_source(pair, edges, history)
    return [forward] if pair[0] == pair[1] else [forward, HeldOut.by_source(pair[::-1], edges[::-1], history)]
