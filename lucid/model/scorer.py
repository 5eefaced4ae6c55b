"""Scores from embeddings: the one place that says how much a target suits a source.

Used ahead of time by `lucid.versions.precompute` and at once by `lucid.serving.ranker`, so both give the same
answer; which targets are the best, and which are left out, is decided in `lucid.model.top_n`. Needs no torch, as the
process that answers requests never loads it.

The score of a source s and a target t is `sum_k f(l_k) v_sk v_tk * (d_t + a)^g`, with l and v the eigenpairs of the
normalised typed graph, d the weighted degree and f the spectral filter of the pair. Where that ranks better, item-kNN
has a share in it, and what follows what is added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.model.embedding import Embedding, as_index
from lucid.model.follows import Follows
from lucid.model.item_knn import ItemKNN
from lucid.model.masking import mask
from lucid.model.pair_model import Blend, FollowsModel, PairModel
from lucid.model.spectral_filter import SpectralFilter
from lucid.schema.fields import Hidden
from lucid.typing import Floats, Rows

_POPULARITY = 1e-4
"""Weight of popularity next to the scores: decides only where the graph says nothing."""
_SCALE_SOURCES = 200
"""Sources that the scale of a pair's raw scores is taken from, evenly spread."""
_ROUNDING = 1e-5
"""How far single precision may be off, relative to the lengths of the two vectors; some thirty times what was seen."""


@dataclass(frozen=True)
class Profile:
    """A source as a model sees it: its vector in each decomposition, (q) each, and the rows that it interacted with.

    These are sorted. `row` is its own; None for an entity that the model does not hold. `left_out` are rows, sorted,
    that it interacted with too, but that the model did not learn from. Of all these it disliked the rows `disliked`.
    `recent` are rows that it came to last, oldest first, as far as an order is known and counts; `in_session` tells
    whether it came to them just now.
    """

    vectors: tuple[Floats, ...]
    interacted: Rows
    row: int | None
    left_out: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    disliked: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    recent: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    in_session: bool = False

    @property
    def liked(self) -> Rows:
        """What it interacted with and did not dislike, sorted."""
        if not len(self.disliked):
            return self.interacted
        return np.setdiff1d(self.interacted, self.disliked, assume_unique=True)

    def hidden(self, exclude: Hidden | None) -> Rows | None:
        """Rows, sorted, that are not recommended to the source, whose own interactions may be left out; or None."""
        if exclude is None:
            return None
        if exclude == "disliked":
            return self.disliked
        if exclude == "learned" or not len(self.left_out):
            return self.interacted
        return np.union1d(self.interacted, self.left_out)


