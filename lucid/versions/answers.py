"""How the answers of one version differ from those of another, read from what both have computed ahead.

Of each pair a sample of sources is looked at, the same whenever two versions are compared; counts of sources are exact.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from lucid.model.pair_model import Pair
from lucid.typing import Rows
from lucid.versions.version import Version

TOP = 10
"""How much of each list is compared."""
SAMPLE = 1_000
"""Sources of a pair that are looked at."""
_SHOWN = 10
"""Targets that are named."""


@dataclass(frozen=True)
class Moved:
    """A target that has come into lists or has left them: of how many of the sources that were looked at."""

    id: str
    name: str
    lists: int


@dataclass(frozen=True)
class PairAnswers:
    """How the lists of a pair's sources moved from version a to version b; all shares are of those looked at.

    `changed` and `overlap` are of sources that both know, of which the lists were compared: the share of lists that
    hold other targets, and how much of them stayed on average. `lost` is the share of the sources with answers of their
    own in a that have none in b, be it that b does not know them, or knows nothing of them but popularity.
    """

    source_type: str
    target_type: str
    sources_in_both: int
    sources_only_in_a: int
    sources_only_in_b: int
    looked_at: int
    changed: float
    overlap: float
    lost: float
    entered: Sequence[Moved]
    left: Sequence[Moved]


def compare_answers(a: Version, b: Version, *, top: int = TOP, sample: int = SAMPLE) -> list[PairAnswers]:
    """Compare all pairs that both have computed ahead, in the order of a."""
    return [_compare(a, b, pair, top, sample) for pair in a.precomputed if pair in b.precomputed]


def pairs_only_in(a: Version, b: Version) -> list[Pair]:
    """Pairs that version a has computed ahead and version b has not."""
    return [pair for pair in a.precomputed if pair not in b.precomputed]


def _compare(a: Version, b: Version, pair: Pair, top: int, sample: int) -> PairAnswers:
    source_type, target_type = pair
    in_a, in_b = (version.index.hashes(version.config.entity_types.rows(source_type)) for version in (a, b))
    both = len(np.intersect1d(in_a, in_b, assume_unique=True))
    rows = _sample(a.config.sources(source_type), sample)
    there = [b.index.row_of_json(entity_id) for entity_id in a.index.ids(rows)]
    of_type = b.config.entity_types.rows(source_type)
    rows_in_b = np.array([row if row is not None and row in of_type else -1 for row in there], np.int64)
    own = np.array([a.knows(row) for row in rows.tolist()], bool)
    kept = np.array([row >= 0 and b.knows(row) for row in rows_in_b.tolist()], bool)
    length = min(top, a.precomputed[pair].slots, b.precomputed[pair].slots)
    shared = rows_in_b >= 0
    before = _lists(a, pair, rows[shared], length)
    after = _lists(b, pair, rows_in_b[shared], length)
    overlaps = [len(old & new) / max(len(old), len(new)) for old, new in zip(before, after, strict=True) if old or new]
    entered = Counter(target for old, new in zip(before, after, strict=True) for target in new - old)
    left = Counter(target for old, new in zip(before, after, strict=True) for target in old - new)
    return PairAnswers(
        source_type=source_type,
        target_type=target_type,
        sources_in_both=both,
        sources_only_in_a=len(in_a) - both,
        sources_only_in_b=len(in_b) - both,
        looked_at=len(rows),
        changed=float(np.mean([overlap < 1 for overlap in overlaps])) if overlaps else 0.0,
        overlap=float(np.mean(overlaps)) if overlaps else 1.0,
        lost=float(np.mean(~kept[own])) if own.any() else 0.0,
        entered=_named(b, entered),
        left=_named(a, left),
    )


def _sample(rows: Rows, most: int) -> Rows:
    """Some of the rows, always the same, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _lists(version: Version, pair: Pair, rows: Rows, length: int) -> list[set[bytes]]:
    """The first targets of some sources, as ids in JSON."""
    if not len(rows):
        return []
    best = version.precomputed[pair].top_n(rows, length)
    lists: list[set[bytes]] = [set() for _ in rows]
    for position, target in zip(best.positions.tolist(), version.index.ids(best.target_rows), strict=True):
        lists[position].add(target)
    return lists


def _named(version: Version, counts: Counter[bytes]) -> list[Moved]:
    """The most frequent targets with their names, those first that moved in most lists."""
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN]
    rows = [version.index.row_of_json(target) for target, _ in most]
    names = version.index.names(np.array(rows, np.int64))
    return [
        Moved(orjson.loads(target), orjson.loads(name), lists)
        for (target, lists), name in zip(most, names, strict=True)
    ]
