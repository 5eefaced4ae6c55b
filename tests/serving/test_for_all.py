"""What is popular and what is trending: without a source, for sources that ask for it, for those that nobody knows."""

import csv
import io
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lucid.errors import OutdatedVersion, UnknownSource, UnknownType
from lucid.schema.fields import ForAll, utc_now
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.rendering import render
from lucid.training import steps
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.crowds import (
    ITEMS,
    LAST_DAY,
    ORACLES,
    RISING,
    Listed,
    Row,
    ages_of,
    colour,
    forget_activity,
    interactions,
    write_crowd,
)

ROWS = interactions()
WAYS: tuple[ForAll, ...] = ("popular", "trending")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("crowd")
    workspace = Workspace(folder / "home")
    workspace.import_files(write_crowd(folder, ROWS))
    workspace.train("crowd", precompute=[{"source_type": "user", "target_type": "user", "max_recommendations": 5}])
    return workspace


def listed(table: pd.DataFrame) -> Listed:
    return list(zip(table["target_id"], table["score"], table["probability"], strict=True))


def assert_same(expected: Listed, found: Listed) -> None:
    """Targets in the same order; scores and probabilities but for the last digit."""
    assert [target for target, _, _ in expected] == [target for target, _, _ in found]
    assert [one[1] for one in expected] == pytest.approx([one[1] for one in found], abs=2e-6)
    assert [one[2] for one in expected] == pytest.approx([one[2] for one in found], abs=2e-6)


def test_lists_are_what_counting_one_by_one_finds(crowd: Workspace) -> None:
    """Over windows, half-lives, types, filters, thresholds and what a source has interacted with."""
    chance, entries = random.Random(5), 0
    known = {user: {target for _, source, target, _, _ in ROWS if source == user} for user in ("u00", "u17", "u39")}
    for _ in range(300):
        way, entity_type = chance.choice(WAYS), chance.choice(("item", "user", "colour"))
        asked: dict[str, Any] = {"window_days": chance.choice((None, 1, 3, 7, 30, 119, 120, 36_500))}
        asked["half_life_days"] = chance.choice((None, 0.3, 1, 4.5, 60, 36_500))
        if asked == {"window_days": None, "half_life_days": None}:
            asked["window_days"] = 14
        wanted = chance.choice((None, "red", "white"))
        threshold, most = chance.choice((0, 0, 30.0, 75.0)), chance.choice((3, 10_000, 10_000))
        source = chance.choice((None, "nobody", *known))
        expected = ORACLES[way](ages_of(ROWS, entity_type), asked["window_days"], asked["half_life_days"])
        if wanted and entity_type == "item":
            asked["target_filter"] = [{"field": "metadata.colour", "op": "eq", "value": wanted}]
            expected = [one for one in expected if colour(one[0]) == wanted]
        expected = [one for one in expected if one[0] not in {source, *known.get(source or "", ())}]
        expected = [one for one in expected if one[1] >= threshold][:most]

        asked |= {"source_id": source, "target_type": entity_type, "max_recommendations": most}
        found = crowd.recommend("crowd", use=way, threshold=threshold, **asked)

        assert_same(expected, listed(found))
        assert {way} >= set(found["served_by"])
        assert {source or ""} >= set(found["source_id"])
        assert list(range(1, len(found) + 1)) == found["rank"].tolist()
        entries += len(found)
    assert entries > 500


def test_what_was_computed_ahead_is_the_list_for_the_stored_window(crowd: Workspace) -> None:
    """A question that does not say what counts as recent gets what the training has found to foretell most."""
    standings = Version(crowd.settings.home, "crowd", 1).standings
    assert standings is not None
    for way in WAYS:
        for entity_type in ("colour", "item", "user"):
            span = standings.spans[entity_type, way]

            found = crowd.recommend("crowd", target_type=entity_type, use=way, max_recommendations=10_000)

            expected = ORACLES[way](ages_of(ROWS, entity_type), span.window, span.half_life)
            assert_same(expected, listed(found))


