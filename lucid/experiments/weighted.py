"""Rates weighted by inverse propensity, of the rows of placements that explore.

Of such a row the target was drawn by chance, with a known propensity p given the rows above. A sum of 1/p over the rows
with an event is, in the mean, the sum over all targets that might have stood there, however seldom they do (Horvitz and
Thompson 1952). Divided by the sum of 1/p over all rows, as the self-normalised estimator of Swaminathan and Joachims
(2015) is, it tells what the rate would be if every one of them were as likely as the others: what rows are worth that
nobody has ranked. The interval is that of Wilson (1927) for as many rows as would tell as much unweighted, the square
of the sum of weights by the sum of their squares (Kish 1965).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucid.experiments.intervals import wilson
from lucid.schema.attribution import WeightedRate
from lucid.store.impression_log import ImpressionLog

_DECIMALS = 6

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Weighted:
    """Sums of weights of a group of rows: of all, of their squares, and of those with events of each type."""

    total: float
    squares: float
    hits: Mapping[str, float]

    def rate(self, event_type: str) -> WeightedRate:
        """Of the events of a type; of none, where no row that explores has led to one."""
        rate = min(1.0, self.hits.get(event_type, 0.0) / self.total)  # sums in another order differ a little
        rows = self.total**2 / self.squares
        low, high = wilson(np.array(rate * rows), np.array(rows))
        return WeightedRate(
            rate=round(rate, _DECIMALS), low=round(float(low), _DECIMALS), high=round(float(high), _DECIMALS)
        )


def weighted(log: ImpressionLog, shown: str, values: Sequence[object], names: Sequence[str]) -> dict[Key, Weighted]:
    """The groups that have rows that explore; `shown` are the answers `a` and impressions `i` that count, as SQL.

    `names` are columns of impressions, or `rank`. Rows that could be no others, such as pins, tell nothing of chance.
    """
    rows = (
        "SELECT i.answer, i.place, i.version, i.source_type, i.target_type, 1 / p.value AS weight, "
        "coalesce(json_extract(i.ranks, '$[' || p.key || ']'), p.key + 1) AS rank "
        f"FROM {shown.replace(' WHERE', ' JOIN json_each(i.propensities) p WHERE')} AND p.value < 1"
    )
    columns = "".join(f"{name}, " for name in names)
    grouped = f"GROUP BY {', '.join(names)}" if names else ""
    sums = log.select(f"SELECT {columns}sum(weight), sum(weight * weight) FROM ({rows}) {grouped}", values)
    found = {tuple(key): (total, squares) for *key, total, squares in sums if total is not None}
    if not found:
        return {}
    hits: defaultdict[Key, dict[str, float]] = defaultdict(dict)
    for *key, event_type, weight in log.select(
        f"SELECT {columns}type, sum(weight) FROM "
        f"(SELECT DISTINCT e.*, r.type FROM ({rows}) e JOIN responses r USING (answer, place, rank)) "
        f"GROUP BY {columns}type",
        values,
    ):
        hits[tuple(key)][event_type] = weight
    return {key: Weighted(*sums_of, hits[key]) for key, sums_of in found.items()}
