"""Learned message passing: how strongly each part of the spectrum counts for a pair, fitted to withheld interactions.

Layers of linear message passing, however many, multiply every eigenvector of the graph by a function of its eigenvalue
(Bruna et al. 2014, Defferrard et al. 2016). Here that function is learned itself: the chosen response times a smooth
factor with few parameters, by full softmax over all targets. Supervised only by interactions that were withheld from
the graph; whether it pays is for others to judge, on other sources.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lucid.evaluation.quality import HeldOut
from lucid.model.scorer import Response, Vectors

KNOTS = 8
"""Points of the factor, equally far apart in the root of the eigenvalue; straight lines between them."""
SMOOTHNESS = 0.03
"""Penalty on steps of the factor's logarithm; with a tenth of it, small data were learned by heart."""
STEPS = 20
MAX_SCORES = 30_000_000
"""Scores that may be held at a time, knots times sources times targets; bounds memory and time."""
FIRST_SCORE = 10.0
"""Logit of a usual first recommendation before anything is learned."""


def learn(vectors: Vectors, response: Response, held: HeldOut, targets: range) -> Response:
    """The response with a learned factor and exponent, fitted to the withheld targets of these sources."""
    used = min(response.rank, len(vectors.values))
    strength = np.abs(vectors.values[:used])
    places = np.linspace(strength.min() ** 0.5, strength.max() ** 0.5, KNOTS) ** 2
    parts = _parts(vectors, response, held, targets, places)
    degrees = torch.from_numpy(np.log(vectors.target_factor(replace(response, exponent=1.0), targets)))
    masked = torch.from_numpy(held.masked(np.zeros((len(held.sources), len(targets)), np.float32), targets))
    counts = torch.from_numpy(np.diff(held.starts))
    lines = torch.repeat_interleave(torch.arange(len(held.sources)), counts)
    wanted = lines, torch.from_numpy(held.targets - targets.start)
    share = 1 / (counts[lines] * len(held.sources))
    first = (parts.sum(dim=0) * torch.exp(response.exponent * degrees) + masked).amax(dim=1).median()
    gains, exponent, scale = torch.zeros(KNOTS), torch.tensor(response.exponent), torch.log(FIRST_SCORE / first)
    parameters = [parameter.requires_grad_() for parameter in (gains, exponent, scale)]
    search = torch.optim.LBFGS(parameters, lr=0.5, max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        scores = torch.einsum("k,kst->st", gains.exp(), parts) * torch.exp(exponent * degrees + scale) + masked
        likelihood = torch.log_softmax(scores, dim=1)[wanted]
        known = torch.isfinite(likelihood)
        steps = gains.diff().square().sum() + 0.3 * gains.square().sum()
        penalty = steps + 10 * (exponent - response.exponent).square()
        total: Tensor = SMOOTHNESS * penalty - (likelihood[known] * share[known]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    search.step(loss)  # type: ignore[no-untyped-call]
    learned = tuple(zip(places.tolist(), gains.detach().tolist(), strict=True))
    return replace(response, gains=learned, exponent=exponent.detach().item())


def affordable(targets: range) -> int:
    """How many sources can be learned from."""
    return MAX_SCORES // (KNOTS * max(len(targets), 1))


def _parts(vectors: Vectors, response: Response, held: HeldOut, targets: range, places: np.ndarray) -> Tensor:
    """Scores by knot, (knots, sources, targets): with a gain for each knot their sum is the score but for degrees."""
    used = min(response.rank, len(vectors.values))
    shares = [np.interp(np.abs(vectors.values[:used]), places, one) for one in np.eye(KNOTS)]
    parts = torch.empty(KNOTS, len(held.sources), len(targets))
    weights = response.weights(vectors.values)[:used]
    for knot, share in enumerate(shares):
        columns = np.flatnonzero(share)
        left = torch.from_numpy(vectors.vectors[np.ix_(held.sources, columns)] * (weights * share)[columns]).float()
        right = torch.from_numpy(vectors.vectors[targets.start : targets.stop][:, columns])
        torch.mm(left, right.T, out=parts[knot])
    return parts
