"""The embedding of all entities in one decomposition of the graph, and spectral scores from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lucid.model.spectral_filter import SpectralFilter
from lucid.typing import Floats, Rows


@dataclass(frozen=True)
class Embedding:
    """Eigenvalues (q), vectors (n, q), weighted degrees (n) of all entities, and the damping a of the degrees.

    `warm` says for each type that has interactions which entities (n, bool) interacted with one of it; `erased` rows
    are empty and never recommended.
    """

    values: Floats
    vectors: Floats
    degrees: Floats
    damping: float
    warm: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    erased: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def without(self, rows: Rows) -> "Embedding":
        """A copy in which further rows are erased."""
        vectors, degrees = self.vectors.copy(), self.degrees.copy()
        vectors[rows], degrees[rows] = 0, 0
        return replace(self, vectors=vectors, degrees=degrees, erased=np.union1d(self.erased, rows))

    def leading(self, rank: int) -> "Embedding":
        """The first eigenpairs only."""
        return replace(self, values=self.values[:rank], vectors=self.vectors[:, :rank])

    def target_factor(self, spectral: SpectralFilter, targets: range | Rows) -> Floats:
        """`(d_t + a)^g` of some rows."""
        degrees = self.degrees[as_index(targets)]
        return np.asarray((degrees + max(self.damping, 1e-6)) ** spectral.degree_exponent, dtype=np.float32)

    def raw_scores(self, spectral: SpectralFilter, sources: Rows, targets: range | Rows) -> Floats:
        """Scores before calibration under one filter, (sources, targets) float32."""
        return self.raw_scores_of(spectral, self.vectors[sources], targets)

    def raw_scores_of(self, spectral: SpectralFilter, left: Floats, targets: range | Rows) -> Floats:
        """Scores before calibration of sources that are given by their vectors, (sources, q)."""
        factor = self.target_factor(spectral, targets)
        if spectral.is_popularity:
            return np.tile(factor, (len(left), 1))
        used = min(spectral.rank, len(self.values))
        left = left[:, :used] * spectral.response(self.values)[:used]
        right = self.vectors[as_index(targets), :used]
        scores: Floats = np.asarray(left @ right.T, dtype=np.float32)
        scores *= factor
        return scores


def as_index(targets: range | Rows) -> slice | Rows:
    """What picks rows of an array without a copy where they lie together."""
    return slice(targets.start, targets.stop) if isinstance(targets, range) else targets
