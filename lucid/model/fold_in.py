"""Fold-in: the vector of an entity that got further edges, or is new, without training again.

An eigenvector says of every entity s and its neighbours n with edges of weight w:
`l v_s sqrt(d_s + a) = sum_n w_sn v_n / sqrt(d_n + a)`. So new edges add to the right side and to the degree, and the
vector of s follows, or comes about where s is new (Deerwester et al. 1990, Sarwar et al. 2002, on a normalised graph).
Vectors of the neighbours stay; a training moves them too.
"""

from collections.abc import Sequence

import numpy as np

from lucid.graph.adjacency import Neighbours
from lucid.graph.histories import InteractionHistory
from lucid.model.embedding import Embedding
from lucid.model.scorer import Profile
from lucid.typing import Floats, Rows

_SMALLEST = 1e-3
"""Eigenvalues below this share of the largest say nothing that could be folded in: they would only multiply noise."""


def folded_in(embedding: Embedding, row: int | None, others: Rows, weights: Floats) -> tuple[Floats, float]:
    """Vector (q) and degree of an entity after it got further edges; `row` is None where it had none."""
    before = float(embedding.degrees[row]) if row is not None else 0.0
    after = before + float(np.abs(weights).sum())
    if after <= 0 or not len(others):
        vector = embedding.vectors[row] if row is not None else np.zeros(len(embedding.values), np.float32)
        return vector, before
    gained = (weights / np.sqrt(embedding.degrees[others] + embedding.damping)) @ embedding.vectors[others]
    usable = np.abs(embedding.values) > _SMALLEST * np.abs(embedding.values).max()
    moved = np.divide(gained, embedding.values, out=np.zeros_like(gained), where=usable)
    if row is not None:
        moved = moved + embedding.vectors[row] * np.sqrt(before + embedding.damping)
    return np.asarray(moved / np.sqrt(after + embedding.damping), np.float32), after


def folded_in_profile(
    embeddings: Sequence[Embedding],
    history: InteractionHistory,
    row: int | None,
    edges: Neighbours,
    relations: Sequence[str],
) -> Profile:
    """A source with further edges folded in; `row` is None for an entity that the model does not hold.

    `relations` names the relations that the edges count.
    """
    known = history.of(row) if row is not None else np.empty(0, np.int64)
    edges = unknown_edges(edges, known, relations)
    vectors = tuple(
        folded_in(embedding, row, edges.rows, weights)[0]
        for embedding, weights in zip(embeddings, edges.weights, strict=True)
    )
    return Profile(vectors, np.union1d(known, edges.rows[edges.are_interactions(relations)]), row)


def unknown_edges(edges: Neighbours, known: Rows, relations: Sequence[str]) -> Neighbours:
    """Edges without the interactions with entities that the source is known to have interacted with."""
    return edges.part(~(edges.are_interactions(relations) & np.isin(edges.rows, known)))
