"""Held-out interactions: which are withheld, and how well they are found again.

Choices and the report's figures come from different sources, so what is reported was not chosen on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucid.graph import TypedGraph
from lucid.scoring import Floats, Interacted, Pair, Response, Rows, Vectors, mask
from lucid.vocabulary import Vocabulary

HELD_OUT_SHARE = 0.1
"""Share of each pair's interactions that is withheld from propagation."""
COLD_SHARE, MAX_COLD, MIN_COLD = 0.05, 300, 10
"""Share of each pair's targets that lose all their interactions with the source type, if other edges tell of them."""
MAX_SOURCES = 1000
"""Sources at most that a pair is judged by; more change the figures little and cost time."""
CALIBRATED = 100
"""Recommendations per source that calibration looks at."""
CUTOFF = 10
"""Metrics look at this many recommendations."""


@dataclass(frozen=True)
class HeldOut:
    """Withheld targets of one pair: for each of the `sources` (rows), the rows `targets[starts[i]:starts[i + 1]]`."""

    source_type: str
    target_type: str
    sources: Rows
    starts: NDArray[np.int64]
    targets: Rows

    @property
    def pair(self) -> tuple[str, str]:
        return self.source_type, self.target_type

    def of(self, place: int) -> Rows:
        """Withheld rows of the source at this place."""
        return self.targets[self.starts[place] : self.starts[place + 1]]

    def part(self, places: Rows) -> "HeldOut":
        """The same for some of the sources."""
        lists = [self.of(int(place)) for place in places]
        starts = np.concatenate([[0], np.cumsum([len(targets) for targets in lists])]).astype(np.int64)
        targets = np.concatenate(lists) if lists else np.empty(0, np.int64)
        return HeldOut(self.source_type, self.target_type, self.sources[places], starts, targets)


@dataclass(frozen=True)
class Split:
    """`train` lacks the withheld interactions; `choice` and `report` hold them by pair, for different sources.

    `cold` and `cold_report` hold those of targets that keep no interaction with the source type.
    """

    train: TypedGraph
    choice: list[HeldOut]
    report: list[HeldOut]
    cold: list[HeldOut]
    cold_report: list[HeldOut]


@dataclass(frozen=True)
class Quality:
    """NDCG and recall among the first ten with binary relevance, and the share of sources with any hit."""

    ndcg: float
    recall: float
    hit_rate: float
    sources: int


@dataclass(frozen=True)
class PairQuality:
    """How well one pair's held-out interactions were found, by what answers and by the simple baselines."""

    source_type: str
    target_type: str
    answered_by: str
    """The view of the graph that the pair is read in, or popularity."""
    model: Quality
    popularity: Quality
    co_occurrence: Quality
    cold: Quality | None
    """Among targets without interactions only, where other edges tell of some."""
    calibration_error: float


def split(graph: TypedGraph, seed: int) -> Split:
    """Withhold interactions of every pair: each source's latest where there are timestamps, else random ones.

    A withheld pair of entities is linked by no interaction any more, whatever its type or direction, so that
    nothing of the answer is left in what propagates.
    """
    chance = np.random.default_rng(seed)
    size = graph.vocabulary.size
    pairs = _pairs_each_way_once(graph)
    withheld = [_withhold(graph, pair, chance) for pair in pairs]
    whole = [_withhold_whole(graph, either, chance) for pair in pairs for either in {pair: 0, pair[::-1]: 0}]
    every = [*withheld, *(edges for _, edges in whole)]
    keys = np.unique(np.concatenate([_undirected(edges, size) for edges in every]))
    keep = {
        edge_type: torch.from_numpy(~np.isin(_undirected(graph.rows(edge_type).numpy(), size), keys))
        for edge_type in graph.interaction_types
    }
    train = graph.without(keep)
    connected, cold = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    for edge_type in train.edge_types:
        connected[train.rows(edge_type).numpy().ravel()] = True
    for _, edges in whole:
        cold[edges[1]] = True
    warm = [
        held
        for pair, edges in zip(pairs, withheld, strict=True)
        for held in _both_directions(pair, edges[:, (connected & ~cold)[edges].all(axis=0)])
    ]
    whole_targets = [_group(*pair, *edges[:, connected[edges].all(axis=0)]) for pair, edges in whole]
    return Split(train, *_halves(warm, chance), *_halves(whole_targets, chance))


def _halves(judged: list[HeldOut], chance: np.random.Generator) -> tuple[list[HeldOut], list[HeldOut]]:
    """Some of the sources of each pair, divided at random into those for choosing and those for the report."""
    choice, report = [], []
    for held in judged:
        places = chance.permutation(len(held.sources))[:MAX_SOURCES]
        half = (len(places) + 1) // 2
        choice.append(held.part(np.sort(places[:half])))
        report.append(held.part(np.sort(places[half:])))
    return choice, report


def interacted_rows(graph: TypedGraph) -> Interacted:
    """What each entity interacted with, over all interaction types and both directions."""
    edges = [graph.rows(edge_type).numpy() for edge_type in graph.interaction_types]
    joined = np.concatenate(edges, axis=1) if edges else np.empty((2, 0), np.int64)
    return Interacted.from_edges(graph.vocabulary.size, joined[0], joined[1])


