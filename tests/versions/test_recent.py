"""Events count in answers at once, and compaction changes no answer."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lucid.data.event_batches import compact_events
from lucid.data.events import EventIntake
from lucid.schema.events import EventsAccepted
from lucid.serving.registry import ModelRegistry
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, USERS, train_checkerboard, write_checkerboard


@pytest.fixture
def board(tmp_path: Path) -> Workspace:
    return train_checkerboard(Workspace(tmp_path / "home"), tmp_path)


def send(board: Workspace, *events: dict[str, Any]) -> EventsAccepted:
    (answer,) = EventIntake(board.settings).accept([list(events)])
    return answer


def likes(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "likes", "source_id": source, "target_id": target, **more}


def everybody(board: Workspace) -> pd.DataFrame:
    table = board.recommend("board", source_type="user", target_type="item", max_recommendations=ITEMS)
    new = board.recommend("board", source_id=["n1", "n2"], target_type="item", max_recommendations=ITEMS)
    return pd.concat([table, new], ignore_index=True)


def random_events(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Interactions of users that the model holds, of new ones, and of ids that nobody defines; and new users."""
    users = [*(f"u{user:02}" for user in range(USERS)), "n1", "n2", "nobody"]
    events: list[dict[str, Any]] = []
    for _ in range(count):
        source, target = chance.choice(users), f"i{chance.randrange(ITEMS):02}"
        when = chance.choice([1_700_000_000, 1_700_000_500, "2026-01-01T00:00:00Z"])
        kind = chance.choice(["likes", "likes", "views"])
        events.append({**likes(source, target, timestamp=when), "type": kind})
    events.insert(count // 3, {"id": "n1", "type": "user"})
    events.insert(2 * count // 3, {"id": "n2", "type": "user", "metadata": {"colour": "white"}})
    return events


def test_an_event_counts_in_the_next_answer(board: Workspace) -> None:
    """It is masked, changes the order, and the answer says what it comes from; others stay as they were."""
    before, others = (board.recommend("board", source_id=user, target_type="item") for user in ("u00", "u02"))
    odd = [f"i{item:02}" for item in range(1, 14, 2)]

    assert 7 == send(board, *(likes("u00", item) for item in odd)).accepted

    after = board.recommend("board", source_id="u00", target_type="item", max_recommendations=ITEMS)
    assert not set(odd) & set(after["target_id"])
    assert {"i15", "i17", "i19"} <= set(after["target_id"][:4])
    assert ({"cache"}, {"folded-in"}) == (set(before["served_by"]), set(after["served_by"]))
    assert others.equals(board.recommend("board", source_id="u02", target_type="item"))


@pytest.mark.parametrize("seed", range(4))
def test_compaction_changes_no_answer(board: Workspace, seed: int, tmp_path: Path) -> None:
    """However events came in, and whatever was uploaded between: what is folded in is the same, to the last digit."""
    chance = random.Random(seed)
    events = random_events(chance, 60)
    while events:
        part, events = events[: chance.randrange(1, 15)], events[15:]
        send(board, *part)
        board.recommend("board", source_id="u00", target_type="item")  # takes them in
        if chance.random() < 0.3:
            file = tmp_path / "more.csv"
            file.write_text("type,source_id,target_id,timestamp,metadata\nlikes,u03,i04,1700000000,\nlikes,n1,i05,,\n")
            board.import_files(file)
        if chance.random() < 0.2:
            compact_events(board.settings, Catalog(board.settings.home))
    send(board, {"id": "n1", "type": "user"}, {"id": "n2", "type": "user"})
    waiting = everybody(board)

    assert compact_events(board.settings, Catalog(board.settings.home))

    pd.testing.assert_frame_equal(waiting, everybody(board))
    pd.testing.assert_frame_equal(waiting, everybody(Workspace(board.settings.home)))


ASKED: dict[str, dict[str, Any]] = {
    "filtered": {"data_filters": {"interactions": [{"field": "metadata.device", "op": "ne", "value": "bot"}]}},
    "of some age": {"maximum_interaction_age_days": 30},
    "of other tags": {"data_tags": ["board"]},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_a_training_leaves_out_is_left_out_of_answers(tmp_path: Path, asked: dict[str, Any]) -> None:
    """By its filters, its age limit and its tags, before events are compacted as after; and after a refresh, too."""
    board = Workspace(tmp_path / "home")
    with_devices = tmp_path / "devices.csv"
    rows = ['likes,u00,i00,,"{""device"": ""bot""}"', 'likes,u01,i01,,"{""device"": ""phone""}"']
    with_devices.write_text("\n".join(["type,source_id,target_id,timestamp,metadata", *rows, ""]))
    board.import_files([*write_checkerboard(tmp_path), with_devices], tags=["board"])
    board.train("board", **asked)
    now = datetime.now(UTC)
    for day in range(4):
        devices = ["phone", "bot"]
        send(
            board,
            *(
                likes(
                    f"u{user:02}",
                    f"i{(3 * user + day) % ITEMS:02}",
                    timestamp=(now - timedelta(days=20 * (3 - day))).isoformat(timespec="seconds"),
                    metadata={"device": devices[user % 2]},
                )
                for user in range(10)
            ),
            {"id": "n1", "type": "user"},
            {"id": "n2", "type": "user"},
            likes("n1", f"i{day:02}"),
        )
        board.recommend("board", source_id="u00", target_type="item")
        if day == 1:
            compact_events(board.settings, Catalog(board.settings.home))
            board.refresh("board")
    source: dict[str, Any] = {"source_type": "user", "target_type": "item", "max_recommendations": ITEMS}
    waiting = board.recommend("board", **source)

    assert compact_events(board.settings, Catalog(board.settings.home))

    pd.testing.assert_frame_equal(waiting, board.recommend("board", **source))
    ways = {"cache"} if "data_tags" in asked else {"cache", "folded-in"}
    assert ways == set(waiting["served_by"])


def test_ends_that_name_their_types_are_found(tmp_path: Path) -> None:
    """As in a file: `1` of a user is the entity `user:1` where ids belong to their types."""
    board = Workspace(tmp_path / "home")
    entities, interactions = write_checkerboard(tmp_path)
    types: dict[str, Any] = {"source_type": "user", "target_type": "item"}
    board.import_files(entities, namespace=True)
    board.import_files(interactions, namespace=True, **types)
    board.train("board")
    asked: dict[str, Any] = {"source_id": "user:u00", "target_type": "item", "max_recommendations": ITEMS}
    before = board.recommend("board", **asked)
    first, second = before["target_id"][:2]

    send(board, likes("u00", first.removeprefix("item:"), **types), likes("user:u00", second))

    waiting = board.recommend("board", **asked)
    assert not {first, second} & set(waiting["target_id"])
    compact_events(board.settings, Catalog(board.settings.home))
    pd.testing.assert_frame_equal(waiting, board.recommend("board", **asked))


def test_events_that_equal_an_uploaded_row_or_an_earlier_event_count_once(board: Workspace, tmp_path: Path) -> None:
    """Whether they are older than the newest uploaded row or younger."""
    file = tmp_path / "more.csv"
    file.write_text(
        "type,source_id,target_id,timestamp,metadata\nlikes,u00,i01,1700000000,\nlikes,u01,i02,1700000500,\n"
    )
    board.import_files(file)
    registry = ModelRegistry(board.settings.home)
    times = [1_700_000_000, 1_700_000_400, 1_700_000_500, 1_700_000_900]

    send(board, *(likes("u00", "i01", timestamp=time) for time in [*times, times[-1]]))
    send(board, *(likes("u00", "i01", timestamp=time) for time in times))

    predictor = registry.predictor("board")
    (edges,) = predictor.uploads.read.of(["u00"])
    assert [predictor.version.index.row("i01")] == edges["other"].tolist()
    assert [len(times)] == edges["repeats"].tolist()
