"""The spectral filter of a pair: how strongly each eigenvector of the graph counts in its scores."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lucid.typing import Floats

SignMode = Literal["signed", "positive", "none"]


@dataclass(frozen=True)
class SpectralFilter:
    """How strongly each eigenpair counts: `f(l) = |l| l^2 / (l^2 + ridge)` for the `rank` largest |l|, zero beyond.

    That is the ridge regression of the graph on a thinned copy of itself, within the eigenvectors and without the terms
    that mix them, which changed no figure. `sign_mode` "signed" gives f the sign of l (walks of odd length: a type and
    another that it is linked to), "positive" drops the negative ones (walks of every length). `degree_exponent` is g,
    the weight of the target's degree, which decides alone where `sign_mode` is "none": the popularity baseline.
    """

    sign_mode: SignMode
    rank: int
    ridge: float
    degree_exponent: float
    learned_gain: tuple[tuple[float, float], ...] = ()
    """Learned factor of f: its logarithm at some |l|, with straight lines between; see `training.learned_filter`."""

    @property
    def is_popularity(self) -> bool:
        """Whether nothing but degrees counts."""
        return self.sign_mode == "none"

    def response(self, eigenvalues: Floats) -> Floats:
        """f for every eigenvalue, (q) float32."""
        square = eigenvalues.astype(np.float64) ** 2
        sign = np.sign(eigenvalues) if self.sign_mode == "signed" else eigenvalues > 0
        response: Floats = np.asarray(np.abs(eigenvalues) * square / (square + self.ridge) * sign, dtype=np.float32)
        if self.learned_gain:
            response *= np.exp(np.interp(np.abs(eigenvalues), *np.transpose(self.learned_gain))).astype(np.float32)
        response[self.rank :] = 0
        return response

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "SpectralFilter":
        return cls(**{**raw, "learned_gain": tuple((place, gain) for place, gain in raw["learned_gain"])})
