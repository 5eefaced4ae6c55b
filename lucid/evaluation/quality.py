"""Held-out interactions: which are withheld, and how well they are found again.

Choices and the report's figures come from different sources, so what is reported was not chosen on.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucid.graph.histories import InteractionHistory
from lucid.graph.typed_graph import TypedGraph
from lucid.model.item_knn import CoOccurrence
from lucid.model.scorer import Pair, Response, Scorer, Vectors, mask
from lucid.typing import TEXT, AnyFloats, Floats, Rows

HELD_OUT_SHARE = 0.1
"""Share of each pair's interactions that is withheld from propagation."""
COLD_SHARE, MAX_COLD, MIN_COLD = 0.05, 300, 10
"""Share of each pair's targets that lose all their interactions with the source type, if other edges tell of them."""
MAX_SOURCES = 1000
"""Sources at most that a pair is judged by; more change the figures little and cost time."""
MIN_IMPLIED, MAX_IMPLIED, MAX_IMPLIED_TRIED = 40, 400, 2000
"""For pairs that no interaction links: sources at least and at most, and how many are looked at to find these."""
MIN_IMPLIED_TARGETS, MAX_KNOWN_SHARE = 20, 0.5
"""For the same: targets at least, and the share of them that a source may reach already."""
CALIBRATED = 100
"""Recommendations per source that calibration looks at."""
MIN_IN_BIN = 100
MAX_SCORES = 50_000_000
"""Scores that are looked at together; a few copies of them are held, 200 to 400 MB each."""
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
    known: InteractionHistory
    """What a source has already and nobody is judged by."""

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
        return replace(self, sources=self.sources[places], starts=starts, targets=targets)

    def parts(self, targets: range) -> list["HeldOut"]:
        """The same for so many sources at a time that scores of all targets fit in memory."""
        places, step = np.arange(len(self.sources)), max(1, MAX_SCORES // max(len(targets), 1))
        return [self.part(places[start : start + step]) for start in range(0, len(places), step)]

    def masked(self, scores: AnyFloats, targets: range) -> AnyFloats:
        """The scores without, in place, what the sources have already and the sources themselves."""
        return mask(scores, self.sources, targets, self.known)


@dataclass(frozen=True)
class Split:
    """`train` lacks the withheld interactions; `choice` and `report` hold them by pair, for different sources."""

    train: TypedGraph
    choice: list[HeldOut]
    report: list[HeldOut]
    cold: list[HeldOut]
    cold_report: list[HeldOut]
    """Interactions of targets that keep none with the source type."""
    implied: list[HeldOut]
    implied_report: list[HeldOut]
    """Pairs that no interaction links: what sources reach in two steps only over withheld edges."""


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
    size = graph.entity_types.size
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
    known = interacted_rows(train)
    warm = [
        held
        for pair, edges in zip(pairs, withheld, strict=True)
        for held in _both_directions(pair, edges[:, (connected & ~cold)[edges].all(axis=0)], known)
    ]
    whole_targets = [_group(pair, edges[:, connected[edges].all(axis=0)], known) for pair, edges in whole]
    implied = _implied(graph, train, connected, chance)
    return Split(train, *_halves(warm, chance), *_halves(whole_targets, chance), *_halves(implied, chance))


def _implied(
    graph: TypedGraph, train: TypedGraph, connected: NDArray[np.bool_], chance: np.random.Generator
) -> list[HeldOut]:
    """For pairs that no interaction links: what some sources reach in two steps, but without the withheld edges do not.

    At least one of the two steps is an interaction.
    """
    told = [edge_type for edge_type in graph.edge_types if not edge_type[1].startswith(TEXT)]
    steps = {either for source, _, target in told for either in ((source, target), (target, source))}
    direct = {either for pair in graph.pairs for either in (pair, pair[::-1])}
    found = []
    for source, target in itertools.permutations(graph.entity_types.types, 2):
        middles = [
            kind
            for kind in graph.entity_types.types
            if {(source, kind), (kind, target)} <= steps and {(source, kind), (kind, target)} & direct
        ]
        small = len(graph.entity_types.rows(target)) < MIN_IMPLIED_TARGETS
        if not middles or (source, target) in direct or small:
            continue
        block = graph.entity_types.rows(source)
        rows = np.sort(chance.permutation(np.arange(block.start, block.stop))[:MAX_IMPLIED_TRIED])
        every, left = (
            sum(_reached(part, rows, middle, target) for middle in middles).tocoo() for part in (graph, train)
        )
        start, size = graph.entity_types.rows(target).start, graph.entity_types.size
        pairs, kept = (
            np.unique(rows[reached.row] * size + reached.col.astype(np.int64) + start) for reached in (every, left)
        )
        new = np.setdiff1d(pairs, kept)
        # Who reaches most of a small type anyway cannot be told anything by it.
        few = np.bincount(kept // size, minlength=size) <= MAX_KNOWN_SHARE * len(graph.entity_types.rows(target))
        edges = np.stack([new // size, new % size])[:, (connected & few)[new // size] & connected[new % size]]
        held = _group((source, target), edges, InteractionHistory.from_edges(size, kept // size, kept % size))
        if len(held.sources) >= MIN_IMPLIED:
            found.append(held.part(np.sort(chance.permutation(len(held.sources))[:MAX_IMPLIED])))
    return found


def _reached(graph: TypedGraph, rows: Rows, middle: str, target: str) -> sparse.csr_matrix:
    """How often some rows reach the entities of a type in two steps over another, (rows, targets)."""
    first = _steps(graph, rows, middle)
    between = np.unique(first.indices)
    return first[:, between] @ _steps(graph, between + graph.entity_types.rows(middle).start, target)


def _steps(graph: TypedGraph, rows: Rows, target: str) -> sparse.csr_matrix:
    """Edges of every relation and direction from some rows, sorted, to the entities of a type, (rows, targets)."""
    block = graph.entity_types.rows(target)
    chosen = np.zeros(graph.entity_types.size, dtype=bool)
    chosen[rows] = True
    lines, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for edge_type in graph.edge_types:
        if target in (edge_type[0], edge_type[2]):
            edges = graph.rows(edge_type).numpy()
            for begin, end in (edges, edges[::-1]):
                kept = chosen[begin] & (end >= block.start) & (end < block.stop)
                lines.append(np.searchsorted(rows, begin[kept]))
                columns.append(end[kept] - block.start)
    ends = np.concatenate(lines), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(ends[0]), np.float32), ends), shape=(len(rows), len(block)))


def _halves(judged: list[HeldOut], chance: np.random.Generator) -> tuple[list[HeldOut], list[HeldOut]]:
    """Some of the sources of each pair, divided at random into those for choosing and those for the report."""
    choice, report = [], []
    for held in judged:
        places = chance.permutation(len(held.sources))[:MAX_SOURCES]
        half = (len(places) + 1) // 2
        choice.append(held.part(np.sort(places[:half])))
        report.append(held.part(np.sort(places[half:])))
    return choice, report


def interacted_rows(graph: TypedGraph) -> InteractionHistory:
    """What each entity interacted with, over all interaction types and both directions."""
    edges = [graph.rows(edge_type).numpy() for edge_type in graph.interaction_types]
    joined = np.concatenate(edges, axis=1) if edges else np.empty((2, 0), np.int64)
    return InteractionHistory.from_edges(graph.entity_types.size, joined[0], joined[1])


def ndcg(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> NDArray[np.float64]:
    """NDCG of every source; see `measure`."""
    found, wanted = _found(scores, held, targets)
    discount = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted, found.shape[1]) - 1]
    return np.asarray(found @ discount / ideal)


def measure(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> Quality:
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


def _found(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each of the first targets (sources, cutoff) was withheld, and how many were withheld of each source."""
    table = torch.as_tensor(scores)
    best = torch.topk(table, min(CUTOFF, table.shape[1]), dim=1).indices.numpy() + targets.start
    wanted = np.diff(held.starts)
    lines = np.arange(len(wanted))
    # A number for each (place, row) turns "is it among this source's withheld rows" into one sorted search.
    known = np.repeat(lines, wanted) * targets.stop + held.targets
    return np.isin(lines[:, None] * targets.stop + best, known), wanted


def best_raw(scorer: Scorer, held: HeldOut) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw scores of each source's best targets, flat, and whether each of them was withheld."""
    block = scorer.targets
    scores, hits = [np.empty(0)], [np.empty(0, bool)]
    for part in held.parts(block):
        raw = torch.from_numpy(part.masked(scorer.raw(part.sources), block))
        best = torch.topk(raw, min(CALIBRATED, len(block)), dim=1)
        hits += [np.isin(rows + block.start, part.of(line)) for line, rows in enumerate(best.indices.numpy())]
        scores.append(best.values.numpy().astype(np.float64).ravel())
    every, hit = np.concatenate(scores), np.concatenate(hits)
    real = np.isfinite(every)
    return every[real], hit[real]


def report_pairs(held_out: Split, views: Sequence[Vectors], pairs: Sequence[Pair]) -> list[PairQuality]:
    """Quality of every pair on the `report` sources; `views` must not have seen the held-out interactions."""
    by_kinds = {(pair.source_type, pair.target_type): pair for pair in pairs}
    interacted = interacted_rows(held_out.train)
    cold = {held.pair: held for held in held_out.cold_report if len(held.sources)}
    found = []
    for held in (held for held in held_out.report + held_out.implied_report if len(held.sources)):
        pair = by_kinds[held.pair]
        scorer = Scorer(views, pair, held_out.train.entity_types, interacted)
        found.append(_report(scorer, views[pair.cold_view], held, cold.get(held.pair)))
    return found


def cold_scores(vectors: Vectors, response: Response, held: HeldOut) -> tuple[Floats, HeldOut, range]:
    """Scores of the withheld targets only, with what to judge them by."""
    targets = np.unique(held.targets)
    scores = vectors.raw_scores(response, held.sources, targets)
    return scores, replace(held, targets=np.searchsorted(targets, held.targets)), range(len(targets))


def _report(scorer: Scorer, cold_vectors: Vectors, held: HeldOut, cold: HeldOut | None) -> PairQuality:
    pair, block = scorer.pair, scorer.targets
    best, hits = best_raw(scorer, held)
    baseline = CoOccurrence(held.known, scorer.entity_types, held.pair)
    popularity = baseline.popularity()
    return PairQuality(
        *held.pair,
        answered_by(pair),
        _measured(lambda part: scorer.raw(part.sources), held, block),
        _measured(lambda part: np.tile(popularity, (len(part.sources), 1)), held, block),
        _measured(lambda part: baseline.scores(part.sources - scorer.sources.start), held, block),
        measure(*cold_scores(cold_vectors, pair.cold, cold)) if cold else None,
        calibration_error(pair.calibration.score(best) / 100, hits),
    )


def _measured(scores: Callable[[HeldOut], NDArray[Any]], held: HeldOut, targets: range) -> Quality:
    """`measure` of scores that are made, and masked, for a part of the sources at a time."""
    parts = [measure(part.masked(scores(part), targets), part, targets) for part in held.parts(targets)]
    sizes = [part.sources for part in parts]

    def mean(name: str) -> float:
        return float(np.average([getattr(part, name) for part in parts], weights=sizes))

    return Quality(mean("ndcg"), mean("recall"), mean("hit_rate"), sum(sizes))


def answered_by(pair: Pair) -> str:
    """What a pair's score is made of, for people."""
    spectral = "popularity" if pair.response.parity == "none" else f"view {pair.view}"
    spectral += ", learned filter" if pair.response.gains else ""
    if not pair.blend.share:
        return spectral
    return "co-occurrence" if pair.blend.share == 1 else f"{spectral}, {pair.blend.share:.0%} co-occurrence"


def calibration_error(predicted: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean distance of predicted (0-1) and true share of hits over bins of equal size.

    Bins hold at least `MIN_IN_BIN` predictions: in smaller ones chance alone looks like an error.
    """
    if not len(predicted):
        return 0.0
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // MIN_IN_BIN)))
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
    told = np.zeros(graph.entity_types.size, dtype=bool)
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
    keys, first = np.unique(rows[0] * graph.entity_types.size + rows[1], return_inverse=True)
    latest = np.full(len(keys), -np.inf)
    np.maximum.at(latest, first, np.nan_to_num(time, nan=-np.inf))
    sources, targets = keys // graph.entity_types.size, keys % graph.entity_types.size
    order = np.lexsort((chance.random(len(keys)), -latest, sources))
    counts = np.bincount(sources, minlength=graph.entity_types.size)
    place = np.arange(len(keys)) - np.concatenate([[0], np.cumsum(counts)])[sources[order]]
    # Rounding up or down at random withholds the share also where sources have few interactions.
    quota = np.floor(counts * HELD_OUT_SHARE + chance.random(len(counts)))
    chosen = order[place < np.minimum(quota, counts - 1)[sources[order]]]
    return np.stack([sources[chosen], targets[chosen]])


def _both_directions(pair: tuple[str, str], edges: NDArray[np.int64], known: InteractionHistory) -> list[HeldOut]:
    forward = _group(pair, edges, known)
    return [forward] if pair[0] == pair[1] else [forward, _group(pair[::-1], edges[::-1], known)]


def _group(pair: tuple[str, str], edges: NDArray[np.int64], known: InteractionHistory) -> HeldOut:
    """Edges (2, E) of a pair by their sources."""
    sources, targets = edges
    order = np.lexsort((targets, sources))
    rows, starts = np.unique(sources[order], return_index=True)
    return HeldOut(*pair, rows, np.append(starts, len(order)), targets[order], known)
