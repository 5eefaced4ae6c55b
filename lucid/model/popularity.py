"""Popularity: lists that are the same for all sources, of what is popular and of what is trending.

*Popular* are the targets that most sources interacted with, recently if older days count less. *Trending* are those
with more recent interactions than their share of all interactions makes expect, and more than chance explains: the
shrunk observed-to-expected ratio of Norén, Hopstadius and Bate (2013, Statistical Methods in Medical Research 22(1)),
of which the lower end of the 95% interval counts. So a handful of interactions makes nothing trend, nor does a day on
which everything is interacted with more than usual.

Ages count in days from the newest day that is believed, see `lucid.graph.activity`. What has no day, or one that is
after that, is popular as if it were of today and never trends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.activity import NO_DAY
from lucid.graph.activity import Daily
from lucid.schema.fields import ForAll
from lucid.typing import Rows

_Numbers = NDArray[np.float64]
_HALF_LIVES = (None, 365.0, 180.0, 90.0, 30.0, 14.0, 7.0, 3.0, 1.0)
"""Days after which an interaction is half as popular: what is tried, the longest first."""
_WINDOWS = (7, 3, 1, 14, 30)
"""Days that are recent: what is tried, those first that are taken where none is better. Half of it is the half-life."""
_TESTED_DAYS = 28
"""The latest days, on which is tried what the days before foretell."""
_FIRST = 10
"""So many of the first are judged of what trends."""
_PRIOR = 0.5
"""Interactions that are added to the observed and the expected ones, as Norén et al. have it."""
_ANY = 0.1
"""The chance that the next interaction is with any target, while half-lives are compared; set by hand."""


@dataclass(frozen=True)
class Span:
    """What counts as recent, in days: nothing older than the window, and half as much after each half-life.

    None for no such limit.
    """

    window: int | None = None
    half_life: float | None = None

    def weights(self, ages: NDArray[np.int64]) -> _Numbers:
        """What an interaction of an age (days, 0 for today) counts."""
        weights = np.ones(len(ages)) if self.half_life is None else 0.5 ** (ages / self.half_life)
        return weights if self.window is None else np.where(ages < self.window, weights, 0.0)


@dataclass(frozen=True)
class Standing:
    """Targets of one type with their scores and shares, (k) each, the best first, equal ones in the order of rows.

    Targets count from the first of their type. The share (0-1) of the type's interactions that are with a target is the
    chance that the next one is. Scores: 0 to 100.

    Of what is popular the score is 100 x the share of the type's interactions that are with less popular targets, half
    of those with equally popular ones included, as that of other recommendations. Of what trends it is the share of its
    recent interactions, in percent, that are beyond what was to be expected; at least that, with 97.5% certainty.
    """

    targets: Rows
    scores: _Numbers
    shares: _Numbers

    def first(self, count: int) -> "Standing":
        return Standing(self.targets[:count], self.scores[:count], self.shares[:count])

    def part(self, mask: NDArray[np.bool_]) -> "Standing":
        return Standing(self.targets[mask], self.scores[mask], self.shares[mask])


def popular(daily: Daily, targets: int, newest: int | None, span: Span) -> Standing:
    """All targets, counted from the first of so many, that were interacted with; in the window, if there is one."""
    weighed, there = _popular_weights(daily, newest, span)
    weights = _sums(daily.rows, weighed * daily.counts, targets)
    listed = np.flatnonzero(_sums(daily.rows[there], daily.counts[there], targets))
    shares = np.round(weights[listed] / max(weights.sum(), 1e-300), 12)  # equal ones shall be equal
    _, group = np.unique(shares, return_inverse=True)
    each = _sums(group, shares, 0)
    below = each.cumsum() - each / 2 if len(listed) else each
    return _ordered(listed, 100 * below[group], shares)


def trending(daily: Daily, targets: int, newest: int | None, span: Span) -> Standing:
    """The targets, counted from the first of so many, with more interactions of late than is to be expected."""
    if newest is None:
        return _ordered(np.empty(0, np.int64), np.empty(0), np.empty(0))
    known = (daily.days != NO_DAY) & (daily.days <= newest)
    rows, ages = daily.rows[known], newest - daily.days[known].astype(np.int64)
    counts = daily.counts[known].astype(np.float64)
    recent = _sums(rows, span.weights(ages) * counts, targets)
    ever = _sums(rows, counts, targets)
    return _surprising(recent, ever, _spread(span, int(ages.max(initial=0)) + 1))


def _surprising(recent: _Numbers, ever: _Numbers, spread: float) -> Standing:
    """Targets by how many more recent interactions they have than their share of all makes expect."""
    listed = np.flatnonzero(recent)
    shares = np.round(recent[listed] / max(recent.sum(), 1e-300), 12)
    observed = spread * recent[listed] + _PRIOR
    expected = spread * recent.sum() * ever[listed] / max(ever.sum(), 1.0) + _PRIOR
    least = np.log2(observed / expected) - 3.3 * observed**-0.5 - 2 * observed**-1.5
    scores = np.round(100 * (1 - 2.0 ** -np.maximum(least, 0)), 6)
    trends = scores > 0
    return _ordered(listed[trends], scores[trends], shares[trends])


def _sums(rows: Rows, weights: NDArray[Any], targets: int) -> _Numbers:
    """The weights of each of so many targets, added."""
    return np.asarray(np.bincount(rows, weights, targets), np.float64)


def _spread(span: Span, days: int) -> float:
    """What decayed counts are multiplied with to be spread as counts are: by their mean, which is their variance."""
    weights = span.weights(np.arange(min(days, span.window or days)))
    return float(weights.sum() / np.square(weights).sum())


def _popular_weights(daily: Daily, newest: int | None, span: Span) -> tuple[_Numbers, NDArray[np.bool_]]:
    """What each interaction counts, and which are in the window; those without a day count in full."""
    weights, there = np.ones(len(daily.rows)), np.ones(len(daily.rows), bool)
    if newest is not None:
        known = (daily.days != NO_DAY) & (daily.days <= newest)
        ages = newest - daily.days[known].astype(np.int64)
        weights[known] = span.weights(ages)
        if span.window is not None:
            there[known] = ages < span.window
    return weights, there


def _ordered(targets: Rows, scores: _Numbers, shares: _Numbers) -> Standing:
    scores = np.round(scores, 6)
    order = np.lexsort((targets, -scores))
    return Standing(targets[order], scores[order], shares[order])


STANDINGS: dict[ForAll, Callable[[Daily, int, int | None, Span], Standing]] = {"popular": popular, "trending": trending}


# What is recent where a question does not say


def choose_spans(daily: Daily, targets: int, newest: int | None) -> dict[ForAll, Span]:
    """What counts as recent in lists of a type: what foretold its latest days best from the days before them.

    What is popular is to make each day's interactions as likely as can be (the discount factor of a dynamic model, by
    its one-step-ahead predictions: West and Harrison, Bayesian Forecasting and Dynamic Models, 1997, chapter 10). The
    first of what trends are to have as many interactions as can be, on the day after, beyond their share of all. Of
    those within one standard error of the best (Breiman et al. 1984) the longest half-life is taken, and the window
    that is nearest to a week.
    """
    spans: dict[ForAll, Span] = {"popular": Span(), "trending": Span(_WINDOWS[0], _WINDOWS[0] / 2)}
    known = (daily.days != NO_DAY) & (daily.days <= newest) if newest is not None else np.zeros(len(daily.rows), bool)
    days = np.unique(daily.days[known]).astype(np.int64)
    tested = days[max(1, len(days) - _TESTED_DAYS) :]
    if not len(tested):
        return spans
    order = np.argsort(daily.days[known], kind="stable")
    sorted_days = daily.days[known][order].astype(np.int64)
    timed = Daily(daily.rows[known][order], sorted_days.astype(np.int32), daily.counts[known][order])
    untimed = _sums(daily.rows[~known], daily.counts[~known], targets)
    likely = np.array([_log_likelihoods(timed, untimed, tested, half_life) for half_life in _HALF_LIVES])
    spans["popular"] = Span(half_life=_HALF_LIVES[_first_of_the_best(likely)])
    tried = [Span(window, window / 2) for window in _WINDOWS]
    beyond = np.array([_beyond_expectation(timed, targets, tested, span) for span in tried])
    spans["trending"] = tried[_first_of_the_best(beyond)]
    return spans


def _first_of_the_best(found: _Numbers) -> int:
    """The first of several, (tried, days), of which the days do not tell that it is worse than the best."""
    behind = found[int(np.argmax(found.sum(axis=1)))] - found
    days = found.shape[1]
    error = np.sqrt(days) * behind.std(axis=1, ddof=1) if days > 1 else np.zeros(len(found))
    return int(np.flatnonzero(behind.sum(axis=1) <= error)[0])


def _log_likelihoods(timed: Daily, untimed: _Numbers, tested: Rows, half_life: float | None) -> list[float]:
    """Of the interactions of each tested day, given those before it; `timed` is sorted by day."""
    span, targets = Span(half_life=half_life), len(untimed)
    before = slice(0, _place(timed, int(tested[0])))
    today, found = int(tested[0]), []
    ages = today - timed.days[before].astype(np.int64)
    aged = _sums(timed.rows[before], span.weights(ages) * timed.counts[before], targets)
    for day in tested.tolist():
        aged *= span.weights(np.array([day - today]))[0]
        of_day, today = _on(timed, day), day
        weights = aged + untimed
        chances = (1 - _ANY) * weights / max(weights.sum(), 1e-300) + _ANY / targets
        found.append(float(timed.counts[of_day] @ np.log(chances[timed.rows[of_day]])))
        aged += _sums(timed.rows[of_day], timed.counts[of_day], targets)
    return found


def _beyond_expectation(timed: Daily, targets: int, tested: Rows, span: Span) -> list[float]:
    """Interactions of each tested day with the first of what trended on the day before, beyond their share of all."""
    before, found = slice(0, _place(timed, int(tested[0]))), []
    ever = _sums(timed.rows[before], timed.counts[before], targets)
    assert span.window is not None
    for day in tested.tolist():
        newest = day - 1
        recent = slice(_place(timed, newest - span.window + 1), _place(timed, day))
        weights = span.weights(newest - timed.days[recent].astype(np.int64)) * timed.counts[recent]
        lately = _sums(timed.rows[recent], weights, targets)
        first = _surprising(lately, ever, _spread(span, newest - int(timed.days[0]) + 1)).first(_FIRST).targets
        of_day = _on(timed, day)
        of_today = _sums(timed.rows[of_day], timed.counts[of_day], targets)
        found.append(float((of_today[first] - of_today.sum() * ever[first] / max(ever.sum(), 1.0)).sum()))
        ever += of_today
    return found


def _on(timed: Daily, day: int) -> slice:
    return slice(_place(timed, day), _place(timed, day + 1))


def _place(timed: Daily, day: int) -> int:
    """Where the counts of a day begin."""
    return int(np.searchsorted(timed.days, np.int32(day)))
