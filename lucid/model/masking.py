"""What is never recommended to a source: itself and, mostly, what it interacted with."""

import numpy as np

from lucid.graph.histories import InteractionHistory, within
from lucid.typing import AnyFloats, Rows


def mask(scores: AnyFloats, sources: Rows, targets: range, history: InteractionHistory) -> AnyFloats:
    """Take out of scores (sources, targets), in place, what the sources interacted with and the sources themselves."""
    scores[masked_places(sources, targets, history)] = -float("inf")
    return scores


def masked_places(sources: Rows, targets: range, history: InteractionHistory) -> tuple[Rows, Rows]:
    """Where `mask` takes something out: positions among the sources, and among the targets."""
    counts = history.starts[sources + 1] - history.starts[sources]
    positions = np.repeat(np.arange(len(sources)), counts)
    offsets = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    interacted = history.indices[history.starts[sources][positions] + offsets]
    positions, rows = np.append(positions, np.arange(len(sources))), np.append(interacted, sources)
    kept = (rows >= targets.start) & (rows < targets.stop)
    return positions[kept], rows[kept] - targets.start


def mask_source(scores: AnyFloats, row: int | None, targets: range, interacted: Rows | None) -> None:
    """Take out of one source's scores (targets), in place, itself and what it interacted with.

    `row` is None for a source that the model does not hold; `interacted` are rows, sorted, None where they stay in.
    """
    if interacted is not None:
        scores[within(interacted, targets)] = -float("inf")
    if row is not None and row in targets:
        scores[row - targets.start] = -float("inf")
