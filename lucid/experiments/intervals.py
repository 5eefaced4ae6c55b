"""Intervals of shares: of one look, and always-valid ones that may be looked at as often as one likes.

A share and a difference of shares have the score intervals of Wilson (1927) and Newcombe (1998, his method 10), which
also hold where few of many do something, and where none does. They take a critical value: 1.96 for one look, and for
any number of looks the one of a confidence sequence (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021; in the
asymptotic form of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021), which grows with the information there is.

Sources come back, so that a share grows after all of them have come: what is added to is not a mean of ever more
sources. Its information is therefore not their number but n p / (1 - p), for n sources of which the share p has done
it. Of two looks at the same n sources the shares correlate by sqrt(i / j), where i and j are their informations, just
as a Brownian motion does between the times i and j, which is what the critical value is made for; sources that
come between only make the looks more alike.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

ALPHA = 0.05
ONE_LOOK = 1.959963984540054
"""Two-sided 95% of a normal distribution."""
_BEST_AT = 400.0
"""So many sources that did it are where the always-valid interval is as narrow as it can be; set by hand: what is tried
for a week or two has some hundreds."""
_MIXED = _BEST_AT / 8.2
"""The precision of the normal mixture for that, of Waudby-Smith et al. (2021), equation 28 for alpha 0.05."""


def wilson(hits: Numbers, count: Numbers, critical: Numbers | float = ONE_LOOK) -> tuple[Numbers, Numbers]:
    """Ends of the interval of `hits / count`, from 0 to 1; 0 and 1 where nothing was counted."""
    n = np.maximum(np.asarray(count, np.float64), 0)
    z2 = np.asarray(critical, np.float64) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, hits / np.maximum(n, 1), 0.5)
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2) / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    low = np.where((n > 0) & (share > 0), np.maximum(middle - half, 0), 0)
    high = np.where((n > 0) & (share < 1), np.minimum(middle + half, 1), 1)
    return low, high


def always_valid(hits: Numbers, count: Numbers) -> tuple[Numbers, Numbers]:
    """Ends of the interval of a share of sources that holds at all looks together, with 95%."""
    return wilson(hits, count, _critical(_information(hits, count)))


def difference(hits: Numbers, count: Numbers, hits_b: Numbers, count_b: Numbers) -> tuple[Numbers, Numbers]:
    """Ends of the interval of the second share less the first that holds at all looks together, with 95%.

    The information is that of both together, and no more than the smaller one can give: with parts of a and b of all
    sources, 4 a b of it.
    """
    together = np.maximum(np.asarray(count, np.float64) + count_b, 1)
    balance = 4 * (count / together) * (count_b / together)
    critical = _critical(balance * _information(np.asarray(hits) + hits_b, together))
    low, high = wilson(hits, count, critical)
    low_b, high_b = wilson(hits_b, count_b, critical)
    first, second = hits / np.maximum(count, 1), hits_b / np.maximum(count_b, 1)
    down = np.sqrt((second - low_b) ** 2 + (high - first) ** 2)
    up = np.sqrt((high_b - second) ** 2 + (first - low) ** 2)
    some = (np.asarray(count) > 0) & (np.asarray(count_b) > 0)
    return np.where(some, second - first - down, -1.0), np.where(some, second - first + up, 1.0)


def _information(hits: Numbers, count: Numbers) -> Numbers:
    """n p / (1 - p), see above; all but one have done it at most, for else it would be infinite."""
    n = np.maximum(np.asarray(count, np.float64), 1)
    return np.asarray(hits * n / np.maximum(n - hits, 1), np.float64)


def _critical(information: Numbers) -> Numbers:
    """By how many standard errors a look may be off, so that all looks hold together; never less than of one look."""
    known = np.maximum(np.asarray(information, np.float64), 1e-3)
    mixed = known + _MIXED
    return np.asarray(np.sqrt(mixed / known * np.log(mixed / (_MIXED * ALPHA**2))), np.float64)