class Scorer:
    """Scores the targets of one pair of types; item-kNN counts what `history` holds and nobody `disliked`, or all
    of it where strengths do not count.

    `left_out` are interactions that the model did not learn from, which the profiles of sources name. `follows` is
    there for a pair whose model counts it.
    """

    def __init__(
        self,
        embeddings: Sequence[Embedding],
        pair: PairModel,
        entity_types: EntityTypes,
        history: InteractionHistory,
        left_out: InteractionHistory | None = None,
        disliked: InteractionHistory | None = None,
        follows: Follows | None = None,
        *,
        strengths_count: bool = True,
    ) -> None:
        self.pair, self.entity_types = pair, entity_types
        self.sources, self.targets = entity_types.rows(pair.source_type), entity_types.rows(pair.target_type)
        self._embeddings, self._history = embeddings, history
        self._strengths_count = strengths_count
        nothing = InteractionHistory.none(entity_types.size)
        self._left_out, self._disliked = left_out or nothing, disliked or nothing
        self._follows = follows if pair.follows else None
        self._warm, self._cold = embeddings[pair.decomposition], embeddings[pair.cold_decomposition]
        # Made when it is first asked for, and shared with what `blended` and `scaled` return.
        self._item_knn = cache(
            lambda: ItemKNN(history.minus(self._disliked) if strengths_count else history, entity_types, pair.pair)
        )

    @property
    def erased(self) -> Rows:
        """Rows of entities that are never recommended."""
        return self._warm.erased

    @property
    def may_blend(self) -> bool:
        """Whether item-kNN is affordable, and has anything to count."""
        return self._item_knn().is_affordable

    # Raw scores

    def spectral(self, sources: Rows) -> Floats:
        """What the embeddings say, (sources, targets) float32."""
        return self._spectral(self._warm.vectors[sources], self._cold.vectors[sources])

    def item_knn(self, sources: Rows) -> NDArray[np.float64]:
        """What item-kNN says, (sources, targets) float64."""
        return self._item_knn().scores(sources - self.sources.start)

    def raw(self, sources: Rows) -> Floats:
        """Scores before calibration, (sources, targets) float32."""
        unordered = self.unordered(sources)
        if self._follows is None or (model := self.pair.follows) is None:
            return unordered
        following = self._follows.scores_of([self._recent(row) for row in sources.tolist()])
        return np.asarray(unordered + model.factor(in_session=False) * following, np.float32)

    def unordered(self, sources: Rows) -> Floats:
        """Scores before calibration without what follows what, (sources, targets) float32."""
        blend = self.pair.blend
        if not blend.share:
            return self.spectral(sources)
        shared = blend.share * blend.scale * self.item_knn(sources)
        return np.asarray(shared + (1 - blend.share) * self.spectral(sources), np.float32)

    def mixtures(self, sources: Rows, shares: Sequence[float]) -> Iterator[Floats]:
        """Raw scores with item-kNN in other shares than the pair's own, at its scale; `raw` gives one of them."""
        spectral, shared = self.spectral(sources), self.item_knn(sources) * self.pair.blend.scale
        return (np.asarray(share * shared + (1 - share) * spectral, np.float32) for share in shares)

    def masked(self, sources: Rows) -> Floats:
        """Raw scores without what is never recommended."""
        return mask(self.raw(sources), sources, self.targets, self._history)

    def blended(self, share: float) -> "Scorer":
        """A scorer of which item-kNN has a share, its scales set anew."""
        return self._with(replace(self.pair, blend=Blend(share))).scaled()

    def following(self, follows: Follows, model: FollowsModel) -> "Scorer":
        """A scorer that counts what follows what, its scales set anew."""
        other = self._with(replace(self.pair, follows=model))
        other._follows = follows
        return other.scaled()

    def scaled(self) -> "Scorer":
        """A scorer whose scales fit these embeddings: the best raw score that sources typically have."""
        sample = np.linspace(self.sources.start, self.sources.stop - 1, _SCALE_SOURCES)
        sources, blend = np.unique(sample.astype(np.int64)), self.pair.blend
        if blend.share:
            spectral = _typical_best(mask(self.spectral(sources), sources, self.targets, self._history))
            shared = _typical_best(mask(self.item_knn(sources), sources, self.targets, self._history))
            blend = replace(blend, scale=spectral / shared)
        unscaled = self._with(replace(self.pair, blend=blend))
        if self._follows and (model := self.pair.follows):
            unordered = _typical_best(mask(unscaled.unordered(sources), sources, self.targets, self._history))
            following = self._follows.scores_of([self._recent(row) for row in sources.tolist()])
            best = _typical_best(mask(following, sources, self.targets, self._history))
            model = replace(model, scale=unordered / best)
            unscaled = unscaled._with(replace(unscaled.pair, follows=model))
        scale = _typical_best(unscaled.masked(sources))
        return unscaled._with(replace(unscaled.pair, calibration=replace(self.pair.calibration, scale=scale)))

    # Profiles

    def profiles(self, sources: Rows) -> list[Profile]:
        """Sources of the model as it sees them."""
        return [
            Profile(
                tuple(embedding.vectors[row] for embedding in self._embeddings),
                self._history.of(row),
                row,
                self._left_out.of(row),
                self._disliked.of(row),
                self._recent(row),
            )
            for row in sources.tolist()
        ]

    def score(self, profiles: Sequence[Profile]) -> "BlockScores":
        """Scores of any sources, however they came to their profiles."""
        return BlockScores(self, profiles)

    def raw_of(self, profiles: Sequence[Profile]) -> NDArray[np.float64]:
        """Scores before calibration of any sources, (sources, targets)."""
        return self._fast(profiles)[0].astype(np.float64)

    # Contributions

    def contributions(
        self, edges: Neighbours, interactions: NDArray[np.bool_], targets: Rows, profile: Profile | None = None
    ) -> NDArray[np.float64]:
        """How much of the raw score of some targets (rows) each edge of a source contributes, (edges, targets).

        `interactions` tells which edges are that, and no dislikes; with a `profile`, what its source came to last
        counts too. The sum over all edges is the score, but for what the decomposition leaves out.
        """
        pair, cold = self.pair, self._is_cold[targets - self.targets.start]
        found = _contributions(self._warm, edges, pair.decomposition, pair.filter, targets)
        if cold.any():
            found[:, cold] = _contributions(self._cold, edges, pair.cold_decomposition, pair.cold_filter, targets[cold])
        blend = pair.blend
        if blend.share:
            found *= 1 - blend.share
            own = interactions & (edges.rows >= self.targets.start) & (edges.rows < self.targets.stop)
            for edge in np.flatnonzero(own)[np.unique(edges.rows[own], return_index=True)[1]]:
                shared = self._item_knn().scores_of([edges.rows[[edge]]])[0]
                found[edge] += blend.share * blend.scale * shared[targets - self.targets.start]
        if self._follows and profile is not None and (model := self.pair.follows):
            for row, added in self._follows.contributions(profile.recent, targets).items():
                if len(edge := np.flatnonzero(interactions & (edges.rows == row))[:1]):
                    found[edge] += model.factor(profile.in_session) * added
        return found

    # Warm and cold targets

    @cached_property
    def _is_cold(self) -> NDArray[np.bool_]:
        """Which targets the filter for cold ones scores."""
        pair, warm = self.pair, self._warm.warm.get(self.pair.source_type)
        if warm is None or (pair.cold_decomposition, pair.cold_filter) == (pair.decomposition, pair.filter):
            return np.zeros(len(self.targets), dtype=bool)
        return ~warm[self.targets.start : self.targets.stop]

    @cached_property
    def _popularity(self) -> Floats:
        """A small bonus for targets with many edges, which orders them where a source has no edges at all."""
        degrees = np.log1p(self._warm.degrees[self.targets.start : self.targets.stop])
        bonus = _POPULARITY * self.pair.calibration.scale * degrees / max(float(degrees.max(initial=0)), 1e-9)
        return np.asarray(bonus, np.float32)

    @cached_property
    def _target_lengths(self) -> tuple[Floats, Floats]:
        """Lengths of the targets' vectors times their factors, warm and cold; zero where the other filter scores."""
        parts = (self._warm, self.pair.filter, ~self._is_cold), (self._cold, self.pair.cold_filter, self._is_cold)
        warm, cold = (
            np.linalg.norm(
                embedding.vectors[as_index(self.targets), : min(spectral.rank, len(embedding.values))], axis=1
            )
            * embedding.target_factor(spectral, self.targets)
            * scored
            for embedding, spectral, scored in parts
        )
        return warm, cold

    def _rounding(self, warm: Floats, cold: Floats) -> Floats:
        """How far the fast scores may be off, (sources, targets), given the lengths of the sources' vectors."""
        warm_targets, cold_targets = self._target_lengths
        error = np.outer(warm, warm_targets)
        if self._is_cold.any():
            error += np.outer(cold, cold_targets)
        error *= _ROUNDING
        return error

    def _spectral(self, warm: Floats, cold: Floats) -> Floats:
        scores = self._warm.raw_scores_of(self.pair.filter, warm, self.targets)
        if self._is_cold.any():
            targets = np.flatnonzero(self._is_cold) + self.targets.start
            scores[:, self._is_cold] = self._cold.raw_scores_of(self.pair.cold_filter, cold, targets)
        return scores

    def _fast(self, profiles: Sequence[Profile]) -> tuple[Floats, NDArray[np.float64] | None]:
        """Raw scores with the bonus for popularity, (sources, targets), and in them the part that no vector tells."""
        pair, blend = self.pair, self.pair.blend
        warm, cold = (
            np.stack([profile.vectors[number] for profile in profiles])
            for number in (pair.decomposition, pair.cold_decomposition)
        )
        raw = self._spectral(warm, cold)
        shared = None
        if blend.share:
            counted = [profile.liked if self._strengths_count else profile.interacted for profile in profiles]
            shared = blend.share * blend.scale * self._item_knn().scores_of(counted)
            raw *= np.float32(1 - blend.share)
            raw += shared.astype(np.float32)
        raw += self._popularity
        if self._follows and (model := self.pair.follows):
            following = self._follows.scores_of([profile.recent for profile in profiles])
            following *= np.array([[model.factor(profile.in_session)] for profile in profiles])
            raw += following.astype(np.float32)
            shared = following if shared is None else shared + following
        return raw, shared

    def _recent(self, row: int) -> Rows:
        """What a source came to last, oldest first; nothing where that does not count."""
        return self._follows.recent(row)[0] if self._follows else np.empty(0, np.int64)

    def _with(self, pair: PairModel) -> "Scorer":
        known = self._history, self._left_out, self._disliked
        count = self._strengths_count
        other = Scorer(self._embeddings, pair, self.entity_types, *known, self._follows, strengths_count=count)
        other._item_knn = self._item_knn
        return other


