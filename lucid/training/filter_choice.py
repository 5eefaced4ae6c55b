"""The choice of each pair's filter on validation sources: decomposition, spectral filter, cold filter, item-kNN share.

A choice differs from what was there before only where the gain exceeds its noise over the sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut, Holdout
from lucid.evaluation.metrics import CUTOFF, ndcg
from lucid.model.embedding import Embedding
from lucid.model.pair_model import Pair, PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SignMode, SpectralFilter
from lucid.side_by_side import side_by_side
from lucid.training.budget import Budget
from lucid.training.chosen import FollowsTrial, LearnedFilterTrial
from lucid.training.judged import BySign, Judged, JudgedOn
from lucid.training.learned_filter import LearnedFilterConfig, with_learned_gain
from lucid.training.order_choice import OrderJudge
from lucid.typing import Progress

_NEGLIGIBLE = 1e-3
"""Added to NDCG before its logarithm is taken."""


@dataclass(frozen=True)
class FilterConfig:
    """What is tried for a pair's filter; where values were measured, `benchmarks/LOG.md` has the figures."""

    ridges: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Measured: without ones above 0.3, small degrees against the damping leave every ridge too small."""
    degree_exponents: tuple[float, ...] = (0.0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    default_ridge: float = 0.1
    default_exponent: float = 0.5
    """Where a choice begins; an exponent of .3 to .5 and a ridge of .03 to .3 suited the public data sets."""
    rank_shares: tuple[float, ...] = (1.0, 0.5, 0.25)
    cold_rank_shares: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    cold_ridges: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """For targets without interactions; measured: they want fewer eigenvectors and more ridge."""
    item_knn_shares: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    """Shares of item-kNN in a score that are tried where it is affordable; measured pair by pair."""
    min_sources: int = 20
    """A pair with fewer validation sources takes the default filter; set by hand."""
    min_learned_from: int = 30
    """Sources that a gain is learned from at least, and judged by; set by hand."""
    standard_errors: float = 2.0
    """That a gain in NDCG must exceed: what comes later is never quite like what was withheld, as gowalla showed."""
    standard_errors_of_share: float = 1.0
    """The same for the share of item-kNN, which more sources judge; measured on a part withheld beforehand."""
    filter_sources: int = 500
    """Sources of a pair that filters are judged by; measured against three hundred."""
    search_sources: int = 250
    """Sources of a pair that relation weights are judged by; measured against five hundred."""
    said_cutoff: int = 100
    """Of what was liked and what was not: the first ten hold too few dislikes to tell; measured on two data sets."""
    race_step: int = 4
    """Every so manieth of these judges first, and what is clearly worse for them is judged no further; set by hand."""
    search_ridges: tuple[float, ...] = (0.1, 1.0)
    search_exponents: tuple[float, ...] = (0.25, 0.5)
    """What relation weights are judged with, the best for each pair; measured: four filters do as well as more."""
    learned: LearnedFilterConfig = field(default_factory=LearnedFilterConfig)


def untold(_percent: float, _doing: str) -> None:
    """Tells nobody how far the work has come."""


class Assigned(NamedTuple):
    """The filter assigned to a pair, and the decomposition that it is applied to."""

    decomposition: int
    filter: SpectralFilter


class FilterJudge:
    """Measures how well embeddings rank the validation part of a holdout, and assigns filters to pairs by that.

    `earlier` are the filters of the version that answers now; a pair keeps its own unless another is surely better.
    """

    def __init__(
        self,
        holdout: Holdout,
        earlier: Mapping[Pair, Assigned],
        config: FilterConfig | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._earlier, self._config, self._budget = earlier, config or FilterConfig(), budget or Budget()
        self.entity_types, self._history = holdout.train.entity_types, holdout.train.history()
        self._disliked, self._order = holdout.train.disliked(), OrderJudge(holdout)
        self.direct = [held for held in holdout.warm.validation if len(held.sources)]
        self.indirect = [held for held in holdout.indirect.validation if len(held.sources)]
        self._pairs_with_strengths = holdout.train.pairs_with_strengths
        self._disliked_held = {held.pair: held for held in holdout.disliked.validation if len(held.sources)}
        cold = [held for held in holdout.cold.validation if len(held.sources) >= self._config.min_sources]
        self._warm = [self._judged(self.some(held)) for held in self.direct]
        self._cold = [Judged.among_withheld(self.some(held)) for held in cold]
        searched = [self._evenly(held, self._config.search_sources) for held in (*self.direct, *cold)]
        thinned = [self._thinned(held) for held in searched]
        self._searched, self._raced = (self._as_judged(every, len(cold)) for every in (searched, thinned))
        self.learned_filters: list[LearnedFilterTrial] = []
        """Every learned gain that was tried."""
        self.pair_weights = np.sqrt([len(held.sources) for held in searched])
        """How much each pair's figure is worth: the noise of a mean falls with the root of how many it is of."""

    def score(self, embedding: Embedding, *, roughly: bool = False) -> NDArray[np.float64]:
        """Logarithm of NDCG of every direct pair, then of cold targets, each with the best of a few filters.

        `roughly` asks a part of the sources only.
        """
        filters = self._search_filters(embedding, self._config.search_exponents)
        by_sign = BySign(embedding)

        def best(judged: Judged) -> float:
            return max(float(figures.mean()) for figures in judged.on(by_sign).ndcg(filters))

        found = list(side_by_side(best, self._raced if roughly else self._searched))
        return np.log(np.array(found, dtype=np.float64) + _NEGLIGIBLE)

    @cached_property
    def _said(self) -> list[tuple[Judged, Judged | None]]:
        """What was liked, and what was not, of pairs of which interactions say so."""
        not_liked, cutoff = self._disliked_held, self._config.said_cutoff
        return [
            (
                self._judged(self.some(held), cutoff),
                self._judged(self.some(not_liked[held.pair]), cutoff) if held.pair in not_liked else None,
            )
            for held in self.direct
            if held.pair in self._pairs_with_strengths
        ]

    def score_said(self, embedding: Embedding) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """NDCG@100, by source, of what was liked and of what was not, in pairs of which interactions say so.

        Each pair is ranked by the filter that is best for what was liked. Where dislikes push away, degrees say less of
        what is liked, so all exponents are tried.
        """
        filters, by_sign = self._search_filters(embedding, self._config.degree_exponents), BySign(embedding)

        def judge(pair: tuple[Judged, Judged | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            liked, disliked = pair
            found = liked.on(by_sign).ndcg(filters)
            best = int(np.argmax([figures.mean() for figures in found]))
            return found[best], disliked.on(by_sign).ndcg([filters[best]])[0] if disliked else np.empty(0)

        likes, dislikes = zip(*side_by_side(judge, self._said), strict=True) if self._said else ((), ())
        return np.concatenate([np.empty(0), *likes]), np.concatenate([np.empty(0), *dislikes])

    def _search_filters(self, embedding: Embedding, exponents: Sequence[float]) -> list[SpectralFilter]:
        return [
            SpectralFilter(sign_mode, len(embedding.values), ridge, exponent)
            for ridge in self._config.search_ridges
            for sign_mode in _sign_modes(embedding)
            for exponent in exponents
        ]

    def mean(self, embedding: Embedding) -> float:
        """`score` on average over the pairs."""
        return float(self.score(embedding) @ self.pair_weights / max(self.pair_weights.sum(), 1))

    # Warm targets

    def assign(self, embeddings: Sequence[Embedding], progress: Progress = untold) -> dict[Pair, Assigned]:
        """The best decomposition and filter for every direct pair that has enough validation sources."""
        config = self._config
        starts = [
            SpectralFilter(
                _sign_modes(embedding)[0], len(embedding.values), config.default_ridge, config.default_exponent
            )
            for embedding in embeddings
        ]
        return self._assign(embeddings, starts, self._warm, progress)

    def assign_indirect(
        self, embeddings: Sequence[Embedding], default: SpectralFilter, progress: Progress = untold
    ) -> dict[Pair, Assigned]:
        """The best decomposition and filter for every indirect pair that has enough validation sources."""
        starts = [replace(default, rank=len(embedding.values)) for embedding in embeddings]
        return self._assign(embeddings, starts, [self._judged(held) for held in self.indirect], progress)

    def default_filter(self, assigned: Mapping[Pair, Assigned], rank: int) -> SpectralFilter:
        """The middle of the filters that suit the first decomposition, for pairs that cannot be judged.

        It drops negative eigenvalues, as types that no interaction links may be an even number of steps apart.
        """
        filters = [one.filter for one in assigned.values() if one.decomposition == 0 and not one.filter.is_popularity]
        if not filters:
            return SpectralFilter("positive", rank, self._config.default_ridge, self._config.default_exponent)
        ridge = float(np.exp(np.mean(np.log([spectral.ridge for spectral in filters]))))
        return SpectralFilter("positive", rank, ridge, float(np.mean([one.degree_exponent for one in filters])))

    def _assign(
        self,
        embeddings: Sequence[Embedding],
        starts: Sequence[SpectralFilter],
        judged: Sequence[Judged],
        progress: Progress,
    ) -> dict[Pair, Assigned]:
        judged = [one for one in judged if len(one.held.sources) >= self._config.min_sources]
        by_sign = [BySign(embedding) for embedding in embeddings]
        found = side_by_side(lambda one: self._assign_one(by_sign, starts, one), judged)
        assigned = {}
        for number, one in enumerate(judged):
            held = one.held
            progress(100 * number / len(judged), f"choosing the filter of {held.source_type} → {held.target_type}")
            assigned[held.pair], trials = next(found)
            self.learned_filters += trials
        return assigned

    def _assign_one(
        self, by_sign: Sequence[BySign], starts: Sequence[SpectralFilter], judged: Judged
    ) -> tuple[Assigned, list[LearnedFilterTrial]]:
        embeddings = [one.embedding for one in by_sign]
        earlier = self._usable_earlier(judged.held.pair, embeddings)
        if earlier is not None:
            starts = [
                earlier.filter if number == earlier.decomposition else start for number, start in enumerate(starts)
            ]
        if not self._budget.allows("filters"):
            self._budget.give_up("filters of pairs")
            return earlier or Assigned(0, starts[0]), []
        judges = [judged.on(one) for one in by_sign]
        untuned = [on.ndcg([start])[0] for on, start in zip(judges, starts, strict=True)]
        kept = untuned[earlier.decomposition if earlier else 0]
        filters = [
            start if self._surely_best([figures, kept]) else self._best_filter(on, embedding, start)
            for on, embedding, start, figures in zip(judges, embeddings, starts, untuned, strict=True)
        ]
        found = [on.ndcg([spectral])[0] for on, spectral in zip(judges, filters, strict=True)]
        best = int(np.argmax([figures.mean() for figures in found]))
        if earlier is not None and not self._surely_best([found[earlier.decomposition], found[best]]):
            best = earlier.decomposition
        spectral, trials = self._perhaps_learned(by_sign[best], filters[best], judged.held)
        return Assigned(best, spectral), trials

    def _usable_earlier(self, pair: Pair, embeddings: Sequence[Embedding]) -> Assigned | None:
        """What was assigned to a pair before, if these embeddings allow it."""
        earlier = self._earlier.get(pair)
        if earlier is None or earlier.decomposition >= len(embeddings):
            return None
        if earlier.filter.sign_mode not in (*_sign_modes(embeddings[earlier.decomposition]), "none"):
            return None
        return earlier._replace(filter=replace(earlier.filter, learned_gain=()))

    def _best_filter(self, judged: JudgedOn, embedding: Embedding, best: SpectralFilter) -> SpectralFilter:
        """The best filter for one pair, one coordinate after the other."""
        config, rank = self._config, len(embedding.values)
        ranks = sorted({max(1, round(rank * share)) for share in config.rank_shares}, reverse=True)
        best = self._better(judged, best, [replace(best, sign_mode=mode) for mode in _sign_modes(embedding)])
        best = self._better(judged, best, [replace(best, ridge=ridge) for ridge in config.ridges])
        exponents = [replace(best, degree_exponent=exponent) for exponent in config.degree_exponents]
        best = self._better(judged, best, exponents)
        best = self._better(judged, best, [replace(best, rank=rank) for rank in ranks])
        return self._better(judged, best, [SpectralFilter("none", 0, best.ridge, 1.0)])

    def _better(self, judged: JudgedOn, now: SpectralFilter, tries: Sequence[SpectralFilter]) -> SpectralFilter:
        """The best of some filters, or the present one where the difference may be noise."""
        filters = [now, *tries]
        return filters[self._surely_best(judged.ndcg(filters))]

    def _perhaps_learned(
        self, by_sign: BySign, spectral: SpectralFilter, held: HeldOut
    ) -> tuple[SpectralFilter, list[LearnedFilterTrial]]:
        """The filter, with a learned gain where that ranks better for others than it learned from; what was tried."""
        positions, targets = np.arange(len(held.sources)), self.entity_types.rows(held.target_type)
        most = self._config.learned.affordable(targets)
        if spectral.is_popularity or min(len(positions) // 2, most) < self._config.min_learned_from:
            return spectral, []
        if not self._budget.allows("filters"):
            self._budget.give_up("learned gains")
            return spectral, []
        learned = with_learned_gain(
            by_sign.embedding, spectral, held.part(positions[::2][:most]), targets, self._config.learned
        )
        judged = self._judged(held.part(positions[1::2])).on(by_sign).ndcg([spectral, learned])
        kept = bool(self._surely_best(judged))
        plain, with_gain = (round(float(found.mean()), 4) for found in judged)
        return learned if kept else spectral, [LearnedFilterTrial(*held.pair, plain, with_gain, kept)]

    # Cold targets and item-kNN

    def assign_cold(self, embeddings: Sequence[Embedding], assigned: Mapping[Pair, Assigned]) -> dict[Pair, Assigned]:
        """What is assigned to cold targets, where the holdout has some and others than the pair's own filter pay.

        They are ranked among themselves.
        """
        judged = [one for one in self._cold if (own := assigned.get(one.held.pair)) and not own.filter.is_popularity]
        by_sign = [BySign(embedding) for embedding in embeddings]
        found = side_by_side(lambda one: self._assign_cold_one(by_sign, assigned[one.held.pair], one), judged)
        return {one.held.pair: best for one, best in zip(judged, found, strict=True)}

    def _assign_cold_one(self, by_sign: Sequence[BySign], own: Assigned, judged: Judged) -> Assigned:
        if not self._budget.allows("filters"):
            self._budget.give_up("filters of targets without interactions")
            return own
        tries, figures = [own], judged.on(by_sign[own.decomposition]).ndcg([own.filter])
        for number, one in enumerate(by_sign):
            ranks = {max(1, round(len(one.embedding.values) * share)) for share in self._config.cold_rank_shares}
            filters = [
                replace(own.filter, rank=rank, ridge=ridge, learned_gain=())
                for rank in sorted(ranks)
                for ridge in self._config.cold_ridges
            ]
            tries += [Assigned(number, spectral) for spectral in filters]
            figures += judged.on(one).ndcg(filters)
        return tries[self._surely_best(figures)]

    def blended(self, pair: PairModel, embeddings: Sequence[Embedding], held: HeldOut) -> Scorer:
        """What scores a pair, with the share of item-kNN that ranks best where that can be told and afforded."""
        plain = Scorer(embeddings, pair, self.entity_types, self._history, disliked=self._disliked).scaled()
        if len(held.sources) < self._config.min_sources or not plain.may_blend:
            return plain
        if not self._budget.allows("calibrate"):
            self._budget.give_up("shares of item-kNN")
            return plain
        shares = (0.0, *self._config.item_knn_shares)
        mixed = plain.blended(shares[1])
        parts = [
            [
                ndcg(part.masked(table, plain.targets), part, plain.targets)
                for table in mixed.mixtures(part.sources, shares)
            ]
            for part in held.parts(plain.targets)
        ]
        found = [np.concatenate(figures) for figures in zip(*parts, strict=True)]
        best = self._surely_best(found, self._config.standard_errors_of_share)
        return plain.blended(shares[best]) if best else plain

    def ordered(self, scorer: Scorer, held: HeldOut) -> tuple[Scorer, FollowsTrial | None]:
        """What scores a pair, with what follows what where that ranks next interactions better; see `OrderJudge`."""
        if not self._budget.allows("calibrate"):
            self._budget.give_up("what follows what")
            return scorer, None
        return self._order.ordered(scorer, self.some(held))

    # Figures

    def _judged(self, held: HeldOut, cutoff: int = CUTOFF) -> Judged:
        return Judged(held, self.entity_types.rows(held.target_type), cutoff)

    def _surely_best(self, found: Sequence[NDArray[np.float64]], standard_errors: float | None = None) -> int:
        """Position of the NDCG by source that gains most over the first for sure; 0 where every gain may be noise."""
        errors = self._config.standard_errors if standard_errors is None else standard_errors
        gains = [figures - found[0] for figures in found]
        surely = [gain.mean() - errors * gain.std() / len(gain) ** 0.5 for gain in gains]
        return int(np.argmax(surely))

    def _thinned(self, held: HeldOut) -> HeldOut:
        """What a part of the sources had withheld; all, where they are few."""
        step = max(1, min(self._config.race_step, len(held.sources) // self._config.min_sources))
        return held.part(np.arange(0, len(held.sources), step))

    def some(self, held: HeldOut) -> HeldOut:
        """What `filter_sources` of the sources had withheld, evenly spread; all, where they are fewer."""
        return self._evenly(held, self._config.filter_sources)

    def _evenly(self, held: HeldOut, most: int) -> HeldOut:
        count = len(held.sources)
        return held.part(np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)))

    def _as_judged(self, every: Sequence[HeldOut], cold: int) -> list[Judged]:
        """To judge by: the last ones are of cold targets."""
        warm = len(every) - cold
        return [self._judged(held) for held in every[:warm]] + [Judged.among_withheld(held) for held in every[warm:]]


def _sign_modes(embedding: Embedding) -> tuple[SignMode, ...]:
    """Without negative eigenvalues both say the same."""
    return ("signed", "positive") if (embedding.values < 0).any() else ("positive",)
