"""Popular and trending: what is recent, what is more than chance, what is the last day, which windows are chosen."""

import numpy as np
import pytest

from lucid.data.activity import NO_DAY
from lucid.graph.activity import Activity, Daily, Totals
from lucid.model.popularity import Span, choose_spans, popular, trending

TODAY = 20_000


def daily(*counts: tuple[int, int, int]) -> Daily:
    """From (target, days ago, how many)."""
    rows, ages, many = (np.array(column, np.int64) for column in zip(*counts, strict=True))
    return Daily(rows, (TODAY - ages).astype(np.int32), many)


def steady(rates: np.ndarray, days: int, seed: int) -> Daily:
    """Targets with the same rate on every day, and on some days several times as much of everything."""
    rng = np.random.default_rng(seed)
    loads = rng.choice([0.5, 1.0, 4.0], days)
    counts = rng.poisson(rates[:, None] * loads)
    rows, ages = np.nonzero(counts)
    return Daily(rows, (TODAY - ages).astype(np.int32), counts[rows, ages])


def totals(*counts: tuple[int, int]) -> Totals:
    """From (day, how many)."""
    days, many = (np.array(column) for column in zip(*counts, strict=True))
    return Totals(days.astype(np.int32), many.astype(np.int64))


def test_old_interactions_count_less_by_the_half_life_and_not_at_all_beyond_the_window() -> None:
    """Weights of 1, 1/2 and 1/4; what lies on the edge of the window is out."""
    counted = daily((0, 0, 1), (1, 4, 2), (2, 8, 4), (2, 12, 100))

    found = popular(counted, 3, TODAY, Span(12, 4.0))

    assert [pytest.approx(1 / 3)] * 3 == found.shares.tolist()
    assert [0, 1, 2] == found.targets.tolist()
    assert {50.0} == set(found.scores.tolist())
    assert [0, 1] == popular(counted, 3, TODAY, Span(8)).targets.tolist()[::-1]


def test_the_score_of_what_is_popular_is_its_place_among_interactions() -> None:
    """Of ten interactions seven are with the first, two with the second and one with the third."""
    found = popular(daily((5, 0, 7), (3, 0, 2), (4, 1, 1)), 6, TODAY, Span())

    assert [5, 3, 4] == found.targets.tolist()
    assert [65.0, 20.0, 5.0] == found.scores.tolist()
    assert [0.7, 0.2, 0.1] == found.shares.tolist()


def test_nothing_trends_by_chance_more_often_than_the_interval_says() -> None:
    """2.5% at most of what is steady, although some days have eight times the interactions of others."""
    rates = np.geomspace(0.05, 20, 2000)
    for span in (Span(1), Span(7), Span(7, 3.5), Span(None, 5.0), Span(30, 15.0)):
        trends = [len(trending(steady(rates, 180, seed), len(rates), TODAY, span).targets) for seed in range(5)]

        assert 0.025 * len(rates) >= np.mean(trends)


def test_what_rises_trends_and_is_ordered_by_how_certainly() -> None:
    """Three times as much as before: with few interactions that may be chance, with more it is less and less."""
    rates = np.array([0.02, 1.0, 4.0, 50.0, 2000.0])
    before = [(row, age, int(days)) for row, rate in enumerate(rates) for age in range(7, 107) if (days := rate)]
    few = [(0, 50, 2)]
    lately = [(row, age, int(3 * rate)) for row, rate in enumerate(rates[:4]) for age in range(7) if rate >= 1]
    counted = daily(*before, *few, *lately, (0, 1, 1), *((4, age, 2000) for age in range(7)))

    found = trending(counted, 5, TODAY, Span(7))

    assert [3, 2, 1] == found.targets.tolist()
    assert 100 * (1 - 1 / 2.7) > found.scores[0] > found.scores[1] > found.scores[2] > 0


def test_what_is_new_trends_once_it_is_more_than_a_handful() -> None:
    """Without any history, as nothing is expected of it."""
    steadily = [(0, age, 50) for age in range(100)]
    for count, trends in ((1, False), (2, False), (10, True)):
        found = trending(daily(*steadily, (1, 0, count)), 2, TODAY, Span(7))

        assert trends == (1 in found.targets)