def ndcg(scores: Floats | Tensor, held: HeldOut, targets: range) -> NDArray[np.float64]:
    """NDCG of every source; see `measure`."""
    found, wanted = _found(scores, held, targets)
    discount = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted, found.shape[1]) - 1]
    return np.asarray(found @ discount / ideal)


def measure(scores: Floats | Tensor, held: HeldOut, targets: range) -> Quality:
    """Judge scores (sources, targets), masked already, by the withheld targets.

    Metrics as in LightGCN's evaluation (He et al. 2020), averaged over the sources.
    """
    found, wanted = _found(scores, held, targets)
    return Quality(
        float(np.mean(ndcg(scores, held, targets))),
        float(np.mean(found.sum(axis=1) / wanted)),
        float(np.mean(found.any(axis=1))),
        len(wanted),
    )


def _found(scores: Floats | Tensor, held: HeldOut, targets: range) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each of the first targets (sources, cutoff) was withheld, and how many were withheld of each source."""
    table = torch.as_tensor(scores)
    best = torch.topk(table, min(CUTOFF, table.shape[1]), dim=1).indices.numpy() + targets.start
    wanted = np.diff(held.starts)
    lines = np.arange(len(wanted))
    # A number for each (place, row) turns "is it among this source's withheld rows" into one sorted search.
    known = np.repeat(lines, wanted) * targets.stop + held.targets
    return np.isin(lines[:, None] * targets.stop + best, known), wanted


def links(interacted: Interacted, vocabulary: Vocabulary, pair: tuple[str, str]) -> sparse.csr_matrix:
    """Which sources (rows) interacted with which targets (columns) of a pair of types, 1 or nothing."""
    sources, targets = vocabulary.block(pair[0]), vocabulary.block(pair[1])
    shape = len(interacted.starts) - 1, len(interacted.starts) - 1
    ones = np.ones(len(interacted.indices), dtype=np.float32)
    every = sparse.csr_matrix((ones, interacted.indices, interacted.starts), shape=shape)
    return every[sources.start : sources.stop, targets.start : targets.stop]


def popularity_scores(linked: sparse.csr_matrix, lines: Rows) -> Floats:
    """The popularity baseline: how many sources interacted with a target, the same for every source."""
    return np.tile(np.asarray(linked.sum(axis=0), dtype=np.float32), (len(lines), 1))


def co_occurrence_scores(linked: sparse.csr_matrix, lines: Rows) -> Floats:
    """The co-occurrence baseline: cosine of a target's column with those of the source's own (Sarwar et al. 2001).

    `lines` are the sources as rows of `linked`.
    """
    sizes = np.maximum(np.asarray(linked.sum(axis=0)).ravel(), 1)
    cosine = linked @ sparse.diags_array(sizes**-0.5)
    shared = cosine[lines] @ linked.T  # how alike every source is to these
    return np.asarray((shared @ cosine).toarray(), dtype=np.float32)


def best_raw(
    vectors: Vectors, pair: Pair, held: HeldOut, vocabulary: Vocabulary, interacted: Interacted
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw scores of each source's best targets, flat, and whether each of them was withheld."""
    block = vocabulary.block(held.target_type)
    raw = mask(vectors.pair_scores(pair, held.sources, block), held.sources, block, interacted)
    best = torch.topk(torch.from_numpy(raw), min(CALIBRATED, len(block)), dim=1)
    lines = [np.isin(rows + block.start, held.of(line)) for line, rows in enumerate(best.indices.numpy())]
    scores, hits = best.values.numpy().astype(np.float64).ravel(), np.concatenate(lines)
    real = np.isfinite(scores)
    return scores[real], hits[real]


def report_pairs(held_out: Split, views: Sequence[Vectors], pairs: Sequence[Pair]) -> list[PairQuality]:
    """Quality of every pair on the `report` sources; `views` must not have seen the held-out interactions."""
    by_kinds = {(pair.source_type, pair.target_type): pair for pair in pairs}
    interacted = interacted_rows(held_out.train)
    cold = {held.pair: held for held in held_out.cold_report if len(held.sources)}
    return [
        _report(
            held_out.train,
            views[by_kinds[held.pair].view],
            by_kinds[held.pair],
            held,
            cold.get(held.pair),
            interacted,
        )
        for held in held_out.report
        if len(held.sources)
    ]


def cold_scores(vectors: Vectors, response: Response, held: HeldOut) -> tuple[Floats, HeldOut, range]:
    """Scores of the withheld targets only, with what to judge them by."""
    targets = np.unique(held.targets)
    scores = vectors.raw_scores(response, held.sources, targets)
    return scores, replace(held, targets=np.searchsorted(targets, held.targets)), range(len(targets))


