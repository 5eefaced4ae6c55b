"""Drift: what is odd about a batch is said, with figures, and ordinary data say nothing."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lucid.data.drift import Drift, find_drift
from lucid.errors import TrainingFailed
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

Row = Sequence[Any]
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def seen(
    rows: int = 300,
    *,
    day: int = 0,
    days: float = 10,
    types: Sequence[str] = ("view", "buy"),
    source: Callable[[int], int] = lambda number: number % 60,
    seed: int = 0,
) -> list[Row]:
    """Ordinary interactions: two of three are the first type, times spread over the days."""
    rng = random.Random(seed)
    return [
        (
            types[0] if number % 3 else types[-1],
            f"u{source(number)}",
            f"v{rng.randrange(40)}",
            (BEGIN + timedelta(days=day + days * number / rows)).isoformat(),
            "",
        )
        for number in range(rows)
    ]


def videos(rows: int = 200, *, metadata: str = '{"genre": "drama"}', first: int = 0, kind: str = "video") -> list[Row]:
    return [(f"v{number}", kind, "", metadata, "") for number in range(first, first + rows)]


@pytest.fixture
def drift_of(workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> Callable[..., list[Drift]]:
    def found(*files: list[Row]) -> list[Drift]:
        for number, rows in enumerate(files):
            write = entities_csv if rows[0][1] in ("video", "user") else interactions_csv
            workspace.import_files(write(*rows, name=f"{number}.csv"))
        home = workspace.settings.home
        return find_drift(home, Catalog(home).batches.select(None))

    return found


def codes(found: list[Drift]) -> list[str]:
    return [drift.code for drift in found]


def untimed(rows: list[Row]) -> list[Row]:
    return [(*row[:3], "", "") for row in rows]


def at(moment: str, rows: list[Row]) -> list[Row]:
    return [(*row[:3], moment, "") for row in rows]


ODD: dict[str, list[list[Row]]] = {
    "dominant_source": [seen(source=lambda number: 7 if number % 2 else number % 60)],
    "same_timestamps": [at("2025-03-01T00:00:00Z", seen())],
    "zero_timestamps": [[*seen(), *at("1970-01-01T00:00:00Z", seen(20))]],
    "rejected_rows": [[*seen(), *at("yesterday", seen(60))]],
    "similar_types": [[*seen(), *seen(5, types=("View", "View"))]],
    "repeated_batch": [seen(), seen()],
    "new_type": [seen(), [*seen(day=11, seed=1), *seen(9, day=11, types=("veiw", "veiw"))]],
    "vanished_type": [seen(), seen(day=11, types=("view",))],
    "changed_shares": [seen(), seen(day=11, types=("buy", "view"), seed=1)],
    "changed_rate": [seen(3000), seen(4000, day=11, days=0.1, seed=1)],
    "vanished_timestamps": [seen(), untimed(seen(seed=1))],
    "vanished_key": [videos(), videos(first=200, metadata='{"length": 3}')],
}
"""What is found, and files in which it is."""


@pytest.mark.parametrize("code", ODD)
def test_what_is_odd_is_found_in_the_batch_that_is(code: str, drift_of: Callable[..., list[Drift]]) -> None:
    """With a sentence that has its figures, and nothing else but what follows from it."""
    found = drift_of(*ODD[code])

    (drift,) = [one for one in found if one.code == code]
    assert drift.figures
    assert drift.message
    assert {one.batch_id for one in found} == {drift.batch_id}
    assert len(found) <= 2


ORDINARY: dict[str, list[list[Row]]] = {
    "a file for each type": [videos(), videos(kind="user", metadata=""), seen(types=("view",)), seen(types=("buy",))],
    "one day after the other": [seen(100, day=day, days=1, seed=day) for day in range(6)],
    "a history and then days": [seen(3000, days=100), *(seen(70, day=101 + day, days=1, seed=day) for day in range(4))],
    "a shop that grows to three times": [seen(300), seen(900, day=11, seed=1), seen(2700, day=22, seed=2)],
    "times that are days": [[(*row[:3], row[3][:10], "") for row in seen()]],
    "no times at all": [untimed(seen()), untimed(seen(seed=1))],
    "few sources": [seen(source=lambda number: number % 3)],
    "few rows": [at("2025-03-01", seen(20, source=lambda number: 1)), seen(5, day=11)],
    "a few bad rows": [[*seen(), *at("yesterday", seen(9))]],
    "updates of a few entities": [videos(), videos(20, metadata="")],
    "parts of one history at random": [seen(seed=1, days=100), seen(100, days=100, seed=2)],
    "a key that some have": [videos(), [*videos(100, first=200), *videos(100, first=300, metadata="")]],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_data_say_nothing(name: str, drift_of: Callable[..., list[Drift]]) -> None:
    """Nobody reads what cries wolf."""
    assert [] == codes(drift_of(*ORDINARY[name]))


def test_whose_share_it_is_stands_apart_from_the_sentence(drift_of: Callable[..., list[Drift]]) -> None:
    """So that erasure finds it."""
    (drift,) = drift_of(*ODD["dominant_source"])

    assert ["u7"] == drift.examples
    assert "u7" not in drift.message
    assert pytest.approx(0.5) == drift.figures["share"]
    assert drift.message.startswith("one of 31 sources has 50% of its 300 interactions")


def test_a_batch_that_was_deleted_is_told(workspace: Workspace, interactions_csv: WriteCsv) -> None:
    """As the selection tells it."""
    workspace.import_files(interactions_csv(*seen()))
    batches = Catalog(workspace.settings.home).batches.select(None)
    workspace.delete_batches([batches[0].batch_id])

    with pytest.raises(TrainingFailed, match="was deleted"):
        find_drift(workspace.settings.home, batches)