def test_what_has_no_day_or_one_after_the_last_never_trends() -> None:
    """It is popular as if it were of today."""
    steadily = [(row, age, 10) for row in range(3) for age in range(60)]
    wrong = Daily(np.array([1, 2]), np.array([NO_DAY, TODAY + 400], np.int32), np.array([5000, 5000]))
    counted = daily(*steadily).joined(wrong)

    assert 0 == len(trending(counted, 3, TODAY, Span(7)).targets)
    assert 0 == len(trending(wrong, 3, None, Span()).targets)
    found = popular(counted, 3, TODAY, Span(7))
    assert [1, 2, 0] == found.targets.tolist()
    assert found.shares[0] == pytest.approx(5070 / 10_210)


def test_the_last_day_is_that_of_the_data_and_not_of_a_handful_of_wrong_times() -> None:
    """Wrong years, one after the other, or a day on which gaps were filled; but not a new day of a running service."""
    usual = [(day, 100) for day in range(1000, 1100)]

    assert 1099 == totals(*usual).newest
    assert 1099 == totals(*usual, (5000, 3), (9000, 1), (20_000, 2)).newest
    assert 1099 == totals(*usual, (5000, 190)).newest
    assert 5000 == totals(*usual, (5000, 900)).newest  # too many to be a mistake
    assert 1110 == totals(*usual, (1110, 1)).newest  # after a pause of ten days
    assert 5002 == totals(*usual, (5000, 1), (5001, 1), (5002, 1)).newest  # after years, but day after day
    assert 5 == totals((5, 1)).newest
    assert 400 == totals(*((day, 10) for day in range(100, 401, 100))).newest  # once in a hundred days, as a rule
    assert Totals.of(np.full(3, NO_DAY, np.int32), np.ones(3, np.int64)).newest is None


def test_counts_are_the_same_after_they_were_stored() -> None:
    """By type, and without some entities."""
    rows, days = np.array([0, 0, 2, 5]), np.array([NO_DAY, 7, 8, 9], np.int32)
    activity = Activity.build(6, rows, days, np.array([1, 2, 3, 4]))

    stored = Activity.from_arrays(activity.to_arrays())

    for entities in (range(3), range(2, 6)):
        assert [column.tolist() for column in vars(activity.of(entities)).values()] == [
            column.tolist() for column in vars(stored.of(entities)).values()
        ]
    assert [0, 3] == stored.of(range(2, 6)).rows.tolist()
    assert [0, 0, 5] == stored.without(np.array([2])).of(range(6)).rows.tolist()
    assert (9, 9) == (stored.newest, stored.without(np.array([2])).newest)


def test_a_half_life_is_chosen_where_taste_changes_and_none_where_it_does_not() -> None:
    """Every fortnight other targets, or the same all the time."""
    rng = np.random.default_rng(0)
    days = np.arange(200)
    same = rng.choice(50, (200, 40), p=np.arange(1, 51) / 1275)
    changing = (same + 7 * (days[:, None] // 14)) % 50
    ages = np.repeat(199 - days, 40)
    spans = [
        choose_spans(Daily(each.ravel(), (TODAY - ages).astype(np.int32), np.ones(8000, np.int64)), 50, TODAY)
        for each in (same, changing)
    ]

    assert Span() == spans[0]["popular"]
    assert spans[1]["popular"].half_life in (3.0, 7.0, 14.0)


@pytest.mark.parametrize(("lasting", "windows"), [(2, {1, 3}), (3, {1, 3}), (40, {7, 14, 30}), (60, {7, 14, 30})])
def test_the_window_of_what_trends_is_about_as_long_as_trends_last(lasting: int, windows: set[int]) -> None:
    """Targets rise for some days, now and then: short trends are gone before a week has told of them."""
    rng = np.random.default_rng(lasting)
    rates = np.ones((300, 240))
    for target, begin in zip(np.repeat(np.arange(300), 2), rng.integers(0, 240, 600), strict=True):
        rates[target, begin : begin + lasting] = 8
    counts = rng.poisson(rates)
    rows, days = np.nonzero(counts)
    counted = Daily(rows, (TODAY - 239 + days).astype(np.int32), counts[rows, days])

    assert choose_spans(counted, 300, TODAY)["trending"].window in windows


def test_where_nothing_has_a_time_a_week_is_recent() -> None:
    """And what is popular does not age; so it is where there is but one day."""
    for counted, newest in ((Daily.none(), None), (daily((0, 0, 5), (1, 0, 3)), TODAY)):
        assert {"popular": Span(), "trending": Span(7, 3.5)} == choose_spans(counted, 3, newest)