class BlockScores:
    """Scores of some sources for all targets: fast ones with how far they may be off, and exact ones of a few targets.

    Exact scores are summed in double precision, each by itself, so that a source gets the same digits whatever it is
    scored with.
    """

    def __init__(self, scorer: Scorer, profiles: Sequence[Profile]) -> None:
        pair = scorer.pair
        self._scorer = scorer
        self.raw, self._shared = scorer._fast(profiles)
        """(sources, targets) float32."""
        warm, cold = (
            [profile.vectors[number] for profile in profiles]
            for number in (pair.decomposition, pair.cold_decomposition)
        )
        self._warm = _ExactSpectral(scorer._warm, pair.filter, warm, scorer.targets)
        self._cold = _ExactSpectral(scorer._cold, pair.cold_filter, cold, scorer.targets)

    def error(self) -> Floats:
        """How far the fast scores may be off, (sources, targets)."""
        share = self._scorer.pair.blend.share
        return (1 - share) * self._scorer._rounding(self._warm.lengths, self._cold.lengths)

    def exact(self, position: int, targets: Rows) -> NDArray[np.float64]:
        """Raw scores of some targets, counted from the first of their type, for the source at a position."""
        scorer, share = self._scorer, self._scorer.pair.blend.share
        scores = self._warm.of(position, targets)
        if (is_cold := scorer._is_cold[targets]).any():
            scores[is_cold] = self._cold.of(position, targets[is_cold])
        scores = (1 - share) * scores + scorer._popularity[targets]
        if self._shared is not None:
            scores += self._shared[position, targets]
        return scores


