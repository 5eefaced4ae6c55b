"""Intervals and tests over sources, whose random numbers the standard library gives as well.

`random.Random` and NumPy's legacy generator are both the Mersenne twister (Matsumoto and Nishimura 1998) and make
doubles of it alike, so `lucid.verify` draws the same resamples without NumPy.
"""

import math
import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.pair_quality import LEAST_SOURCES, Bootstrap, Difference, Interval

Numbers = NDArray[np.float64]

SIGNIFICANT = 0.05
DECIMALS = 8
"""Figures are kept to so many."""
_SAME = 1e-9
"""What differs by less is the same: sums that are added in another order."""


def intervals(values: Numbers, drawn: Bootstrap) -> list[Interval]:
    """Means over sources of columns (sources, n) with percentile bootstrap intervals (Efron 1979)."""
    means = values.mean(axis=0)
    if len(values) < LEAST_SOURCES:
        return [Interval(_kept(mean), None, None) for mean in means]
    resampled = _resamples(len(values), drawn) @ values / len(values)
    return [Interval(*map(_kept, ends)) for ends in zip(means, *_ends(resampled, drawn), strict=True)]


def differences(values: Numbers, others: Numbers, drawn: Bootstrap) -> list[Difference]:
    """Mean differences of columns (sources, n) on the same sources, positive where the first are higher.

    A difference is significant where its bootstrap interval leaves zero out and the paired randomization test says
    p < 0.05: which of the two is which is decided anew by a coin for each source (Smucker, Allan and Carterette 2007).
    The interval alone is too sure of itself where few sources differ at all.
    """
    paired = values - others
    found = intervals(paired, drawn)
    if len(paired) < LEAST_SOURCES:
        return [Difference(one.mean, None, None, None, False) for one in found]
    flipped = np.abs(_signs(len(paired), drawn) @ paired) / len(paired)
    as_far = (flipped >= np.abs(paired.mean(axis=0)) - _SAME).sum(axis=0)
    return [
        Difference(one.mean, one.low, one.high, _kept(p), _leaves_out_zero(one) and bool(p < SIGNIFICANT))
        for one, p in zip(found, (1 + as_far) / (1 + drawn.resamples), strict=True)
    ]


def unpaired(values: Numbers, others: Numbers, drawn: Bootstrap) -> list[Difference]:
    """Differences of means of columns over different sources, with the p that a normal distribution with the
    resamples' deviation gives; significant where the interval leaves zero out as well."""
    means = values.mean(axis=0) - others.mean(axis=0)
    if min(len(values), len(others)) < LEAST_SOURCES:
        return [Difference(_kept(mean), None, None, None, False) for mean in means]
    second = Bootstrap(drawn.seed + 2, drawn.resamples, drawn.confidence)
    resampled = _resamples(len(values), drawn) @ values / len(values) - _resamples(len(others), second) @ others / len(
        others
    )
    found = [Interval(*map(_kept, ends)) for ends in zip(means, *_ends(resampled, drawn), strict=True)]
    deviations = np.maximum(resampled.std(axis=0), _SAME)
    tails = [
        math.erfc(abs(one.mean) / deviation / math.sqrt(2)) for one, deviation in zip(found, deviations, strict=True)
    ]
    return [
        Difference(one.mean, one.low, one.high, _kept(p), _leaves_out_zero(one) and p < SIGNIFICANT)
        for one, p in zip(found, tails, strict=True)
    ]


def _leaves_out_zero(one: Interval) -> bool:
    assert one.low is not None
    assert one.high is not None
    return one.low > _SAME or one.high < -_SAME


def _ends(resampled: Numbers, drawn: Bootstrap) -> tuple[Numbers, Numbers]:
    rest = (1 - drawn.confidence) / 2
    low, high = np.quantile(resampled, (rest, 1 - rest), axis=0)
    return low, high


def _kept(figure: float) -> float:
    return round(float(figure), DECIMALS)


@lru_cache(maxsize=16)
def _resamples(sources: int, drawn: Bootstrap) -> Numbers:
    """How often each source is drawn in each resample, (resamples, sources)."""
    chosen = (_doubles(drawn.seed, drawn.resamples * sources) * sources).astype(np.int64)
    each = np.repeat(np.arange(drawn.resamples), sources) * sources + chosen
    counts = np.bincount(each, minlength=drawn.resamples * sources)
    return counts.reshape(drawn.resamples, sources).astype(np.float64)


@lru_cache(maxsize=16)
def _signs(sources: int, drawn: Bootstrap) -> Numbers:
    """One or minus one for each source in each repeat, (repeats, sources)."""
    coins = _doubles(drawn.seed + 1, drawn.resamples * sources).reshape(drawn.resamples, sources)
    return np.where(coins < 0.5, -1.0, 1.0)


def _doubles(seed: int, count: int) -> Numbers:
    """What as many calls of `random.Random(seed).random()` give."""
    _, state, _ = random.Random(seed).getstate()  # noqa: S311 - for statistics
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(state[:-1], np.uint32), state[-1], 0, 0.0))
    return generator.random_sample(count)
