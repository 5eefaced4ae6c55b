"""Sequences: each source's targets in the order of time."""

import numpy as np

from lucid.graph.sequences import Sequences


def test_each_target_stands_where_its_source_came_to_it_last() -> None:
    """Whatever the order of events; those of a source that has none are empty."""
    events = np.array([[0, 5, 30.0], [0, 4, 10], [2, 1, 7], [0, 5, 20], [0, 6, 25], [2, 3, 5]])
    for seed in range(5):
        sources, targets, times = np.random.default_rng(seed).permutation(events).T

        found = Sequences.of_events(3, sources.astype(np.int64), targets.astype(np.int64), times)

        assert [[4, 6, 5], [], [3, 1]] == [found.of(source).tolist() for source in range(3)]
        assert [10, 25, 30, 5, 7] == found.times.tolist()


def test_the_latest_stand_at_the_end() -> None:
    """Oldest first; before them is nothing where there are fewer."""
    found = Sequences(np.array([0, 3, 3, 4]), np.array([4, 6, 5, 1]), np.array([1.0, 2, 3, 4]))

    targets, times = found.latest(2)

    assert [[6, 5], [-1, -1], [-1, 1]] == targets.tolist()
    assert [2.0, 3.0, 4.0] == times[~np.isnan(times)].tolist()


def test_what_happened_at_the_same_time_has_no_order() -> None:
    """The same two targets at the same time stand in either order, as often, over many sources."""
    sources = np.repeat(np.arange(1000), 2)
    found = Sequences.of_events(1000, sources, np.tile([3, 8], 1000), np.zeros(2000))

    assert 450 < sum(found.of(source)[0] == 3 for source in range(1000)) < 550
    assert 0 == found.ordered_sources()


def test_a_shuffled_order_keeps_what_each_source_has() -> None:
    """Only the order differs, and the times stay sorted."""
    rng = np.random.default_rng(0)
    found = Sequences.of_events(20, rng.integers(20, size=300), rng.integers(50, size=300), rng.random(300))

    shuffled = found.shuffled(np.random.default_rng(1))

    assert all(sorted(found.of(source)) == sorted(shuffled.of(source)) for source in range(20))
    assert found.targets.tolist() != shuffled.targets.tolist()
    assert found.times.tolist() == shuffled.times.tolist()
