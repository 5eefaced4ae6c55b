"""The figures of a report: what they mean on lists that can be checked by eye, and that intervals tell the truth."""

import json
import random
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch_geometric.metrics import LinkPredDiversity

from lucid.evaluation.bootstrap import _doubles, differences, intervals, unpaired
from lucid.evaluation.figures import per_source, popularity_bias, quality_of, variety
from lucid.evaluation.pair_quality import LEAST_SOURCES, Bootstrap, PairQuality
from lucid.evaluation.recorded import ITEM_KNN, MODEL, POPULARITY, Described, Recorded, RecordedPair, Withheld
from lucid.typing import Rows

DRAWN = Bootstrap(seed=1)
NOBODY = Described(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64))


def lists_of(*rows: list[int], length: int = 20) -> np.ndarray:
    """Lists of rows, filled up with nothing."""
    return np.array([row + [-1] * (length - len(row)) for row in rows], np.int32).reshape(-1, length)


def pair_of(withheld: list[list[int]], lists: np.ndarray, popularity: list[int], known: int = 1) -> RecordedPair:
    """A pair with targets 0, 1, 2 … of some popularity; all that recommend give the same lists."""
    sources, rows = np.arange(len(withheld)) + 1000, np.arange(len(popularity))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in withheld])])
    wide = np.full((len(lists), 100), -1, np.int32)
    wide[:, : lists.shape[1]] = lists
    return RecordedPair(
        "user",
        "item",
        "decomposition 0",
        len(withheld),
        len(popularity),
        Withheld(sources, starts, np.array([target for one in withheld for target in one], np.int64)),
        np.full(len(withheld), known),
        {MODEL: wide, POPULARITY: lists, ITEM_KNN: lists},
        np.full(wide.shape, 500_000, np.int32),
        rows,
        np.array(popularity),
        np.stack(np.unique(popularity, return_counts=True), axis=1),
    )


def shuffled_pair(seed: int, sources: int, targets: int) -> RecordedPair:
    """What is withheld has nothing to do with the model's lists, and popularity has its own."""
    rng = np.random.default_rng(seed)
    popularity = rng.integers(1, 50, targets)
    withheld = [[int(rng.integers(targets))] for _ in range(sources)]
    mine = np.stack([rng.permutation(targets)[:20] for _ in range(sources)]).astype(np.int32)
    pair = pair_of(withheld, mine, popularity.tolist())
    popular = np.tile(np.argsort(-popularity)[:20].astype(np.int32), (sources, 1))
    return replace(pair, lists={**pair.lists, POPULARITY: popular})


# Ranking


def test_a_hit_at_the_first_place_counts_fully_and_one_at_the_third_half() -> None:
    """NDCG with one relevant target is 1 / log2(rank + 1), and the reciprocal rank is what its name says."""
    values = per_source(Withheld(np.arange(3), np.arange(4), np.array([7, 7, 7])), lists_of([7, 1], [1, 2, 7], [1]))

    assert [1.0, 0.5, 0.0] == values[:, 0].tolist()
    assert [1.0, 1 / 3, 0.0] == pytest.approx(values[:, 4].tolist())


def test_what_stands_at_place_eleven_counts_among_twenty_only() -> None:
    """The cutoffs are ten and twenty."""
    values = per_source(Withheld(np.arange(1), np.array([0, 1]), np.array([50])), lists_of([*range(10), 50]))

    assert [0.0, 1.0] == values[0, 2:4].tolist()  # recall
    assert [0.0, 1 / 11] == pytest.approx(values[0, 4:6].tolist())  # reciprocal rank


# Intervals and tests


