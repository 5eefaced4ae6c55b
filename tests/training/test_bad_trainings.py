"""Trainings that must not go live unseen, and ones that must: on the generated catalogue, with its planted tastes."""

import csv
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from lucid.demo.catalogue import generate
from lucid.schema.fields import format_time, utc_now
from lucid.schema.gate import GateRequest
from lucid.schema.training import ModelStatus
from lucid.training.gate import reasons
from lucid.versions.version import Version
from lucid.workspace import Workspace

USERS, MONTH = 400, 30
Row = dict[str, str]
Change = Callable[[list[Row]], Sequence[Row]]


class Shop:
    """A workspace with the entities of the catalogue, whose interactions are uploaded as each training wants them."""

    def __init__(self, folder: Path) -> None:
        files = generate(folder, users=USERS)
        with files.interactions.open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self._folder = folder
        self.workspace = Workspace(folder / "home")
        self.workspace.import_files([files.entities], tags=["entities"])

    def train(self, name: str, change: Change, days: int | None = None) -> ModelStatus:
        """Train on the interactions as they are after a change."""
        file, rows = self._folder / f"{name}.csv", change([dict(row) for row in self.rows])
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, self.rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        self.workspace.import_files([file], tags=[name])
        return self.workspace.train("videos", data_tags=["entities", name], maximum_interaction_age_days=days)

    def version(self, number: int) -> Version:
        return Version(self.workspace.settings.home, "videos", number)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose model was trained once; no test lets another version answer."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    assert not shop.train("all", lambda rows: rows).held
    return shop


def shuffled(rows: list[Row]) -> list[Row]:
    """The same sources, targets and times, but who interacted with what is decided by lot."""
    targets = [row["target_id"] for row in rows]
    random.Random(0).shuffle(targets)
    return [{**row, "target_id": target} for row, target in zip(rows, targets, strict=True)]


def nearly_empty(rows: list[Row]) -> list[Row]:
    """Of the latest month only every fiftieth came in, from a few sources."""
    early, late = (format_time(utc_now() - timedelta(days=days)) for days in (2 * MONTH, MONTH // 2))
    return [{**row, "timestamp": early if number % 50 else late} for number, row in enumerate(rows)]


def test_a_training_on_shuffled_targets_is_held(shop: Shop) -> None:
    """Same data, same counts: the quality tells, with figures and an interval."""
    status = shop.train("shuffled", shuffled)

    assert status.held
    assert "worse than before: user → video NDCG@10 " in status.message
    assert "95% interval of the difference -" in status.message
    assert 1 == shop.workspace.model("videos").live_version


def test_a_training_on_an_empty_month_is_held(shop: Shop) -> None:
    """Interactions and answers are gone, whatever the quality of the rest."""
    status = shop.train("empty", nearly_empty, MONTH)

    assert status.held
    assert "it learned from " in status.message
    assert 1 == shop.workspace.model("videos").live_version


def test_a_training_on_more_of_the_same_goes_live(shop: Shop) -> None:
    """On other nine tenths of the interactions, and with nothing against it in either direction."""
    status = shop.train("most", lambda rows: [row for number, row in enumerate(rows) if number % 10])

    assert not status.held, status.message
    assert status.version == shop.workspace.model("videos").live_version
    assert [] == list(reasons(shop.version(status.version), shop.version(1), GateRequest()))
    compared = shop.workspace.compare("videos", 1, status.version)
    assert {("user", "video")} <= {(pair.source_type, pair.target_type) for pair in compared.quality}
    assert all(pair.difference is not None or pair.reason for pair in compared.quality)
    shop.workspace.roll_back("videos", 1)
