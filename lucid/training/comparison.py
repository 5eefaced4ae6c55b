"""Two versions of a model beside each other: how well each found what was withheld of it, pair by pair.

Neither has seen what it is judged on, as each was judged before it was fitted on everything. Where both were judged on
the same withheld interactions of the same sources, as when a model is trained again on the same data, these sources
are compared one by one; else the means of different sources are, and the difference may also be one of the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lucid.evaluation.bootstrap import unpaired
from lucid.evaluation.figures import NAMES, compared, per_source
from lucid.evaluation.pair_quality import LEAST_SOURCES, Bootstrap, Differences
from lucid.evaluation.recorded import MODEL, RecordedPair
from lucid.model.pair_model import Pair
from lucid.training.held_out import read_held_out
from lucid.training.report import read_report
from lucid.typing import Rows
from lucid.versions.version import Version

_LEAST_SHARE = 0.5
"""Of the sources of either version that have to be the same, for these to stand for all; set by hand."""


@dataclass(frozen=True)
class PairComparison:
    """What a newer version is better by, positive, or worse, in each figure of a pair, such as `ndcg@10`.

    `on` says of which sources: `same` ones, or each version's own. Without differences where a reason says why.
    """

    source_type: str
    target_type: str
    sources: int
    on: Literal["same", "own"] | None = None
    differences: Differences | None = None
    reason: str | None = None

    @property
    def pair(self) -> Pair:
        return self.source_type, self.target_type


def compare_reports(older: Version, newer: Version) -> list[PairComparison]:
    """Compare all pairs that either version was judged on; the newer one need not be published yet,
    but has to have its precomputed store.

    Raises Damaged where a report cannot be read.
    """
    before = {pair.pair: pair for pair in read_held_out(older.folder).pairs}
    after = {pair.pair: pair for pair in read_held_out(newer.folder).pairs}
    drawn = read_report(newer.folder).bootstrap
    judged_before = [(pair.source_type, pair.target_type) for pair in read_report(older.folder).pairs]
    rows = _rows_in(older, newer, list(after.values()))
    found = []
    for pair in dict.fromkeys([*after, *judged_before]):
        if pair not in after or drawn is None:
            found.append(PairComparison(*pair, 0, reason=f"version {newer.number} was not judged on it"))
        elif pair not in before:
            found.append(PairComparison(*pair, 0, reason=f"version {older.number} has no held-out pairs of it"))
        else:
            found.append(_compare(before[pair], after[pair], rows, drawn))
    return found


def _compare(before: RecordedPair, after: RecordedPair, rows: Rows, drawn: Bootstrap) -> PairComparison:
    older, newer = (per_source(pair.withheld, pair.lists[MODEL]) for pair in (before, after))
    ours, theirs = _same_sources(before, after, rows)
    smaller = min(len(older), len(newer))
    if len(ours) >= max(LEAST_SOURCES, _LEAST_SHARE * smaller):
        return PairComparison(*after.pair, len(ours), "same", compared(newer[ours], older[theirs], drawn))
    if smaller < LEAST_SOURCES:
        return PairComparison(*after.pair, smaller, reason=f"{smaller} test sources are too few to tell a difference")
    return PairComparison(*after.pair, smaller, "own", dict(zip(NAMES, unpaired(newer, older, drawn), strict=True)))


def _rows_in(older: Version, newer: Version, judged: Sequence[RecordedPair]) -> Rows:
    """For rows that the newer version was judged on, those of the same entities in the older one; else -1."""
    asked = np.unique(np.concatenate([np.empty(0, np.int64), *(part for pair in judged for part in _rows_of(pair))]))
    there = [older.index.row_of_json(entity_id) for entity_id in newer.index.ids(asked)]
    rows = np.full(newer.config.entity_types.size, -1, np.int64)
    rows[asked] = [-1 if row is None else row for row in there]
    return rows


def _rows_of(pair: RecordedPair) -> tuple[Rows, Rows]:
    return pair.withheld.sources.astype(np.int64), pair.withheld.targets.astype(np.int64)


def _same_sources(before: RecordedPair, after: RecordedPair, rows: Rows) -> tuple[Rows, Rows]:
    """Positions, in the newer and in the older, of sources of which the same was withheld."""
    positions = {source: position for position, source in enumerate(before.withheld.sources.tolist())}
    found = []
    for position, source in enumerate(rows[after.withheld.sources].tolist()):
        there = positions.get(source)
        if there is not None and set(rows[after.withheld.of(position)]) == set(before.withheld.of(there)):
            found.append((position, there))
    ours, theirs = np.array(found, np.int64).reshape(-1, 2).T
    return ours, theirs
