"""The figures of a pair, from what was recorded of it; needs no torch.

Ranking figures are those of PyG's link prediction metrics: NDCG, recall, reciprocal rank of the first hit and whether
there is one, with binary relevance, averaged over the sources that have anything withheld. `lucid.verify` computes
all of it a second time, from the exported lists; who changes a definition here changes it there as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.bootstrap import DECIMALS, differences, intervals
from lucid.evaluation.pair_quality import (
    CUTOFFS,
    METRICS,
    AnsweredBefore,
    Bootstrap,
    CalibrationBin,
    Decile,
    Differences,
    PairFigures,
    PairQuality,
    Ranking,
    RankingQuality,
    SourceBand,
    TargetBand,
    Variety,
)
from lucid.evaluation.recorded import (
    BASELINES,
    ITEM_KNN,
    LISTED,
    MILLION,
    MODEL,
    POPULARITY,
    Before,
    Described,
    Lists,
    RecordedPair,
    Withheld,
)
from lucid.typing import Rows

Numbers = NDArray[np.float64]

NAMES = tuple(f"{metric}@{cutoff}" for metric in METRICS for cutoff in CUTOFFS)
BAND_NAMES = ("ndcg@10", "recall@10")
"""Figures of bands of sources, which are many."""
VARIETY_AT = 10
BANDS = ((0, 5), (6, 20), (21, None))
"""Few, some and many interactions; set by hand."""
DECILES = 10
BINS, MIN_IN_BIN = 10, 100
"""Of the calibration: in smaller bins chance alone looks like an error."""


def quality_of(pair: RecordedPair, described: Described, drawn: Bootstrap) -> PairQuality:
    """All figures of a pair; `described` holds at least the targets of its lists."""
    values = {who: per_source(pair.withheld, lists) for who, lists in pair.lists.items()}
    bins = calibration_bins(*_predictions(pair))
    cold = ranking(per_source(pair.cold.withheld, pair.cold.model), drawn) if pair.cold else None
    figures = PairFigures(
        sources=len(pair.withheld.sources),
        withheld=len(pair.withheld.targets),
        targets=pair.target_count,
        ranking={who: ranking(found, drawn) for who, found in values.items()},
        differences=_to_baselines(values, drawn),
        answered_before=_answered_before(pair, pair.before, values[MODEL], drawn) if pair.before else None,
        variety={who: variety(pair, lists[:, :VARIETY_AT], described) for who, lists in pair.lists.items()},
        popularity_bias=popularity_bias(pair),
        by_source=_by_source(pair, values, drawn),
        by_target=_by_target(pair),
        cold=cold,
        calibration=bins,
    )
    return PairQuality(
        pair.source_type,
        pair.target_type,
        pair.answered_by,
        _first_ten(figures.ranking[MODEL], figures.sources),
        _first_ten(figures.ranking[POPULARITY], figures.sources),
        _first_ten(figures.ranking[ITEM_KNN], figures.sources),
        _first_ten(cold, len(pair.cold.withheld.sources)) if cold and pair.cold else None,
        calibration_error(bins),
        figures,
    )


def _first_ten(found: Ranking, sources: int) -> RankingQuality:
    return RankingQuality(found["ndcg@10"].mean, found["recall@10"].mean, found["hit_rate@10"].mean, sources)


# Ranking


def per_source(withheld: Withheld, lists: Lists) -> Numbers:
    """The figures `NAMES` of every source, (sources, names)."""
    hits, relevant = withheld.hits(lists[:, :LISTED]), withheld.counts
    found = {}
    for cutoff in CUTOFFS:
        first = hits[:, :cutoff]
        ranks = np.arange(1, first.shape[1] + 1)
        ideal = np.cumsum(1 / np.log2(np.arange(2, cutoff + 2)))
        found[f"ndcg@{cutoff}"] = first @ (1 / np.log2(ranks + 1)) / ideal[np.minimum(relevant, cutoff) - 1]
        found[f"recall@{cutoff}"] = first.sum(axis=1) / relevant
        found[f"mrr@{cutoff}"] = (first / ranks).max(axis=1, initial=0)
        found[f"hit_rate@{cutoff}"] = first.any(axis=1).astype(np.float64)
    return np.stack([found[name] for name in NAMES], axis=1)


def ranking(values: Numbers, drawn: Bootstrap, names: Sequence[str] = NAMES) -> Ranking:
    """Means over sources with their intervals, of some of the figures of `per_source`."""
    return dict(zip(names, intervals(_columns(values, names), drawn), strict=True))


def compared(values: Numbers, others: Numbers, drawn: Bootstrap, names: Sequence[str] = NAMES) -> Differences:
    """The differences of `per_source` of some lists to those of others, of the same sources."""
    found = differences(_columns(values, names), _columns(others, names), drawn)
    return dict(zip(names, found, strict=True))


def _columns(values: Numbers, names: Sequence[str]) -> Numbers:
    return values[:, [NAMES.index(name) for name in names]]


def _to_baselines(
    values: Mapping[str, Numbers], drawn: Bootstrap, names: Sequence[str] = NAMES
) -> dict[str, Differences]:
    return {who: compared(values[MODEL], values[who], drawn, names) for who in BASELINES}


def _answered_before(pair: RecordedPair, before: Before, model: Numbers, drawn: Bootstrap) -> AnsweredBefore:
    if before.reason or not before.sources:
        return AnsweredBefore(before.version, before.sources, before.reason or "no source is left to compare")
    ours = model[before.positions]
    theirs = per_source(pair.withheld.at(before.positions), before.lists)
    return AnsweredBefore(
        before.version,
        before.sources,
        None,
        ranking(ours, drawn),
        ranking(theirs, drawn),
        compared(ours, theirs, drawn),
    )


# Sources and targets apart


def _by_source(pair: RecordedPair, values: Mapping[str, Numbers], drawn: Bootstrap) -> list[SourceBand]:
    bands = []
    for least, most in BANDS:
        inside = (pair.known >= least) & (pair.known <= (most if most is not None else np.inf))
        if inside.any():
            own = {who: found[inside] for who, found in values.items()}
            shown = {who: ranking(found, drawn, BAND_NAMES) for who, found in own.items()}
            bands.append(SourceBand(least, most, int(inside.sum()), shown, _to_baselines(own, drawn, BAND_NAMES)))
    return bands


def _by_target(pair: RecordedPair) -> list[TargetBand]:
    popularity = pair.popularity_of(pair.withheld.targets)
    found = {who: pair.withheld.found(lists[:, :LISTED]) for who, lists in pair.lists.items()}
    bands = []
    for least, most in BANDS:
        inside = (popularity >= least) & (popularity <= (most if most is not None else np.inf))
        if inside.any():
            shares = {who: _kept(hits[inside].mean()) for who, hits in found.items()}
            bands.append(TargetBand(least, most, int(inside.sum()), shares))
    return bands


# Beyond accuracy


def variety(pair: RecordedPair, lists: Lists, described: Described) -> Variety:
    """What some lists are like, all of them together.

    Coverage: the share of all targets that are in any list (LinkPredCoverage). Novelty: the mean self-information of a
    recommended target, `-log2((popularity + 1) / (sources + 1))` (Vargas and Castells 2011). Diversity: one less the
    mean cosine of two targets of a list by the metadata entities that describe them (Ziegler et al. 2005); where each
    target has one, that is LinkPredDiversity. Personalisation: one less the mean share that two lists have in common
    (LinkPredPersonalization). Average popularity: LinkPredAveragePopularity.
    """
    lists = lists[(lists >= 0).any(axis=1)]
    shown, lengths = lists >= 0, (lists >= 0).sum(axis=1)
    if not len(lists):
        return Variety(0.0, None, None, None, None)
    recommended = lists[shown].astype(np.int64)
    popularity = np.zeros(lists.shape)
    popularity[shown] = pair.popularity_of(recommended)
    information = np.where(shown, -np.log2((popularity + 1) / (pair.source_count + 1)), 0)
    _, times = np.unique(recommended, return_counts=True)
    return Variety(
        _kept(len(times) / pair.target_count),
        _kept((information.sum(axis=1) / lengths).mean()),
        _diversity(lists, described),
        _personalisation(len(lists), int(lengths.max()), times),
        _kept((popularity.sum(axis=1) / lengths).mean()),
    )


def _personalisation(sources: int, length: int, times: Rows) -> float | None:
    """Given how often each target was recommended: two lists share it as often as two of them can be chosen."""
    if sources < 2:
        return None
    shared = float((times * (times - 1)).sum()) / (sources * (sources - 1))
    return _kept(1 - shared / length)


def _diversity(lists: Lists, described: Described) -> float | None:
    """None where metadata tells of no target in the lists, or no list has two."""
    from scipy import sparse  # loaded where it is used, as in `model.item_knn`

    counts = np.diff(described.starts)
    places = np.searchsorted(described.rows, np.where(lists >= 0, lists, 0))
    places = np.minimum(places, max(len(described.rows) - 1, 0))
    known = (lists >= 0) & (described.rows[places] == lists if len(described.rows) else False)
    known[known] = counts[places[known]] > 0
    lengths = (lists >= 0).sum(axis=1)
    if not known.any() or not (lengths > 1).any():
        return None
    _, by = np.unique(described.by, return_inverse=True)
    scale = np.repeat(np.maximum(counts, 1) ** -0.5, counts)
    vectors = sparse.csr_matrix((scale, by, described.starts))
    owners = np.repeat(np.arange(len(lists)), known.sum(axis=1))
    chosen = sparse.csr_matrix((np.ones(len(owners)), (owners, places[known])), (len(lists), len(described.rows)))
    sums = chosen @ vectors
    # The square of a sum of vectors of length one is their number, and each cosine of two of them twice.
    alike = np.asarray(sums.multiply(sums).sum(axis=1)).ravel() - known.sum(axis=1)
    several = lengths > 1
    return _kept((1 - alike[several] / (lengths[several] * (lengths[several] - 1))).mean())


def popularity_bias(pair: RecordedPair) -> list[Decile]:
    """Each tenth of the targets by popularity: its share of interactions and of the first ten recommendations.

    Targets of the same popularity that lie in two tenths are in each with a part of their weight.
    """
    order = np.argsort(-pair.spread[:, 0])
    popularity, targets = pair.spread[order].T.astype(np.float64)
    ends = np.cumsum(targets)
    borders = np.linspace(0, ends[-1], DECILES + 1)
    low, high = np.maximum(ends - targets, borders[:-1, None]), np.minimum(ends, borders[1:, None])
    parts = np.maximum(high - low, 0) / targets
    recommendations = {}
    for who, lists in pair.lists.items():
        first = lists[:, :VARIETY_AT]
        found = pair.popularity_of(first[first >= 0].astype(np.int64))
        times = np.bincount(np.searchsorted(-popularity, -found), minlength=len(popularity))
        recommendations[who] = parts @ times / max(times.sum(), 1)
    interactions = parts @ (popularity * targets) / max((popularity * targets).sum(), 1)
    return [
        Decile(_kept(interactions[number]), {who: _kept(shares[number]) for who, shares in recommendations.items()})
        for number in range(DECILES)
    ]


# Calibration


def _predictions(pair: RecordedPair) -> tuple[Numbers, NDArray[np.bool_]]:
    """Probabilities of all the model's recommendations, and which hit."""
    lists = pair.lists[MODEL]
    return pair.chances[lists >= 0] / MILLION, pair.withheld.hits(lists)[lists >= 0]


def calibration_bins(predicted: Numbers, hits: NDArray[np.bool_]) -> list[CalibrationBin]:
    """Recommendations in bins of equal size, by their probability: its mean beside the share that hit."""
    if not len(predicted):
        return []
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // MIN_IN_BIN)))
    return [CalibrationBin(_kept(predicted[part].mean()), _kept(hits[part].mean()), len(part)) for part in parts]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean distance of predicted and observed over the bins."""
    every = sum(one.count for one in bins)
    return _kept(sum(abs(one.predicted - one.observed) * one.count for one in bins) / max(every, 1))


def _kept(figure: float) -> float:
    return round(float(figure), DECIMALS)
