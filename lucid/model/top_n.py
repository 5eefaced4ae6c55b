"""Ranking: the best targets of sources, apart from how they are scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lucid.graph.histories import within
from lucid.model.masking import mask_source
from lucid.model.scorer import Profile, Scorer
from lucid.schema.fields import Hidden
from lucid.typing import AnyFloats, Rows

BLOCK_SOURCES = 256
"""Sources ranked at a time; bounds memory to this many rows of scores."""


@dataclass(frozen=True)
class TopN:
    """The best targets of several sources, flat: positions of the sources, rows of targets, scores, best first."""

    positions: Rows
    target_rows: Rows
    scores: NDArray[np.float64]

    @classmethod
    def join(cls, parts: Sequence["TopN"]) -> "TopN":
        """Several as one."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.positions for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.target_rows for part in parts)]),
            np.concatenate([np.empty(0), *(part.scores for part in parts)]),
        )


def top_n(
    scorer: Scorer,
    profiles: Sequence[Profile],
    n: int,
    *,
    exclude: Hidden | None = "all",
    allowed: NDArray[np.bool_] | None = None,
) -> TopN:
    """The n best targets for each source, score falling, ties in the order of rows, which is that of ids.

    Among all targets or among those allowed, (targets) bool. No entity is recommended to itself. The result for a
    source does not depend on which others are asked with it, nor on n but for its length.
    """
    parts = []
    for start in range(0, len(profiles), BLOCK_SOURCES):
        block = profiles[start : start + BLOCK_SOURCES]
        part = _top_n_of_block(scorer, block, n, exclude, allowed)
        parts.append(replace(part, positions=part.positions + start))
    return TopN.join(parts)


def top_n_blended(
    scorer: Scorer,
    profiles: Sequence[Profile],
    weights: Sequence[float],
    n: int,
    *,
    exclude: Hidden | None = "all",
    allowed: NDArray[np.bool_] | None = None,
) -> TopN:
    """The n best targets for several sources as one: their raw scores are added with weights, not all of them zero.

    Negative weights push away. What the sources with positive weights interacted with is left out, and all sources.
    """
    shares = np.array(weights) / np.abs(weights).sum()
    raw = shares @ scorer.raw_of(profiles)
    _mask_for_all(raw, scorer, allowed)
    for profile, weight in zip(profiles, weights, strict=True):
        hidden = profile.hidden(exclude) if weight > 0 else None
        mask_source(raw, profile.row, scorer.targets, hidden)
    candidates = np.flatnonzero(raw > -np.inf)
    scores = scorer.pair.calibration.score(raw[candidates])
    order = np.lexsort((candidates, -scores))[:n]
    return TopN(np.zeros(len(order), np.int64), candidates[order] + scorer.targets.start, scores[order])


def _top_n_of_block(
    scorer: Scorer,
    profiles: Sequence[Profile],
    n: int,
    exclude: Hidden | None,
    allowed: NDArray[np.bool_] | None,
) -> TopN:
    block, targets, calibration = scorer.score(profiles), scorer.targets, scorer.pair.calibration
    raw = block.raw
    _mask_for_all(raw, scorer, allowed)
    for position, profile in enumerate(profiles):
        mask_source(raw[position], profile.row, targets, profile.hidden(exclude))
    # The fast scores only find candidates: everything that may belong to the best, ties at the edge included. What is
    # ranked are their exact scores, so the order is the same whatever is asked with them and however many are asked.
    error = block.error()
    edge = max(len(targets) - n, 0)
    least = np.partition(raw - error, edge, axis=1)[:, edge].astype(np.float64)
    least = np.minimum(least, calibration.least_raw(calibration.score(least)))
    least -= 1e-6 * np.abs(least)
    raw += error
    best, scores = [], []
    for position in range(len(profiles)):
        candidates = np.flatnonzero((raw[position] >= least[position]) & (raw[position] > -np.inf))
        score = calibration.score(block.exact(position, candidates))
        order = np.lexsort((candidates, -score))[:n]
        best.append(candidates[order] + targets.start)
        scores.append(score[order])
    positions = np.repeat(np.arange(len(profiles)), [len(rows) for rows in best])
    return TopN(positions, np.concatenate(best), np.concatenate(scores))


def _mask_for_all(raw: AnyFloats, scorer: Scorer, allowed: NDArray[np.bool_] | None) -> None:
    """Take out of scores (..., targets), in place, what is recommended to nobody."""
    raw[..., within(scorer.erased, scorer.targets)] = -np.inf
    if allowed is not None:
        raw[..., ~allowed] = -np.inf
