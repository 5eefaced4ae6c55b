"""Learned message passing: how strongly each part of the spectrum counts for a pair, fitted to withheld interactions.

Layers of linear message passing, however many, multiply every eigenvector of the graph by a function of its eigenvalue
(Bruna et al. 2014, Defferrard et al. 2016). Here that function is learned itself: the chosen filter times a smooth gain
with few parameters, by full softmax over all targets. Supervised only by interactions that were withheld from the
graph; whether it pays is for others to judge, on other sources.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucid.evaluation.holdout import HeldOut
from lucid.model.embedding import Embedding
from lucid.model.spectral_filter import SpectralFilter


@dataclass(frozen=True)
class LearnedFilterConfig:
    """How a gain is learned; where values were measured, `benchmarks/LOG.md` has the figures."""

    knots: int = 8
    """Points of the gain, equally far apart in the root of the eigenvalue, with straight lines between; set by hand."""
    smoothness: float = 0.03
    """Penalty on steps of the gain's logarithm; measured: a tenth of it loses 8 to 12% on small data."""
    steps: int = 20
    """Of L-BFGS at most; set by hand."""
    max_scores: int = 30_000_000
    """Scores that may be held at a time, knots times sources times targets; bounds memory and time."""
    first_score: float = 10.0
    """Logit that a first recommendation typically has before anything is learned."""

    def affordable(self, targets: range) -> int:
        """How many sources can be learned from."""
        return self.max_scores // (self.knots * max(len(targets), 1))


CONFIG = LearnedFilterConfig()


def with_learned_gain(
    embedding: Embedding,
    spectral: SpectralFilter,
    held: HeldOut,
    targets: range,
    config: LearnedFilterConfig = CONFIG,
) -> SpectralFilter:
    """The filter with a learned gain and degree exponent, fitted to the withheld targets of these sources."""
    used = min(spectral.rank, len(embedding.values))
    strength = np.abs(embedding.values[:used])
    knots = np.linspace(strength.min() ** 0.5, strength.max() ** 0.5, config.knots) ** 2
    parts = _scores_by_knot(embedding, spectral, held, targets, knots)
    degrees = torch.from_numpy(np.log(embedding.target_factor(replace(spectral, degree_exponent=1.0), targets)))
    masked = torch.from_numpy(held.masked(np.zeros((len(held.sources), len(targets)), np.float32), targets))
    counts = torch.from_numpy(np.diff(held.starts))
    positions = torch.repeat_interleave(torch.arange(len(held.sources)), counts)
    relevant = positions, torch.from_numpy(held.targets - targets.start)
    share = 1 / (counts[positions] * len(held.sources))
    first = (parts.sum(dim=0) * torch.exp(spectral.degree_exponent * degrees) + masked).amax(dim=1).median()
    gain, exponent = torch.zeros(config.knots), torch.tensor(spectral.degree_exponent)
    scale = torch.log(config.first_score / first)
    parameters = [parameter.requires_grad_() for parameter in (gain, exponent, scale)]
    optimizer = torch.optim.LBFGS(parameters, lr=0.5, max_iter=config.steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = torch.einsum("k,kst->st", gain.exp(), parts) * torch.exp(exponent * degrees + scale) + masked
        likelihood = torch.log_softmax(scores, dim=1)[relevant]
        known = torch.isfinite(likelihood)
        steps = gain.diff().square().sum() + 0.3 * gain.square().sum()
        penalty = steps + 10 * (exponent - spectral.degree_exponent).square()
        total: Tensor = config.smoothness * penalty - (likelihood[known] * share[known]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    learned = tuple(zip(knots.tolist(), gain.detach().tolist(), strict=True))
    return replace(spectral, learned_gain=learned, degree_exponent=exponent.detach().item())


def _scores_by_knot(
    embedding: Embedding, spectral: SpectralFilter, held: HeldOut, targets: range, knots: NDArray[np.float64]
) -> Tensor:
    """Scores (knots, sources, targets): with a gain for each knot their sum is the score but for degrees."""
    used = min(spectral.rank, len(embedding.values))
    shares = [np.interp(np.abs(embedding.values[:used]), knots, one) for one in np.eye(len(knots))]
    parts = torch.empty(len(knots), len(held.sources), len(targets))
    response = spectral.response(embedding.values)[:used]
    for knot, share in enumerate(shares):
        columns = np.flatnonzero(share)
        left = torch.from_numpy(embedding.vectors[np.ix_(held.sources, columns)] * (response * share)[columns]).float()
        right = torch.from_numpy(embedding.vectors[targets.start : targets.stop][:, columns])
        torch.mm(left, right.T, out=parts[knot])
    return parts
