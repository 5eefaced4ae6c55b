"""Interaction histories, and the sorted rows that they are made of."""

import numpy as np
import pytest

from lucid.graph.histories import InteractionHistory, distinct, within


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_distinct_numbers_are_numpys(size: int) -> None:
    """However many, with and without repeats."""
    rng = np.random.default_rng(size)
    for most in (1, 10, 10**15):
        numbers = rng.integers(-most, most, size)
        assert np.array_equal(np.unique(numbers), distinct(numbers))


def test_an_interaction_is_known_to_both_of_its_ends_once() -> None:
    """Whichever way it points, and however often it is there."""
    history = InteractionHistory.from_edges(5, np.array([0, 3, 0, 0]), np.array([3, 0, 2, 2]))

    assert [[2, 3], [], [0], [0], []] == [history.of(row).tolist() for row in range(5)]
    assert [1] == within(history.of(0), range(2, 9)).tolist()[1:]
