"""The ranking metric that settings are chosen by, as LightGCN's evaluation has it (He et al. 2020): full ranking,
binary relevance. What reports say is computed in `lucid.evaluation.figures`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucid.evaluation.holdout import HeldOut
from lucid.graph.histories import are_among

CUTOFF = 10
"""The metric looks at this many recommendations."""


def ndcg(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range, cutoff: int = CUTOFF) -> NDArray[np.float64]:
    """NDCG@10, or at another cutoff, of every source, from scores (sources, targets), masked already, and the withheld
    targets."""
    table = torch.as_tensor(scores)
    best = torch.topk(table, min(cutoff, table.shape[1]), dim=1).indices.numpy() + targets.start
    relevant = np.diff(held.starts)
    positions = np.arange(len(relevant))
    # A number for each (position, row) turns "is it among this source's withheld rows" into one sorted search.
    known = np.repeat(positions, relevant) * targets.stop + held.targets
    hits = are_among(positions[:, None] * targets.stop + best, known)
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant, hits.shape[1]) - 1]
    return np.asarray(hits @ discount / ideal)
