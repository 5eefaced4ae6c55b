"""What is never recommended to a source: itself and, mostly, what it interacted with."""

from lucid.graph.histories import InteractionHistory, within
from lucid.typing import AnyFloats, Rows


def mask(scores: AnyFloats, sources: Rows, targets: range, history: InteractionHistory) -> AnyFloats:
    """Take out of scores (sources, targets), in place, what the sources interacted with and the sources themselves."""
    for position, row in enumerate(sources.tolist()):
        mask_source(scores[position], row, targets, history.of(row))
    return scores


def mask_source(scores: AnyFloats, row: int | None, targets: range, interacted: Rows | None) -> None:
    """Take out of one source's scores (targets), in place, itself and what it interacted with.

    `row` is None for a source that the model does not hold; `interacted` are rows, sorted, None where they stay in.
    """
    if interacted is not None:
        scores[within(interacted, targets)] = -float("inf")
    if row is not None and row in targets:
        scores[row - targets.start] = -float("inf")
