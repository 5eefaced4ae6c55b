"""Ranking metrics that settings are chosen by, as LightGCN's evaluation has them (He et al. 2020): full ranking, binary
relevance, averaged over the sources that have held-out targets."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.pair_quality import RankingQuality
from lucid.graph.histories import are_among

CUTOFF = 10
"""Metrics look at this many recommendations."""


def ndcg(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> NDArray[np.float64]:
    """NDCG@10 of every source; see `measure`."""
    hits, relevant = _hits(scores, held, targets)
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant, hits.shape[1]) - 1]
    return np.asarray(hits @ discount / ideal)


def measure(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> RankingQuality:
    """Judge scores (sources, targets), masked already, by the withheld targets, averaged over the sources."""
    hits, relevant = _hits(scores, held, targets)
    return RankingQuality(
        float(np.mean(ndcg(scores, held, targets))),
        float(np.mean(hits.sum(axis=1) / relevant)),
        float(np.mean(hits.any(axis=1))),
        len(relevant),
    )


def _hits(scores: NDArray[Any] | Tensor, held: HeldOut, targets: range) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each of the first targets (sources, cutoff) was withheld, and how many were withheld of each source."""
    table = torch.as_tensor(scores)
    best = torch.topk(table, min(CUTOFF, table.shape[1]), dim=1).indices.numpy() + targets.start
    relevant = np.diff(held.starts)
    positions = np.arange(len(relevant))
    # A number for each (position, row) turns "is it among this source's withheld rows" into one sorted search.
    known = np.repeat(positions, relevant) * targets.stop + held.targets
    return are_among(positions[:, None] * targets.stop + best, known), relevant
