"""Item-kNN: targets that were chosen together with a source's own (Sarwar et al. 2001).

Where entities have few interactions, it tells what the leading eigenvectors leave out; where they have many, it is
costly and tells nothing new.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory, within
from lucid.model.pair_model import Pair
from lucid.typing import Rows

if TYPE_CHECKING:
    from scipy import sparse

# scipy is imported where it is used: it would take a fifth of the API's start, and most answers need none of it.

AFFORDABLE = 3e7
"""Walks of two steps that all sources may have together, so that a fit stays linear in the interactions."""


class ItemKNN:
    """Item-kNN scores between the entities of two types.

    The score of a source s and a target t sums over the source's own targets u and the sources r that chose both u and
    t: `1 / sqrt(d_u d_r d_t)` with d the number of interactions between the two types. That is the cosine of item-based
    neighbourhoods (Sarwar et al. 2001) with inverse user frequency (Breese et al. 1998).
    """

    def __init__(self, history: InteractionHistory, entity_types: EntityTypes, pair: Pair) -> None:
        self._linked, self._targets = interaction_matrix(history, entity_types, pair), entity_types.rows(pair[1])
        self._back = self._linked.T.tocsr()
        self._per_source, self._per_target = (
            np.maximum(np.diff(matrix.indptr), 1) ** -0.5 for matrix in (self._linked, self._back)
        )
        self.walks = float((np.diff(self._back.indptr).astype(np.float64) ** 2).sum())
        """How many walks of two steps there are, from sources to sources."""

    @property
    def is_affordable(self) -> bool:
        """Whether there are any interactions, and not too many."""
        return 0 < self.walks <= AFFORDABLE

    def scores(self, sources: Rows) -> NDArray[np.float64]:
        """Scores of all targets (sources, targets); `sources` are counted from the first of their type.

        The figures of a source do not depend on which others are asked with it.
        """
        return self._scores(self._linked[sources])

    def scores_of(self, interacted: Sequence[Rows]) -> NDArray[np.float64]:
        """Scores of all targets for any sources, given the rows that each interacted with, sorted."""
        from scipy import sparse

        own = [within(rows, self._targets) for rows in interacted]
        starts = np.concatenate([[0], np.cumsum([len(targets) for targets in own])])
        ones, columns = np.ones(starts[-1]), np.concatenate(own)
        return self._scores(sparse.csr_matrix((ones, columns, starts), shape=(len(own), len(self._targets))))

    def _scores(self, own: "sparse.csr_matrix") -> NDArray[np.float64]:
        from scipy import sparse

        shared = own @ sparse.diags_array(self._per_target) @ self._back
        found = (shared @ sparse.diags_array(self._per_source) @ self._linked).toarray()
        return np.asarray(found * self._per_target, np.float64)

    def popularity(self) -> NDArray[np.float64]:
        """How many sources interacted with each target."""
        return np.asarray(np.diff(self._back.indptr), np.float64)


def interaction_matrix(history: InteractionHistory, entity_types: EntityTypes, pair: Pair) -> "sparse.csr_matrix":
    """Which sources (rows) interacted with which targets (columns) of a pair of types, 1 or nothing."""
    from scipy import sparse

    sources, targets = (entity_types.rows(entity_type) for entity_type in pair)
    starts = history.starts[sources.start : sources.stop + 1]
    columns = history.indices[starts[0] : starts[-1]].astype(np.int64) - targets.start
    positions = np.repeat(np.arange(len(sources)), np.diff(starts))
    kept = (columns >= 0) & (columns < len(targets))
    ones = np.ones(int(kept.sum()))
    return sparse.csr_matrix((ones, (positions[kept], columns[kept])), shape=(len(sources), len(targets)))