@examples(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 700))
def test_random_numbers_are_those_of_the_standard_library(seed: int, count: int) -> None:
    """So that anybody can draw the same resamples."""
    plain = random.Random(seed)

    assert [plain.random() for _ in range(count)] == _doubles(seed, count).tolist()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Over many draws of sources from a population whose mean is known, and skewed as ranking figures are."""
    rng = np.random.default_rng(0)
    population = np.where(rng.random(100_000) < 0.4, rng.random(100_000), 0.0)
    held = 0
    for _ in range(300):
        (found,) = intervals(rng.choice(population, (200, 1)), DRAWN)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= population.mean() <= found.high

    assert 0.91 < held / 300 < 0.98


def test_few_sources_tell_no_interval() -> None:
    """Nor can a difference of few be significant, however large."""
    few = np.ones((LEAST_SOURCES - 1, 1))

    assert (1.0, None, None) == (
        intervals(few, DRAWN)[0].mean,
        intervals(few, DRAWN)[0].low,
        intervals(few, DRAWN)[0].high,
    )
    assert not differences(few, 0 * few, DRAWN)[0].significant
    assert differences(np.ones((LEAST_SOURCES, 1)), np.zeros((LEAST_SOURCES, 1)), DRAWN)[0].significant


def test_four_sources_that_differ_among_many_prove_nothing() -> None:
    """A coin falls so four times in eight tries of four; the bootstrap alone would be sure."""
    values = np.zeros((200, 1))
    values[:4] = 1
    (found,) = differences(values, np.zeros((200, 1)), DRAWN)

    assert found.low is not None
    assert found.p is not None
    assert found.low > 0
    assert found.p > 0.05
    assert not found.significant


def test_what_is_the_same_is_seldom_called_different() -> None:
    """Of pairs of figures without a difference about one in twenty seems to have one, paired or not."""
    rng = np.random.default_rng(1)
    paired = [differences(rng.random((100, 1)), rng.random((100, 1)), DRAWN)[0].significant for _ in range(300)]
    apart = [unpaired(rng.random((100, 1)), rng.random((80, 1)), DRAWN)[0].significant for _ in range(300)]

    assert sum(paired) < 300 * 0.09
    assert sum(apart) < 300 * 0.09


def test_a_real_difference_is_found() -> None:
    """Of the size that people care for, with as many sources as a pair is judged on."""
    rng = np.random.default_rng(2)
    base = rng.random((500, 1))

    assert differences(base + 0.05 * rng.random((500, 1)), base, DRAWN)[0].significant
    assert unpaired(rng.random((500, 1)) + 0.1, rng.random((400, 1)), DRAWN)[0].significant


def test_on_shuffled_targets_the_model_is_not_better_than_popularity() -> None:
    """Where nothing can be known, at most chance calls the model better: twice in twenty tries is already much."""
    judged = [quality_of(shuffled_pair(seed, 150, 200), NOBODY, DRAWN).figures for seed in range(20)]

    better = [one and one.differences[POPULARITY]["ndcg@10"].significant for one in judged]
    assert sum(map(bool, better)) <= 3


# Beyond accuracy


def test_lists_that_are_all_the_same_are_not_personal_and_cover_little() -> None:
    """And lists that share nothing are as personal as can be."""
    same = variety(pair_of([[0]] * 4, lists_of(*[[1, 2]] * 4), [5] * 20), lists_of(*[[1, 2]] * 4)[:, :10], NOBODY)
    own = variety(pair_of([[0]] * 4, lists_of(), [5] * 20), lists_of([1, 2], [3, 4], [5, 6], [7, 8])[:, :10], NOBODY)

    assert (0.0, 0.1) == (same.personalisation, same.coverage)
    assert (1.0, 0.4) == (own.personalisation, own.coverage)


def test_what_nobody_knows_is_news() -> None:
    """Novelty falls as popularity rises: what everybody has tells nothing new."""
    pair = replace(pair_of([[0]] * 2, lists_of([1]), [0, 7, 0]), source_count=7)

    assert 0.0 == variety(pair, lists_of([1])[:, :10], NOBODY).novelty
    assert 3.0 == variety(pair, lists_of([2])[:, :10], NOBODY).novelty


def test_targets_that_metadata_tells_apart_are_diverse() -> None:
    """One less the mean cosine over the pairs of a list; a target of which nothing is known is like no other."""
    described = Described(np.arange(4), np.array([0, 1, 2, 4, 4]), np.array([90, 90, 90, 91]))
    pair = pair_of([[0]], lists_of(), [1] * 5)

    assert 0.0 == variety(pair, lists_of([0, 1]), described).diversity
    assert pytest.approx(1 - 0.5**0.5, abs=1e-8) == variety(pair, lists_of([0, 2]), described).diversity
    assert 1.0 == variety(pair, lists_of([0, 3]), described).diversity
    assert variety(pair, lists_of([3, 4]), described).diversity is None
    assert variety(pair, lists_of([0]), described).diversity is None


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.integers(0, 2**31))
@examples(deadline=None)
def test_with_one_category_each_diversity_is_that_of_pyg(categories: list[int], seed: int) -> None:
    """Whose definition knows no more than one."""
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(12)[:10] for _ in range(4)]).astype(np.int32)
    described = Described(np.arange(12), np.arange(13), 100 + np.array(categories))
    metric = LinkPredDiversity(10, torch.tensor(categories))
    metric.update(torch.from_numpy(lists.astype(np.int64)), torch.zeros((2, 0), dtype=torch.int64))

    ours = variety(pair_of([[0]] * 4, lists, [1] * 12), lists, described).diversity

    assert pytest.approx(float(metric.compute()), abs=1e-6) == ours


@examples(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 2**31))
def test_shares_of_the_popularity_curve_add_up(popularity: list[int], seed: int) -> None:
    """To one, whatever is tied with what, and tenths of targets that get nothing come last."""
    targets = len(popularity)
    rng = np.random.default_rng(seed)
    lists = lists_of(*[rng.permutation(targets)[:10].tolist() for _ in range(3)])

    curve = popularity_bias(pair_of([[0]] * 3, lists, popularity))

    interactions = [decile.interactions for decile in curve]
    assert pytest.approx(1.0 if any(popularity) else 0.0, abs=1e-6) == sum(interactions)
    assert pytest.approx(1.0, abs=1e-6) == sum(decile.recommendations[MODEL] for decile in curve)
    assert all(later <= sooner + 1e-6 for sooner, later in pairwise(interactions))


def test_sources_and_targets_stand_apart_by_their_interactions() -> None:
    """Those with few tell of cold starts; all of them together are the whole."""
    pair = pair_of([[0], [1], [2]], lists_of([0], [5], [2]), [3, 10, 40, 1, 1, 1])
    figures = quality_of(replace(pair, known=np.array([2, 9, 100])), NOBODY, DRAWN).figures

    assert figures
    assert [(0, 1), (6, 1), (21, 1)] == [(band.least, band.sources) for band in figures.by_source]
    assert [1.0, 0.0, 1.0] == [band.ranking[MODEL]["ndcg@10"].mean for band in figures.by_source]
    assert [(0, 1, 1.0), (6, 1, 0.0), (21, 1, 1.0)] == [
        (band.least, band.withheld, band.found[MODEL]) for band in figures.by_target
    ]


# What is kept


def test_a_report_is_read_back_as_it_was_written() -> None:
    """Every figure of it."""
    made = quality_of(shuffled_pair(3, 60, 50), NOBODY, DRAWN)

    assert made == PairQuality.from_json(json.loads(json.dumps(asdict(made))))


@examples(deadline=None)
@given(st.integers(0, 2**31), st.sets(st.integers(0, 29), max_size=12), st.sets(st.integers(1000, 1039), max_size=10))
def test_nothing_of_what_is_erased_stays(seed: int, targets: set[int], sources: set[int]) -> None:
    """Neither as source nor as target; lists close up, keep their order, and stand beside their own chances."""
    pair = shuffled_pair(seed, 40, 30)
    pair = replace(pair, chances=np.where(pair.lists[MODEL] >= 0, 10 * pair.lists[MODEL], 0).astype(np.int32))
    gone: Rows = np.array(sorted(targets | sources), np.int64)

    left = Recorded([pair], NOBODY).without(gone).pairs

    kept = [
        position
        for position, source in enumerate(pair.withheld.sources.tolist())
        if source not in sources and not set(pair.withheld.of(position)) <= targets
    ]
    assert bool(kept) == bool(left)
    for one in left:
        assert pair.withheld.sources[kept].tolist() == one.withheld.sources.tolist()
        for who, lists in one.lists.items():
            for position, shortened in zip(kept, lists.tolist(), strict=True):
                expected = [row for row in pair.lists[who][position].tolist() if row >= 0 and row not in targets]
                assert expected == [row for row in shortened if row >= 0] == shortened[: len(expected)]
        shown = one.lists[MODEL] >= 0
        assert (10 * one.lists[MODEL][shown]).tolist() == one.chances[shown].tolist()
        assert not {*one.rows.tolist(), *one.withheld.targets.tolist()} & targets