def test_what_rises_trends_and_a_day_that_cannot_be_makes_nothing_trend(crowd: Workspace) -> None:
    """Nor do times that are missing, or the year in which time begins."""
    standings = Version(crowd.settings.home, "crowd", 1).standings
    assert standings is not None
    assert (LAST_DAY - LAST_DAY.__class__(1970, 1, 1)).days == standings.activity.newest

    for days in (3, 7, 14):
        found = crowd.recommend("crowd", target_type="item", use="trending", window_days=days)

        assert RISING == found["target_id"][0]
        assert "i21" not in set(found["target_id"])


def test_without_a_source_what_is_popular_is_answered(crowd: Workspace) -> None:
    """In JSON and CSV, of one type or several in one order, filtered, cut and above a threshold."""
    every = crowd.recommend("crowd", target_type=["item", "user"], max_recommendations=10_000)
    parts = [crowd.recommend("crowd", target_type=kind, max_recommendations=10_000) for kind in ("item", "user")]
    query = RecommendationQuery(model_id="crowd", target_type=["item", "user"], max_recommendations=7)

    as_json = json.loads(b"".join(render(crowd.answer(query), "json")))
    as_csv = list(csv.DictReader(io.StringIO(b"".join(render(crowd.answer(query), "csv")).decode())))

    both = sorted((one for part in parts for one in listed(part)), key=lambda one: (-one[1], one[0]))
    assert both == listed(every)
    assert ("popular", []) == (as_json["served_by"], as_json["unknown_source_ids"])
    assert [one[0] for one in both[:7]] == [row["target_id"] for row in as_json["recommendations"]]
    assert [{name: str(value) for name, value in row.items()} for row in as_json["recommendations"]] == as_csv
    with pytest.raises(UnknownType):
        crowd.recommend("crowd", target_type="book", use="trending")


