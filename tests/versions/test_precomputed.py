"""The precomputed store: records hold what was ranked, to the last digit, and each is found by its row."""

from pathlib import Path

import numpy as np
import pytest

from lucid.errors import DamagedVersion
from lucid.graph.entity_types import EntityTypes
from lucid.model.top_n import TopN
from lucid.schema.training import PrecomputePair
from lucid.versions.precomputed import MILLION, UNUSED, PrecomputedPair, open_pairs, record_file, records, write_pairs

TYPES = EntityTypes(("item", "user"), (0, 10, 14))
BEST = TopN(np.array([0, 0, 2, 2, 2]), np.array([3, 1, 9, 0, 4]), np.array([99.999999, 0.000001, 50.5, 50.5, 0.0]))
"""Two targets of the first user, none of the second and the fourth, three of the third."""


@pytest.fixture
def pair(tmp_path: Path) -> PrecomputedPair:
    asked = PrecomputePair(source_type="user", target_type="item", max_recommendations=3)
    (tmp_path / record_file(0)).write_bytes(records(BEST, 4, 3).tobytes())
    write_pairs(tmp_path, [(asked, 3)])
    return open_pairs(tmp_path, TYPES)["user", "item"]


@pytest.mark.parametrize("rows", [[10, 11, 12, 13], [12, 10], [13], [11, 13]])
def test_what_was_ranked_is_read_again(pair: PrecomputedPair, rows: list[int]) -> None:
    """For sources in any order, next to each other or not, with none, some or all slots used."""
    found = pair.top_n(np.array(rows), 3)

    expected = [(target, score) for row in rows for target, score in ranked(row)]
    assert expected == list(zip(found.target_rows.tolist(), found.scores.tolist(), strict=True))
    assert [position for position, row in enumerate(rows) for _ in ranked(row)] == found.positions.tolist()


def ranked(row: int) -> list[tuple[int, float]]:
    mine = BEST.positions == row - 10
    return list(zip(BEST.target_rows[mine].tolist(), BEST.scores[mine].tolist(), strict=True))


def test_fewer_may_be_asked_than_were_computed(pair: PrecomputedPair) -> None:
    """The first ones, in the same order."""
    assert [3, 9] == pair.top_n(np.array([10, 12]), 1).target_rows.tolist()


def test_one_record_is_read_as_it_is_stored(pair: PrecomputedPair) -> None:
    """Targets, unused slots last, and scores in millionths of a point."""
    targets, scores = pair.record(10)

    assert [3, 1, UNUSED] == targets.tolist()
    assert [99.999999, 0.000001, 0] == [score / MILLION for score in scores.tolist()]


def test_a_file_that_ends_before_a_record_is_damaged(pair: PrecomputedPair, tmp_path: Path) -> None:
    """Which is said, instead of an answer of other numbers."""
    with (tmp_path / record_file(0)).open("r+b") as file:
        file.truncate(3 * 24 + 1)

    assert 3 == len(pair.top_n(np.array([12]), 3).target_rows)
    with pytest.raises(DamagedVersion, match="ends before its last one"):
        pair.record(13)
