"""Calibration: what a raw score says to people, as a score from 0 to 100 and as a probability."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_STEP = 1e-6
"""Scores differ by at least this or are equal."""
_MAX_QUANTILES = 256
"""Of held-out interactions that are kept: steps of less than half a point."""
_PRIOR = 5.0
"""Interactions that thin evidence is mixed with: five held-out ones count half; set by hand."""
_PRIOR_LEVEL = 0.25
"""What the prior comes to at most, so that a first recommendation nobody can judge scores below 25."""


@dataclass(frozen=True)
class Calibration:
    """Score and probability of a raw score, both functions of `t = log1p(raw / scale)` that rise with it.

    `scale` is the raw score that a first recommendation typically has. The score is 100 times the share of the pair's
    held-out interactions that have a lower `t`, as `quantiles` of theirs tell, mixed with a low prior where they are
    few; `evidence` counts them. The probability is that of a hit, `1 / (1 + exp(-(intercept + slope * t)))` (Platt
    1999). Where `quantiles` are None, as releases up to 0.1 left them, the score is 100 times the probability.
    """

    scale: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    quantiles: tuple[float, ...] | None = ()
    evidence: int = 0

    def log1p(self, raw: Numbers) -> Numbers:
        """`t` of raw scores: increasing over all numbers."""
        scaled = raw / self.scale
        return np.copysign(np.log1p(np.abs(scaled)), scaled)

    def score(self, raw: Numbers) -> Numbers:
        """Scores 0-100 with six decimals."""
        t = self.log1p(raw)
        if self.quantiles is None:
            return np.round(100 * self._hit(t), 6)
        return np.round(np.interp(t, *self._table), 6)

    def probability(self, score: Numbers) -> Numbers:
        """The chance (0-1, six decimals) that a recommendation with this score hits."""
        if self.quantiles is None:
            return np.round(score / 100, 6)
        places, scores = self._table
        return np.round(self._hit(np.interp(score, scores, places)), 6)

    def least_raw(self, score: Numbers) -> Numbers:
        """Raw scores below which no score is as high as this one; minus infinity where even the lowest may be."""
        least = score - _STEP
        if self.quantiles is None:
            probability = np.clip(least / 100, 0, 1 - 1e-12)
            with np.errstate(divide="ignore"):
                t = (np.log(probability) - np.log1p(-probability) - self.intercept) / self.slope
            t[probability <= 0] = -np.inf
        else:
            places, scores = self._table
            t = np.where(least <= scores[0], -np.inf, np.interp(least, scores, places))
        with np.errstate(over="ignore"):
            return np.asarray(self.scale * np.copysign(np.expm1(np.abs(t)), t))

    @cached_property
    def steepest(self) -> float:
        """How much a score rises at most with each unit of a raw score."""
        if self.quantiles is None:
            return 25 * self.slope / self.scale  # the steepest part of the logistic function
        places, scores = self._table
        return float((np.diff(scores) / np.diff(places)).max() / self.scale)

    def judged_by(self, held_out: Numbers, evidence: int | None = None) -> "Calibration":
        """This calibration with scores that say where a raw score stands among held-out interactions, given by `t`.

        `evidence` is how many of them speak for the pair: all, where it is not given.
        """
        counted = len(held_out) if evidence is None else evidence
        kept = np.sort(held_out)
        if len(kept) > _MAX_QUANTILES:
            kept = np.quantile(kept, (np.arange(_MAX_QUANTILES) + 0.5) / _MAX_QUANTILES)
        return replace(self, quantiles=tuple(kept.tolist()), evidence=counted)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Calibration":
        """Read what `asdict` gives, or what releases up to 0.1 wrote."""
        quantiles = raw.get("quantiles")
        return cls(**{**raw, "quantiles": None if quantiles is None else tuple(quantiles)})

    def _hit(self, t: Numbers) -> Numbers:
        return np.asarray(1 / (1 + np.exp(-np.clip(self.intercept + self.slope * t, -36, 36))))

    @cached_property
    def _table(self) -> tuple[Numbers, Numbers]:
        """Values of `t` and their scores, both rising strictly; between them scores lie on straight lines."""
        known, counts = np.unique(np.asarray(self.quantiles, np.float64), return_counts=True)
        t = np.union1d(known, np.linspace(-40, 40, 321))
        prior = _PRIOR_LEVEL * (0.5 + 0.5 * t / (1 + np.abs(t)))
        share = prior
        if len(known):
            # The places of n sorted values are 1/(n+1) to n/(n+1); beyond them the rest is never quite used up.
            rest = 1 / (counts.sum() + 1)
            places = rest * (counts.cumsum() - (counts - 1) / 2)
            share = np.interp(t, known, places)
            share = np.where(t < known[0], places[0] / (1 + np.maximum(known[0] - t, 0)), share)
            share = np.where(t > known[-1], 1 - (1 - places[-1]) / (1 + np.maximum(t - known[-1], 0)), share)
        return t, 100 * (self.evidence * share + _PRIOR * prior) / (self.evidence + _PRIOR)