def _report(
    graph: TypedGraph, vectors: Vectors, pair: Pair, held: HeldOut, cold: HeldOut | None, interacted: Interacted
) -> PairQuality:
    block = graph.vocabulary.block(held.target_type)
    raw = mask(vectors.pair_scores(pair, held.sources, block), held.sources, block, interacted)
    linked = links(interacted, graph.vocabulary, held.pair)
    lines = held.sources - graph.vocabulary.block(held.source_type).start
    popular = mask(popularity_scores(linked, lines), held.sources, block, interacted)
    shared = mask(co_occurrence_scores(linked, lines), held.sources, block, interacted)
    best, hits = best_raw(vectors, pair, held, graph.vocabulary, interacted)
    error = calibration_error(pair.calibration.score(best) / 100, hits)
    return PairQuality(
        *held.pair,
        "popularity" if pair.response.parity == "none" else f"view {pair.view}",
        measure(raw, held, block),
        measure(popular, held, block),
        measure(shared, held, block),
        measure(*cold_scores(vectors, pair.cold, cold)) if cold else None,
        error,
    )


def calibration_error(predicted: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean distance of predicted (0-1) and true share of hits over bins of equal size."""
    if not len(predicted):
        return 0.0
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(predicted[part].mean() - hits[part].mean()) * len(part) for part in parts) / len(order))


def _pairs_each_way_once(graph: TypedGraph) -> list[tuple[str, str]]:
    """Linked pairs, in the direction that most of their interactions have."""
    counts = dict.fromkeys(graph.pairs, 0)
    for edge_type in graph.interaction_types:
        counts[edge_type[0], edge_type[2]] += graph.data[edge_type].edge_index.shape[1]
    return [pair for pair, count in counts.items() if (count, pair) >= (counts.get(pair[::-1], 0), pair[::-1])]


def _undirected(edges: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """One number per pair of rows, the same for both directions."""
    keys: NDArray[np.int64] = np.minimum(edges[0], edges[1]) * size + np.maximum(edges[0], edges[1])
    return keys


def _edges(graph: TypedGraph, pair: tuple[str, str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Interactions of one pair, whichever way they point, as (2, E) from source to target, and their times."""
    found, times = [], []
    for edge_type in graph.interaction_types:
        ends = edge_type[0], edge_type[2]
        if pair in (ends, ends[::-1]):
            rows = graph.rows(edge_type).numpy()
            found.append(rows if ends == pair else rows[::-1])
            times.append(graph.data[edge_type].time.numpy())
    return np.concatenate(found, axis=1), np.concatenate(times)


def _withhold_whole(
    graph: TypedGraph, pair: tuple[str, str], chance: np.random.Generator
) -> tuple[tuple[str, str], NDArray[np.int64]]:
    """All interactions (2, W) of a few targets with the source type; edges to other types must tell of them."""
    rows, _ = _edges(graph, pair)
    told = np.zeros(graph.vocabulary.size, dtype=bool)
    for source, relation, target in graph.edge_types:
        first, second = graph.rows((source, relation, target)).numpy()
        for kind, other, entities in ((source, target, first), (target, source, second)):
            if kind == pair[1] and other != pair[0]:
                told[entities] = True
    candidates = np.unique(rows[1, told[rows[1]]])
    count = min(MAX_COLD, int(COLD_SHARE * len(candidates)))
    chosen = chance.permutation(candidates)[: count if count >= MIN_COLD and pair[0] != pair[1] else 0]
    return pair, np.unique(rows[:, np.isin(rows[1], chosen)], axis=1)


def _withhold(graph: TypedGraph, pair: tuple[str, str], chance: np.random.Generator) -> NDArray[np.int64]:
    """Edges (2, W) of one pair, whichever way they point, to withhold: about a tenth of each source's, one stays."""
    rows, time = _edges(graph, pair)
    keys, first = np.unique(rows[0] * graph.vocabulary.size + rows[1], return_inverse=True)
    latest = np.full(len(keys), -np.inf)
    np.maximum.at(latest, first, np.nan_to_num(time, nan=-np.inf))
    sources, targets = keys // graph.vocabulary.size, keys % graph.vocabulary.size
    order = np.lexsort((chance.random(len(keys)), -latest, sources))
    counts = np.bincount(sources, minlength=graph.vocabulary.size)
    place = np.arange(len(keys)) - np.concatenate([[0], np.cumsum(counts)])[sources[order]]
    # Rounding up or down at random withholds the share also where sources have few interactions.
    quota = np.floor(counts * HELD_OUT_SHARE + chance.random(len(counts)))
    chosen = order[place < np.minimum(quota, counts - 1)[sources[order]]]
    return np.stack([sources[chosen], targets[chosen]])


def _both_directions(pair: tuple[str, str], edges: NDArray[np.int64]) -> list[HeldOut]:
    forward = _group(*pair, edges[0], edges[1])
    return [forward] if pair[0] == pair[1] else [forward, _group(pair[1], pair[0], edges[1], edges[0])]


def _group(source_type: str, target_type: str, sources: Rows, targets: Rows) -> HeldOut:
    order = np.lexsort((targets, sources))
    rows, starts = np.unique(sources[order], return_index=True)
    return HeldOut(source_type, target_type, rows, np.append(starts, len(order)), targets[order])
