"""What follows what: its scores are those of the formula, and nothing of an erased entity is left."""

import numpy as np
import pytest

from lucid.graph.sequences import Sequences
from lucid.model.follows import DECAY, MEMORY, Follows, Transitions, in_order
from lucid.model.pair_model import FollowsModel

SOURCES, TARGETS = range(100, 130), range(40)


def sequences(seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of_events(30, rng.integers(30, size=400), rng.integers(40, size=400), rng.random(400))


def learned(model: FollowsModel, seed: int = 0) -> Follows:
    return Transitions(sequences(seed), SOURCES, TARGETS).weighed(model)


@pytest.mark.parametrize("model", [FollowsModel(1, 0, 0.5), FollowsModel(1, 0.5, 0.3), FollowsModel(1, 1, 0)], ids=str)
def test_scores_equal_the_formula_written_out(model: FollowsModel) -> None:
    """Summed over sources, pairs of places and latest targets, one by one."""
    every, follows = sequences(), learned(model)
    counts = np.bincount(every.targets, minlength=40)
    strength = np.zeros((40, 40))
    for source in range(30):
        mine = every.of(source)
        for first, before in enumerate(mine):
            for second in range(first + 1, min(first + 11, len(mine))):
                strength[before, mine[second]] += 1 / (second - first)
                strength[mine[second], before] += model.backward / (second - first)
    strength *= (1 + counts[:, None]) ** -0.5 * (1 + counts) ** -model.exponent
    recent = [np.array([3, 1, 200, 4, 1 + 4]), np.arange(20), np.empty(0, np.int64), np.array([110])]

    found = follows.scores_of(recent)

    for scores, rows in zip(found, recent, strict=True):
        own = [row for row in rows.tolist() if row in TARGETS][-MEMORY:]
        expected = sum((DECAY**place * strength[row] for place, row in enumerate(reversed(own))), np.zeros(40))
        assert scores == pytest.approx(expected, abs=1e-5)
    for position, rows in enumerate(recent):
        parts = follows.contributions(rows, np.arange(40)).values()
        assert sum(parts, np.zeros(40)) == pytest.approx(found[position])


def test_a_source_gets_the_same_digits_whatever_is_asked_with_it() -> None:
    """Alone, among others, and by what it came to."""
    follows = learned(FollowsModel(1, 0.5, 0.3))
    recent = [follows.recent(row)[0] for row in SOURCES]

    assert all((follows.scores_of([rows])[0] == follows.scores_of(recent)[n]).all() for n, rows in enumerate(recent))
    assert [sequences().of(source)[-MEMORY:].tolist() for source in range(30)] == [rows.tolist() for rows in recent]


def test_nothing_names_an_erased_entity() -> None:
    """Neither what follows nor what sources came to; of the others all stays."""
    follows = learned(FollowsModel(1, 0.5, 0.3))

    without = follows.without(np.array([7, 9, 105]))

    gone = {7, 9}
    assert not gone & set(without.indices.tolist())
    assert not gone & set(without.latest.ravel().tolist())
    assert [0, 0] == [int(without.starts[row + 1] - without.starts[row]) for row in (7, 9)]
    assert 0 == len(without.recent(105)[0])
    assert (without.latest >= 0).tolist() == (~np.isnan(without.times)).tolist()
    before, after = (one.scores_of([np.array([3, 5])])[0] for one in (follows, without))
    kept = np.setdiff1d(np.arange(40), [7, 9])
    assert before[kept].tolist() == after[kept].tolist()
    for row in set(SOURCES) - {105}:
        assert [one for one in follows.recent(row)[0].tolist() if one not in gone] == without.recent(row)[0].tolist()


def test_what_came_since_stands_by_its_time() -> None:
    """Between what was known, after it, and in place of the same target before; other types are left out."""
    follows = Follows(
        range(100, 101),
        TARGETS,
        np.zeros(41, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
        np.array([[-1] * 7 + [3, 4, 5]], np.int32),
        np.array([[np.nan] * 7 + [10, 20, 30]]),
    )

    since = np.array([6, 3, 77, 8]), np.array([15.0, 40, 50, 60])
    later = follows.with_latest({100: since, 300: since})

    assert [6, 4, 5, 3, 8] == later.recent(100)[0].tolist()
    assert [15, 20, 30, 40, 60] == later.recent(100)[1].tolist()
    assert [3, 4, 5] == follows.recent(100)[0].tolist()
    assert [6, 4, 5, 3, 77, 8] == in_order([follows.recent(100), since])[0].tolist()
