"""Calibration: raw scores become scores from 0 to 100 that say how likely a recommendation hits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEP = 1e-6
"""Scores differ by at least this or are equal."""


@dataclass(frozen=True)
class Calibration:
    """Score 0-100 from a raw score x: `100 / (1 + exp(-(intercept + slope * log1p(x / scale))))` (Platt 1999).

    The slope is positive, so the order stays. `scale` is the raw score that a first recommendation typically has.
    """

    scale: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0

    def log1p(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the logistic function is applied to, before slope and intercept: increasing over all numbers."""
        scaled = raw / self.scale
        return np.copysign(np.log1p(np.abs(scaled)), scaled)

    def score(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores 0-100 with six decimals."""
        log_odds = np.clip(self.intercept + self.slope * self.log1p(raw), -36, 36)
        return np.round(100 / (1 + np.exp(-log_odds)), 6)

    def least_raw(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores below which no score is as high as this one; minus infinity where even the lowest may be."""
        probability = np.clip((score - _STEP) / 100, 0, 1 - 1e-12)
        with np.errstate(divide="ignore"):
            log_odds = np.log(probability) - np.log1p(-probability)
        log_odds[probability <= 0] = -np.inf
        x = (log_odds - self.intercept) / self.slope
        with np.errstate(over="ignore"):
            return np.asarray(self.scale * np.copysign(np.expm1(np.abs(x)), x))
