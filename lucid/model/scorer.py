"""Scores from vectors: the one place that says how much a target suits a source.

Used ahead of time by `lucid.versions.precompute` and at once by `lucid.serving.registry`, so both give the same answer.
Needs no torch, as the process that answers requests never loads it.

The score of a source s and a target t is `sum_k f(l_k) v_sk v_tk * (d_t + a)^g`, with l and v the eigenpairs of the
normalised typed graph, d the weighted degree and f the response of the pair; see `lucid.training.tuning`. Where that
ranks better, co-occurrence has a share in it; see `lucid.model.item_knn`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory, within
from lucid.model.item_knn import AFFORDABLE, CoOccurrence
from lucid.typing import AnyFloats, Floats, Rows

Parity = Literal["signed", "positive", "none"]

BLOCK_SOURCES = 256
"""Sources scored at a time; bounds memory to this many rows of scores."""
_POPULARITY = 1e-4
"""Weight of popularity next to the scores: decides only where the graph says nothing."""
_SCALE_SOURCES = 200
_ROUNDING = 1e-5
"""How far single precision may be off, relative to the lengths of the two vectors; some thirty times what was seen."""
_STEP = 1e-6
"""Scores differ by at least this or are equal."""


@dataclass(frozen=True)
class Response:
    """How strongly each eigenpair counts: `f(l) = |l| l^2 / (l^2 + ridge)` for the `rank` largest |l|, zero beyond.

    That is the ridge regression of the graph on a thinned copy of itself, within the eigenvectors and without the terms
    that mix them, which changed no figure. `parity` "signed" gives f the sign of l (walks of odd length: a type and
    another that it is linked to), "positive" drops the negative ones (walks of every length). `exponent` is g, the
    weight of the target's degree, which decides alone where `parity` is "none": the popularity baseline.
    """

    parity: Parity
    rank: int
    ridge: float
    exponent: float
    gains: tuple[tuple[float, float], ...] = ()
    """Learned factor of f: its logarithm at some |l|, with straight lines between."""

    def weights(self, values: Floats) -> Floats:
        """f for every eigenvalue, (q) float32."""
        square = values.astype(np.float64) ** 2
        sign = np.sign(values) if self.parity == "signed" else values > 0
        strength: Floats = np.asarray(np.abs(values) * square / (square + self.ridge) * sign, dtype=np.float32)
        if self.gains:
            strength *= np.exp(np.interp(np.abs(values), *np.transpose(self.gains))).astype(np.float32)
        strength[self.rank :] = 0
        return strength

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Response":
        return cls(**{**raw, "gains": tuple((place, gain) for place, gain in raw["gains"])})


@dataclass(frozen=True)
class Calibration:
    """Score 0-100 from a raw score x: `100 / (1 + exp(-(intercept + slope * log1p(x / scale))))`.

    The slope is positive, so the order stays. `scale` is the raw score that is usual for a first recommendation.
    """

    scale: float
    slope: float
    intercept: float

    def log1p(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the logistic function is applied to, before slope and intercept."""
        return _compress(raw / self.scale)

    def score(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores 0-100 with six decimals."""
        log_odds = np.clip(self.intercept + self.slope * self.log1p(raw), -36, 36)
        return np.round(100 / (1 + np.exp(-log_odds)), 6)

    def least_raw(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores below which no score is as high as this one; minus infinity where even the lowest may be."""
        chance = np.clip((score - _STEP) / 100, 0, 1 - 1e-12)
        with np.errstate(divide="ignore"):
            log_odds = np.log(chance) - np.log1p(-chance)
        log_odds[chance <= 0] = -np.inf
        x = (log_odds - self.intercept) / self.slope
        with np.errstate(over="ignore"):
            return np.asarray(self.scale * np.copysign(np.expm1(np.abs(x)), x))


@dataclass(frozen=True)
class Blend:
    """A raw score is `(1 - share) * spectral + share * scale * co-occurrence`."""

    share: float = 0.0
    scale: float = 1.0
    """Brings the co-occurrence that is usual for a first recommendation to the usual spectral score."""


@dataclass(frozen=True)
class Pair:
    """Everything that turns vectors into scores for one pair of types."""

    source_type: str
    target_type: str
    view: int
    """Which of the model's decompositions the pair is read in."""
    response: Response
    cold_view: int
    cold: Response
    """For targets that no interaction links to the source type: the graph says less of them, so it is read smoother."""
    blend: Blend
    calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Pair":
        return cls(
            raw["source_type"],
            raw["target_type"],
            raw["view"],
            Response.from_json(raw["response"]),
            raw["cold_view"],
            Response.from_json(raw["cold"]),
            Blend(**raw["blend"]),
            Calibration(**raw["calibration"]),
        )


@dataclass(frozen=True)
class Vectors:
    """Eigenvalues (q), vectors (n, q), weighted degrees (n) of all entities, and the damping a of the degrees.

    `linked` says for each type that has interactions which entities (n, bool) interacted with one of it; `erased` rows
    are empty and never recommended.
    """

    values: Floats
    vectors: Floats
    degrees: Floats
    damping: float
    linked: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    erased: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def without(self, rows: Rows) -> "Vectors":
        """A copy in which further rows are erased."""
        vectors, degrees = self.vectors.copy(), self.degrees.copy()
        vectors[rows], degrees[rows] = 0, 0
        return replace(self, vectors=vectors, degrees=degrees, erased=np.union1d(self.erased, rows))

    def leading(self, rank: int) -> "Vectors":
        """The same with fewer eigenpairs."""
        return replace(self, values=self.values[:rank], vectors=self.vectors[:, :rank])

    def target_factor(self, response: Response, targets: range | Rows) -> Floats:
        """`(d_t + a)^g` of some rows."""
        degrees = self.degrees[_index(targets)]
        return np.asarray((degrees + max(self.damping, 1e-6)) ** response.exponent, dtype=np.float32)

    def raw_scores(self, response: Response, sources: Rows, targets: range | Rows) -> Floats:
        """Scores before calibration under one response, (sources, targets) float32."""
        return self.raw_scores_of(response, self.vectors[sources], targets)

    def raw_scores_of(self, response: Response, left: Floats, targets: range | Rows) -> Floats:
        """The same for sources that are given by their vectors, (sources, q)."""
        factor = self.target_factor(response, targets)
        if response.parity == "none":
            return np.tile(factor, (len(left), 1))
        used = min(response.rank, len(self.values))
        left = left[:, :used] * response.weights(self.values)[:used]
        right = self.vectors[_index(targets), :used]
        scores: Floats = np.asarray(left @ right.T, dtype=np.float32)
        scores *= factor
        return scores


@dataclass(frozen=True)
class Profile:
    """A source as a model sees it: its vector in each view, (q) each, and the rows that it interacted with, sorted.

    `row` is its own; None for an entity that the model does not hold.
    """

    vectors: tuple[Floats, ...]
    interacted: Rows
    row: int | None


@dataclass(frozen=True)
class Best:
    """The best targets of several sources, flat: positions of the sources, rows of targets, scores, best first."""

    lines: Rows
    target_rows: Rows
    scores: NDArray[np.float64]

    @classmethod
    def join(cls, parts: Sequence["Best"]) -> "Best":
        """Several as one."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.lines for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.target_rows for part in parts)]),
            np.concatenate([np.empty(0), *(part.scores for part in parts)]),
        )


def _index(targets: range | Rows) -> slice | Rows:
    return slice(targets.start, targets.stop) if isinstance(targets, range) else targets


def _compress(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`log1p` for both signs: strictly increasing over all numbers."""
    return np.copysign(np.log1p(np.abs(values)), values)


def mask(scores: AnyFloats, sources: Rows, targets: range, interacted: InteractionHistory | None) -> AnyFloats:
    """Take out, in place, what the sources interacted with and the sources themselves."""
    for line, row in enumerate(sources.tolist()):
        if interacted is not None:
            scores[line, interacted.of(row, targets)] = -np.inf
        if row in targets:
            scores[line, row - targets.start] = -np.inf
    return scores


class _Walks:
    """The spectral scores of some sources in double precision, each target summed by itself."""

    def __init__(self, vectors: Vectors, response: Response, left: Sequence[Floats], targets: range) -> None:
        self._used = min(response.rank, len(vectors.values))
        self._left = np.stack(left)[:, : self._used].astype(np.float64) * response.weights(vectors.values)[: self._used]
        self.lengths: Floats = np.linalg.norm(self._left, axis=1).astype(np.float32)
        self._vectors, self._start = vectors.vectors, targets.start
        self._factor = vectors.target_factor(response, targets)

    def of(self, line: int, targets: Rows) -> NDArray[np.float64]:
        """Scores of some targets, counted from the first of their type, for one of the sources."""
        if not self._used:
            return self._factor[targets].astype(np.float64)
        right = self._vectors[targets + self._start, : self._used]
        return np.asarray((right * self._left[line]).sum(axis=1) * self._factor[targets])


class Scorer:
    """Scores the targets of one pair of types; `interacted` is what co-occurrence counts and what may be left out."""

    def __init__(
        self, views: Sequence[Vectors], pair: Pair, entity_types: EntityTypes, interacted: InteractionHistory
    ) -> None:
        self.pair, self.entity_types = pair, entity_types
        self.sources, self.targets = entity_types.rows(pair.source_type), entity_types.rows(pair.target_type)
        self._views, self._interacted = views, interacted
        self._vectors, self._cold_vectors = views[pair.view], views[pair.cold_view]
        # Made when it is first asked for, and shared with what `blended` and `scaled` return.
        self._co_occurrence = cache(
            lambda: CoOccurrence(interacted, entity_types, (pair.source_type, pair.target_type))
        )

    @cached_property
    def _cold(self) -> NDArray[np.bool_]:
        """Which targets are read with the response for cold ones."""
        linked = self._vectors.linked.get(self.pair.source_type)
        same = self.pair.cold_view == self.pair.view and self.pair.cold == self.pair.response
        if linked is None or same:
            return np.zeros(len(self.targets), dtype=bool)
        return ~linked[self.targets.start : self.targets.stop]

    @cached_property
    def _popularity(self) -> Floats:
        """A small bonus for targets with many edges, which orders them where a source has no edges at all."""
        degrees = np.log1p(self._vectors.degrees[self.targets.start : self.targets.stop])
        bonus = _POPULARITY * self.pair.calibration.scale * degrees / max(float(degrees.max(initial=0)), 1e-9)
        return np.asarray(bonus, np.float32)

    @cached_property
    def _target_lengths(self) -> tuple[Floats, Floats]:
        """Lengths of the targets' vectors times their factors, warm and cold; zero where the other is read."""
        read = (self._vectors, self.pair.response, ~self._cold), (self._cold_vectors, self.pair.cold, self._cold)
        warm, cold = (
            np.linalg.norm(vectors.vectors[_index(self.targets), : min(response.rank, len(vectors.values))], axis=1)
            * vectors.target_factor(response, self.targets)
            * chosen
            for vectors, response, chosen in read
        )
        return warm, cold

    def _rounding(self, warm: Floats, cold: Floats) -> Floats:
        """How far the fast scores may be off, (sources, targets), given the lengths of the sources' vectors."""
        warm_targets, cold_targets = self._target_lengths
        error = np.outer(warm, warm_targets)
        if self._cold.any():
            error += np.outer(cold, cold_targets)
        error *= _ROUNDING
        return error

    @property
    def may_blend(self) -> bool:
        """Whether co-occurrence is affordable, and there is any."""
        return 0 < self._co_occurrence().walks <= AFFORDABLE

    def spectral(self, sources: Rows) -> Floats:
        """What the vectors say, (sources, targets) float32."""
        return self._spectral(self._vectors.vectors[sources], self._cold_vectors.vectors[sources])

    def _spectral(self, warm: Floats, cold: Floats) -> Floats:
        scores = self._vectors.raw_scores_of(self.pair.response, warm, self.targets)
        if self._cold.any():
            targets = np.flatnonzero(self._cold) + self.targets.start
            scores[:, self._cold] = self._cold_vectors.raw_scores_of(self.pair.cold, cold, targets)
        return scores

    def co_occurrence(self, sources: Rows) -> NDArray[np.float64]:
        """What the co-occurrence says, (sources, targets) float64."""
        return self._co_occurrence().scores(sources - self.sources.start)

    def raw(self, sources: Rows) -> Floats:
        """Scores before calibration, (sources, targets) float32."""
        blend = self.pair.blend
        if not blend.share:
            return self.spectral(sources)
        shared = blend.share * blend.scale * self.co_occurrence(sources)
        return np.asarray(shared + (1 - blend.share) * self.spectral(sources), np.float32)

    def masked(self, sources: Rows) -> Floats:
        """Raw scores without what is never recommended."""
        return mask(self.raw(sources), sources, self.targets, self._interacted)

    def blended(self, share: float) -> "Scorer":
        """The same with a share of co-occurrence."""
        return self._with(replace(self.pair, blend=Blend(share))).scaled()

    def scaled(self) -> "Scorer":
        """The same with the scales of these vectors: the best raw score of a usual source."""
        sample = np.linspace(self.sources.start, self.sources.stop - 1, _SCALE_SOURCES)
        sources, blend = np.unique(sample.astype(np.int64)), self.pair.blend
        if blend.share:
            spectral = _usual_best(mask(self.spectral(sources), sources, self.targets, self._interacted))
            shared = _usual_best(mask(self.co_occurrence(sources), sources, self.targets, self._interacted))
            blend = replace(blend, scale=spectral / shared)
        unscaled = self._with(replace(self.pair, blend=blend))
        scale = _usual_best(unscaled.masked(sources))
        return unscaled._with(replace(unscaled.pair, calibration=replace(self.pair.calibration, scale=scale)))

    def profiles(self, sources: Rows) -> list[Profile]:
        """Sources of the model as it sees them."""
        return [
            Profile(tuple(view.vectors[row] for view in self._views), self._interacted.all_of(row), row)
            for row in sources.tolist()
        ]

    def best(self, sources: Rows, count: int, *, exclude_interacted: bool = True) -> Best:
        """The `count` best targets for each source, score falling, ties in the order of rows, which is that of ids.

        No entity is recommended to itself. The result for a source does not depend on which others are asked with it.
        """
        return self.best_for(self.profiles(sources), count, exclude_interacted=exclude_interacted)

    def best_for(
        self,
        profiles: Sequence[Profile],
        count: int,
        *,
        exclude_interacted: bool = True,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Best:
        """The same for any sources, among all targets or among those allowed, (targets) bool."""
        parts = []
        for start in range(0, len(profiles), BLOCK_SOURCES):
            part = self._best_of_block(profiles[start : start + BLOCK_SOURCES], count, exclude_interacted, allowed)
            parts.append(replace(part, lines=part.lines + start))
        return Best.join(parts)

    def best_of_mix(
        self,
        profiles: Sequence[Profile],
        weights: Sequence[float],
        count: int,
        *,
        exclude_interacted: bool = True,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Best:
        """The best targets for several sources as one: their raw scores are added with weights, not all of them zero.

        Negative weights push away. What the sources with positive weights interacted with is left out, and all sources.
        """
        shares = np.array(weights) / np.abs(weights).sum()
        raw = shares @ self.raw_of(profiles)
        self._leave_out(raw, allowed)
        for profile, weight in zip(profiles, weights, strict=True):
            self._leave_out_own(raw, profile, interacted=exclude_interacted and weight > 0)
        candidates = np.flatnonzero(raw > -np.inf)
        scores = self.pair.calibration.score(raw[candidates])
        order = np.lexsort((candidates, -scores))[:count]
        return Best(np.zeros(len(order), np.int64), candidates[order] + self.targets.start, scores[order])

    def raw_of(self, profiles: Sequence[Profile]) -> NDArray[np.float64]:
        """Scores before calibration of sources as the model sees them, (sources, targets)."""
        return self._fast_raw(profiles)[0].astype(np.float64)

    def carried(self, edges: Neighbours, interactions: NDArray[np.bool_], targets: Rows) -> NDArray[np.float64]:
        """How much of the raw score of some targets (rows) goes through each edge of a source, (edges, targets).

        `interactions` tells which edges are. The sum over all edges is the score, but for what the decomposition
        leaves out.
        """
        cold = self._cold[targets - self.targets.start]
        found = self._carried(self._vectors, self.pair.view, self.pair.response, edges, targets)
        if cold.any():
            read = self._cold_vectors, self.pair.cold_view, self.pair.cold
            found[:, cold] = self._carried(*read, edges, targets[cold])
        blend = self.pair.blend
        if blend.share:
            found *= 1 - blend.share
            chosen = interactions & (edges.rows >= self.targets.start) & (edges.rows < self.targets.stop)
            for line in np.flatnonzero(chosen)[np.unique(edges.rows[chosen], return_index=True)[1]]:
                shared = self._co_occurrence().scores_of([edges.rows[[line]]])[0]
                found[line] += blend.share * blend.scale * shared[targets - self.targets.start]
        return found

    def _carried(
        self, vectors: Vectors, view: int, response: Response, edges: Neighbours, targets: Rows
    ) -> NDArray[np.float64]:
        used = min(response.rank, len(vectors.values))
        values = vectors.values[:used].astype(np.float64)
        gains = np.divide(response.weights(vectors.values)[:used], values, out=np.zeros(used), where=values != 0)
        strengths = edges.strengths[view].astype(np.float64)
        per_edge = strengths / np.sqrt(vectors.degrees[edges.rows] + vectors.damping)
        per_edge /= np.sqrt(strengths.sum() + vectors.damping + 1e-12)
        left = vectors.vectors[edges.rows, :used] * gains * per_edge[:, None]
        return np.asarray(left @ vectors.vectors[targets, :used].T * vectors.target_factor(response, targets))

    def _fast_raw(self, profiles: Sequence[Profile]) -> tuple[Floats, NDArray[np.float64] | None]:
        """Raw scores with the bonus for popularity, (sources, targets), and the part of co-occurrence in them."""
        pair, blend = self.pair, self.pair.blend
        warm, cold = (np.stack([profile.vectors[view] for profile in profiles]) for view in (pair.view, pair.cold_view))
        raw = self._spectral(warm, cold)
        shared = None
        if blend.share:
            interacted = [profile.interacted for profile in profiles]
            shared = blend.share * blend.scale * self._co_occurrence().scores_of(interacted)
            raw *= np.float32(1 - blend.share)
            raw += shared.astype(np.float32)
        raw += self._popularity
        return raw, shared

    def _leave_out(self, raw: AnyFloats, allowed: NDArray[np.bool_] | None) -> None:
        """Take out of scores (..., targets), in place, what is recommended to nobody."""
        raw[..., within(self._vectors.erased, self.targets)] = -np.inf
        if allowed is not None:
            raw[..., ~allowed] = -np.inf

    def _leave_out_own(self, raw: AnyFloats, profile: Profile, *, interacted: bool) -> None:
        """Take out of scores (targets), in place, a source itself and, if so asked, what it interacted with."""
        if interacted:
            raw[within(profile.interacted, self.targets)] = -np.inf
        if profile.row is not None and profile.row in self.targets:
            raw[profile.row - self.targets.start] = -np.inf

    def _with(self, pair: Pair) -> "Scorer":
        other = Scorer(self._views, pair, self.entity_types, self._interacted)
        other._co_occurrence = self._co_occurrence
        return other

    def _best_of_block(
        self, profiles: Sequence[Profile], count: int, exclude_interacted: bool, allowed: NDArray[np.bool_] | None
    ) -> Best:
        vectors, pair, targets = self._vectors, self.pair, self.targets
        spectral = 1 - pair.blend.share
        raw, shared = self._fast_raw(profiles)
        self._leave_out(raw, allowed)
        for line, profile in enumerate(profiles):
            self._leave_out_own(raw[line], profile, interacted=exclude_interacted)
        # The fast pass only finds candidates: everything that may belong to the best, ties at the edge included. Their
        # scores are summed again in double precision, each by itself, so that a source gets the same digits and the
        # same order whatever it is asked with and however many are asked for.
        warm = _Walks(vectors, pair.response, [profile.vectors[pair.view] for profile in profiles], targets)
        cold_left = [profile.vectors[pair.cold_view] for profile in profiles]
        cold = _Walks(self._cold_vectors, pair.cold, cold_left, targets)
        error = spectral * self._rounding(warm.lengths, cold.lengths)
        edge = max(len(targets) - count, 0)
        least = np.partition(raw - error, edge, axis=1)[:, edge].astype(np.float64)
        least = np.minimum(least, pair.calibration.least_raw(pair.calibration.score(least)))
        least -= 1e-6 * np.abs(least)
        raw += error
        chosen, scores = [], []
        for line in range(len(profiles)):
            candidates = np.flatnonzero((raw[line] >= least[line]) & (raw[line] > -np.inf))
            exact = warm.of(line, candidates)
            if (is_cold := self._cold[candidates]).any():
                exact[is_cold] = cold.of(line, candidates[is_cold])
            exact = spectral * exact + self._popularity[candidates]
            if shared is not None:
                exact += shared[line, candidates]
            score = pair.calibration.score(exact)
            order = np.lexsort((candidates, -score))[:count]
            chosen.append(candidates[order] + targets.start)
            scores.append(score[order])
        lines = np.repeat(np.arange(len(profiles)), [len(rows) for rows in chosen])
        return Best(lines, np.concatenate(chosen), np.concatenate(scores))


def _usual_best(scores: NDArray[Any]) -> float:
    """The median over sources of the best score, where there is one."""
    best = scores.max(axis=1)
    known = best[best > 0]
    return float(np.median(known)) if len(known) else 1.0
