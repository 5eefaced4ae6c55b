"""Item-kNN next to scores counted by hand."""

import numpy as np
import pytest

from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.model.item_knn import ItemKNN


def test_item_knn_counts_walks_of_three_steps() -> None:
    """A target scores by the sources that chose it together with the source's own targets, popular ones count less."""
    #  source 0: targets 3, 4; source 1: 4, 5; source 2: 5, 6
    interacted = InteractionHistory.from_edges(7, np.array([0, 0, 1, 1, 2, 2]), np.array([3, 4, 4, 5, 5, 6]))
    counts, root = {3: 1, 4: 2, 5: 2, 6: 1}, 2**-0.5
    expected = [
        # To 3 and 4 over source 0 itself, to 4 and 5 over source 1.
        root * (1 + counts[4] ** -0.5),
        root * (counts[4] ** -0.5 + 1 / counts[4]) + root / counts[4],
        root * counts[4] ** -0.5 * counts[5] ** -0.5,
        0.0,
    ]

    found = ItemKNN(interacted, EntityTypes(("a", "b"), (0, 3, 7)), ("a", "b")).scores(np.array([0]))

    assert expected == pytest.approx(found[0].tolist())
