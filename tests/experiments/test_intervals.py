"""Intervals: known values, and what always-valid ones promise in simulated experiments, looked at each day."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lucid.experiments.intervals import always_valid, difference, wilson

DAYS, TESTS, SOURCES = 60, 1000, 3000
Counts = NDArray[np.float64]


def simulated(
    seed: int, *, convert: float, lift: float = 1.0, share: float = 0.5, all_at_once: bool = False, visit: float = 0.2
) -> tuple[Counts, Counts, Counts, Counts]:
    """Sources that have converted, and sources, of two variants at the end of each day: four times (tests, days).

    Sources first come on any day, or all on the first one. They convert then with a chance, and on each later day with
    that chance times a number that differs between sources as those of people do (exponential), if they come back.
    """
    rng, size = np.random.default_rng(seed), (TESTS, SOURCES)
    first = rng.integers(0, 1 if all_at_once else DAYS, size)
    second = rng.random(size) < share
    chance = np.minimum(convert * np.where(second, lift, 1), 1)
    later = np.minimum(visit * chance * rng.exponential(1, size), 0.999)
    waits = np.floor(np.log(rng.random(size)) / np.log1p(-later)) + 1
    converted = first + np.where(rng.random(size) < chance, 0, np.minimum(waits, DAYS)).astype(np.int64)
    test = np.broadcast_to(np.arange(TESTS)[:, None], size)

    def by_day(which: NDArray[np.bool_], day: NDArray[np.int64]) -> Counts:
        found = np.zeros((TESTS, DAYS))
        np.add.at(found, (test[which], day[which]), 1)
        return found.cumsum(axis=1)

    soon = converted < DAYS
    a, b = ((by_day(of & soon, converted), by_day(of, first)) for of in (~second, second))
    return *a, *b


def alarms(hits: Counts, count: Counts, hits_b: Counts, count_b: Counts) -> float:
    """The share of tests in which one of the looks says that there is a difference."""
    low, high = difference(hits, count, hits_b, count_b)
    return float(((low > 0) | (high < 0)).any(axis=1).mean())


@pytest.mark.parametrize(
    ("how", "looks"),
    [
        ("sources come each day, conversions are rare", {"convert": 0.01}),
        ("conversions are very rare", {"convert": 0.002}),
        ("conversions are common", {"convert": 0.3}),
        ("all sources come at once, and come back", {"convert": 0.02, "all_at_once": True, "visit": 0.5}),
        ("nearly all convert in the end", {"convert": 0.3, "all_at_once": True, "visit": 0.8}),
        ("a tenth gets the second variant", {"convert": 0.01, "share": 0.1}),
    ],
)
def test_a_thousand_tests_of_nothing_raise_few_false_alarms(how: str, looks: dict[str, float]) -> None:
    """Looked at on each of 60 days; intervals of one look would cry in a quarter of the tests or more."""
    found = simulated(7, **looks)  # type: ignore[arg-type]

    assert alarms(*found) <= 0.05, how
    hits, count, hits_b, count_b = found
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (hits + hits_b) / (count + count_b)
        z = (hits_b / count_b - hits / count) / np.sqrt(pooled * (1 - pooled) * (1 / count + 1 / count_b))
    assert float((np.abs(np.nan_to_num(z)) > 1.96).any(axis=1).mean()) > 0.2, "the control: what naive looks would do"


@pytest.mark.parametrize(("convert", "lift"), [(0.05, 1.5), (0.01, 2.0), (0.05, 0.6)])
def test_real_effects_are_found(convert: float, lift: float) -> None:
    """Nearly always, and never with the wrong sign."""
    hits, count, hits_b, count_b = simulated(11, convert=convert, lift=lift)
    low, high = difference(hits, count, hits_b, count_b)

    right, wrong = (low > 0, high < 0) if lift > 1 else (high < 0, low > 0)
    assert right.any(axis=1).mean() > 0.9
    assert wrong.any(axis=1).mean() < 0.005


@pytest.mark.parametrize("all_at_once", [False, True])
def test_intervals_of_a_variant_hold_at_all_looks(all_at_once: bool) -> None:
    """Of the rates that all of a thousand tests have together on a day, at most 5% of the tests ever leave one out."""
    hits, count, *_ = simulated(3, convert=0.03, all_at_once=all_at_once)
    low, high = always_valid(hits, count)
    truth = hits.sum(axis=0) / count.sum(axis=0)

    assert float(((low > truth) | (high < truth)).any(axis=1).mean()) <= 0.05


def test_intervals_of_a_difference_hold_at_all_looks() -> None:
    """Also where there is one."""
    found = simulated(5, convert=0.03, lift=1.5)
    low, high = difference(*found)
    hits, count, hits_b, count_b = (each.sum(axis=0) for each in found)
    truth = hits_b / count_b - hits / count

    assert float(((low > truth) | (high < truth)).any(axis=1).mean()) <= 0.05


def test_the_interval_of_one_look_is_wilsons() -> None:
    """Wilson's interval solves (p - share)^2 = z^2 p (1 - p) / n; the ends of 0 of n and n of n are 0 and 1."""
    hits, count = np.array([0.0, 1, 7, 30, 50]), np.full(5, 50.0)
    low, high = wilson(hits, count)

    for end in (low, high):
        inside = (end > 0) & (end < 1)
        gap = (end - hits / count) ** 2 - 1.959963984540054**2 * end * (1 - end) / count
        assert np.allclose(gap[inside], 0, atol=1e-12)
    assert 0 == low[0] < high[0] < 0.08
    assert 0.92 < low[4] < high[4] == 1


def test_always_valid_intervals_are_wider_than_those_of_one_look() -> None:
    """At every count, and both shrink as more is known."""
    count = 10.0 ** np.arange(1, 8)
    hits = count / 10
    low, high = always_valid(hits, count)
    once_low, once_high = wilson(hits, count)

    assert ((low <= once_low) & (high >= once_high)).all()
    assert (np.diff(high - low) < 0).all()


def test_nothing_is_known_of_nothing() -> None:
    nothing = np.array(0.0)

    assert (0, 1) == tuple(map(float, wilson(nothing, nothing)))
    assert (-1, 1) == tuple(map(float, difference(nothing, nothing, np.array(3.0), np.array(9.0))))