def test_an_unknown_source_is_still_unknown_unless_the_question_says_otherwise(crowd: Workspace) -> None:
    """Then it gets what is popular or trending, among known ones, and is named all the same."""
    with pytest.raises(UnknownSource):
        crowd.recommend("crowd", source_id="who", target_type="item")
    before = crowd.recommend("crowd", source_id=["u03", "u05"], target_type="item", max_recommendations=4)

    for way in WAYS:
        found = crowd.recommend(
            "crowd", source_id=["u03", "who", "u05", "she"], target_type="item", max_recommendations=4, fallback=way
        )

        everybody = crowd.recommend("crowd", target_type="item", use=way, max_recommendations=4)
        personal = found[found["source_id"].isin(["u03", "u05"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(before, personal, check_like=True)
        for unknown in ("who", "she"):
            rows = found[found["source_id"] == unknown]
            assert listed(everybody) == listed(rows)
            assert {way} == set(rows["served_by"])
        assert ["u03", "who", "u05", "she"] == list(dict.fromkeys(found["source_id"]))
        assert ["who", "she"] == found.attrs["unknown_source_ids"]
        alone = crowd.recommend("crowd", source_id="who", target_type="item", max_recommendations=4, fallback=way)
        assert listed(everybody) == listed(alone)


def test_a_whole_type_may_ask_for_what_is_popular(crowd: Workspace) -> None:
    """Each source without what it has interacted with, which only those have that want it back."""
    table = crowd.recommend("crowd", source_type="user", target_type="item", use="popular", max_recommendations=ITEMS)

    assert {(source, target) for _, source, target, _, _ in ROWS}.isdisjoint(
        zip(table["source_id"], table["target_id"], strict=True)
    )
    every = crowd.recommend(
        "crowd", source_id="u00", target_type="item", use="popular", max_recommendations=ITEMS, exclude_interacted=False
    )
    assert listed(crowd.recommend("crowd", target_type="item", max_recommendations=ITEMS)) == listed(every)
    explained = crowd.recommend("crowd", source_id="u00", target_type="item", use="popular", explain=True)
    assert [[]] * len(explained) == explained["explanation"].tolist()


def test_uploads_count_at_once_and_deleted_they_do_not(tmp_path: Path) -> None:
    """New interactions move the lists and the day from which ages count; the same export once more moves nothing."""
    board = Workspace(tmp_path / "home")
    board.import_files(write_crowd(tmp_path, ROWS))
    board.train("crowd")
    before = {way: board.recommend("crowd", target_type="item", use=way) for way in WAYS}

    board.import_files(write_crowd(tmp_path / "again", ROWS)[1:])
    for way in WAYS:
        pd.testing.assert_frame_equal(before[way], board.recommend("crowd", target_type="item", use=way))

    pairs = {(source, target) for _, source, target, _, _ in ROWS}
    fans = [f"u{user:02}" for user in range(40) if (f"u{user:02}", "i29") not in pairs]
    rows: list[Row] = [("view", fan, "i29", f"{LAST_DAY.isoformat()}T23:00:00", "") for fan in fans]
    (batch,) = board.import_files(write_crowd(tmp_path / "more", rows)[1:])
    after = board.recommend("crowd", target_type="item", use="trending", window_days=3)
    assert "i29" == after["target_id"][0]
    assert_same(ORACLES["trending"](ages_of([*ROWS, *rows], "item"), 3, None), listed(after))

    steps.refresh(board.settings, "crowd")
    refreshed = board.recommend("crowd", target_type="item", use="trending", window_days=3)
    assert listed(after) == listed(refreshed)

    board.delete_batches([batch.batch_id])
    steps.refresh(board.settings, "crowd")
    for way in WAYS:
        pd.testing.assert_frame_equal(before[way], board.recommend("crowd", target_type="item", use=way))


def test_a_time_that_is_yet_to_come_makes_nothing_trend(tmp_path: Path) -> None:
    """A clock that runs ahead by less than a day, which imports let pass; what it tells of is popular all the same."""
    now = utc_now()
    rows: list[Row] = [
        ("view", f"u{user:02}", f"i{(user + age) % 20:02}", (now - timedelta(days=age, hours=1)).isoformat(), "")
        for user in range(40)
        for age in range(60)
    ]
    ahead = [("view", f"u{user:02}", "i25", (now + timedelta(hours=20)).isoformat(), "") for user in range(30)]
    board = Workspace(tmp_path / "home")
    board.import_files(write_crowd(tmp_path, [*rows, *ahead]))
    board.train("crowd")

    for days in (1, 2, 7, 30):
        found = board.recommend("crowd", target_type="item", use="trending", window_days=days)
        assert "i25" not in set(found["target_id"])
    assert "i25" in set(board.recommend("crowd", target_type="item", window_days=1)["target_id"])


def test_what_was_erased_is_in_no_list(tmp_path: Path) -> None:
    """Neither computed ahead nor for another window; all others stay, and so do the stored windows."""
    board = Workspace(tmp_path / "home")
    board.import_files(write_crowd(tmp_path, ROWS))
    board.train("crowd")
    spans = Version(board.settings.home, "crowd", 1).standings
    board.erase([RISING])

    for way in WAYS:
        recents: list[dict[str, Any]] = [{}, {"window_days": 7}, {"half_life_days": 2.0}]
        for asked in recents:
            found = board.recommend("crowd", target_type="item", use=way, **asked)

            assert len(found) or way == "trending"
            assert RISING not in set(found["target_id"])
    now = Version(board.settings.home, "crowd", 2).standings
    assert spans is not None
    assert now is not None
    assert spans.spans == now.spans


def test_a_version_that_counted_nothing_says_so(tmp_path: Path) -> None:
    """As those of earlier releases; ranked answers are as before, and a refresh makes up for it."""
    board = Workspace(tmp_path / "home")
    board.import_files(write_crowd(tmp_path, ROWS))
    board.train("crowd")
    forget_activity(Version(board.settings.home, "crowd", 1))

    assert len(board.recommend("crowd", source_id="u03", target_type="item"))
    questions: list[dict[str, Any]] = [{}, {"source_id": ["u03", "who"], "fallback": "popular"}]
    for asked in questions:
        with pytest.raises(OutdatedVersion, match="refresh its recommendations or train the model again"):
            board.recommend("crowd", target_type="item", **asked)
    board.erase(["i03"])  # which leaves it as it is
    with pytest.raises(OutdatedVersion):
        board.recommend("crowd", target_type="item")
    steps.refresh(board.settings, "crowd")
    assert RISING == board.recommend("crowd", target_type="item", use="trending", window_days=7)["target_id"][0]
