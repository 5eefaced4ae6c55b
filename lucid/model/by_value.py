"""Ranking by another value than the score: scores times factors of targets, as rules of a shop give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lucid.graph.histories import within
from lucid.model.masking import mask_source
from lucid.model.scorer import BlockScores, Profile, Scorer
from lucid.model.top_n import mask_for_all
from lucid.schema.fields import Hidden
from lucid.typing import Floats, Rows

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Valued:
    """The best targets of one source, by rows of the graph, largest value first, ties in the order of rows.

    `total` counts all that may be recommended to it.
    """

    rows: Rows
    scores: Numbers
    values: Numbers
    total: int


class ScoredTargets:
    """All targets of a type, scored for some sources: which of them are the best by score times factor.

    Values do not depend on what else is asked with a source, nor on how many are asked for, as with `top_n`.
    `factors` (targets) are 0 or more, None for 1 each; `hidden` are further rows, sorted, that are not recommended to
    each of the sources; with a `threshold` all targets are left out whose score is lower.
    """

    def __init__(
        self,
        scorer: Scorer,
        profiles: Sequence[Profile],
        factors: Numbers | None = None,
        *,
        exclude: Hidden | None = "all",
        allowed: NDArray[np.bool_] | None = None,
        hidden: Sequence[Rows] = (),
        threshold: float = 0,
    ) -> None:
        self._scorer, self._factors, self._threshold = scorer, factors, threshold
        self._block: BlockScores = scorer.score(profiles)
        self._raw: Floats = self._block.raw
        mask_for_all(self._raw, scorer, allowed)
        for position, profile in enumerate(profiles):
            mask_source(self._raw[position], profile.row, scorer.targets, profile.hidden(exclude))
            if hidden:
                self._raw[position][within(hidden[position], scorer.targets)] = -np.inf

    @cached_property
    def _error(self) -> Floats:
        return self._block.error()

    def best(self, position: int, n: int) -> Valued:
        """The n best of the source at a position."""
        places = np.flatnonzero(self._raw[position] > -np.inf)
        some = n < len(places) and not self._threshold
        candidates = self._candidates(position, places, n) if some else places
        scores = self._scorer.pair.calibration.score(self._block.exact(position, candidates))
        if self._threshold:
            kept = scores >= self._threshold
            candidates, scores = candidates[kept], scores[kept]
        total = len(candidates) if self._threshold else len(places)
        return _sorted(candidates, scores, self._factors, n, total, self._scorer.targets)

    def of(self, position: int, rows: Rows) -> Valued:
        """Of some rows of the type those that may be recommended to the source at a position."""
        places = rows - self._scorer.targets.start
        places = places[self._raw[position][places] > -np.inf]
        scores = self._scorer.pair.calibration.score(self._block.exact(position, places))
        kept = scores >= self._threshold
        places, scores = places[kept], scores[kept]
        return _sorted(places, scores, self._factors, len(places), len(places), self._scorer.targets)

    def _candidates(self, position: int, places: Rows, n: int) -> Rows:
        """Of some targets those that may be among the n best: fast scores tell only so much, see `BlockScores`."""
        raw, error = self._raw[position][places].astype(np.float64), self._error[position][places].astype(np.float64)
        edge = len(places) - n
        if self._factors is None:
            calibration = self._scorer.pair.calibration
            least = np.partition(raw - error, edge)[edge : edge + 1]
            # Below that raw score another may have the same score, and come before it by its row.
            least = np.minimum(least, calibration.least_raw(calibration.score(least)))
            return np.asarray(places[raw + error >= least - 1e-6 * np.abs(least)])
        factors, calibration = self._factors[places], self._scorer.pair.calibration
        value = calibration.score(raw) * factors
        # A score changes by no more than a raw one times the steepest rise, and by half a digit from rounding.
        margin = (calibration.steepest * error + 1e-6) * factors
        least = np.partition(value - margin, edge)[edge]
        return np.asarray(places[value + margin >= least])


class BlendedTargets:
    """The same of several sources as one, of which the raw scores (targets) are given; -inf leaves a target out."""

    def __init__(self, scorer: Scorer, raw: Numbers, factors: Numbers | None = None, *, threshold: float = 0) -> None:
        self._targets, self._factors = scorer.targets, factors
        self._scores = np.full(len(raw), -np.inf)
        known = raw > -np.inf
        self._scores[known] = scorer.pair.calibration.score(raw[known])
        self._scores[self._scores < threshold] = -np.inf

    def best(self, _position: int, n: int) -> Valued:
        """The n best."""
        places = np.flatnonzero(self._scores > -np.inf)
        return _sorted(places, self._scores[places], self._factors, n, len(places), self._targets)

    def of(self, _position: int, rows: Rows) -> Valued:
        """Of some rows of the type those that may be recommended."""
        places = rows - self._targets.start
        places = places[self._scores[places] > -np.inf]
        return _sorted(places, self._scores[places], self._factors, len(places), len(places), self._targets)


def _sorted(places: Rows, scores: Numbers, factors: Numbers | None, n: int, total: int, targets: range) -> Valued:
    values = scores if factors is None else scores * factors[places]
    order = np.lexsort((places, -values))[:n]
    return Valued(places[order] + targets.start, scores[order], values[order], total)