class _ExactSpectral:
    """The spectral scores of some sources in double precision, each target summed by itself."""

    def __init__(self, embedding: Embedding, spectral: SpectralFilter, left: Sequence[Floats], targets: range) -> None:
        self._used = min(spectral.rank, len(embedding.values))
        response = spectral.response(embedding.values)[: self._used]
        self._left = np.stack(left)[:, : self._used].astype(np.float64) * response
        self.lengths: Floats = np.linalg.norm(self._left, axis=1).astype(np.float32)
        self._vectors, self._start = embedding.vectors, targets.start
        self._factor = embedding.target_factor(spectral, targets)

    def of(self, position: int, targets: Rows) -> NDArray[np.float64]:
        if not self._used:
            return self._factor[targets].astype(np.float64)
        right = self._vectors[targets + self._start, : self._used].astype(np.float64)
        # One inner product after the other, as in a matrix product their digits would depend on what else is asked.
        return np.asarray(np.vecdot(right, self._left[position]) * self._factor[targets])


def _contributions(
    embedding: Embedding, edges: Neighbours, decomposition: int, spectral: SpectralFilter, targets: Rows
) -> NDArray[np.float64]:
    used = min(spectral.rank, len(embedding.values))
    values = embedding.values[:used].astype(np.float64)
    gains = np.divide(spectral.response(embedding.values)[:used], values, out=np.zeros(used), where=values != 0)
    weights = edges.weights[decomposition].astype(np.float64)
    per_edge = weights / np.sqrt(embedding.degrees[edges.rows] + embedding.damping)
    per_edge /= np.sqrt(np.abs(weights).sum() + embedding.damping + 1e-12)
    left = embedding.vectors[edges.rows, :used] * gains * per_edge[:, None]
    return np.asarray(left @ embedding.vectors[targets, :used].T * embedding.target_factor(spectral, targets))


def _typical_best(scores: NDArray[Any]) -> float:
    """The median over sources of the best score, where there is one."""
    best = scores.max(axis=1)
    known = best[best > 0]
    return float(np.median(known)) if len(known) else 1.0
