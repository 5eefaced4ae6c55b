"""Answers: what is looked up equals what is scored at once, and the contract's rules on rows hold."""

import csv
import io
import json
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from lucid.errors import ModelNotReady, UnknownModel, UnknownSource, UnknownType, UnknownVersion
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.rendering import render
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, USERS, liked, train_checkerboard


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("board")
    return train_checkerboard(Workspace(folder / "home"), folder)


def best_first(table: pd.DataFrame) -> list[tuple[float, str]]:
    """What rows are ordered by within a source: score falling, then id."""
    return list(zip((-table["score"]).tolist(), table["target_id"].tolist(), strict=True))


def test_what_was_computed_ahead_equals_what_is_scored_at_once(board: Workspace) -> None:
    """More rows than were computed ahead are scored from the vectors; the common part is the same."""
    ahead = board.recommend("board", source_type="user", target_type="item", max_recommendations=5)
    at_once = board.recommend("board", source_type="user", target_type="item", exclude_interacted=False)

    kept = [
        (row.source_id, row.target_id, row.score)
        for row in at_once.itertuples()
        if not liked(int(str(row.source_id)[1:]), int(str(row.target_id)[1:]))
    ]
    for source, rows in ahead.groupby("source_id"):
        expected = [(target, score) for user, target, score in kept if user == source][:5]
        assert expected == list(zip(rows["target_id"], rows["score"], strict=True))


def test_what_a_source_interacted_with_never_returns(board: Workspace) -> None:
    """By default interacted targets are left out, in both directions; asked for, they are there."""
    items = board.recommend("board", source_type="user", target_type="item")
    users = board.recommend("board", source_type="item", target_type="user")
    every = board.recommend("board", source_type="user", target_type="item", exclude_interacted=False)

    known = {(user, item) for user in range(USERS) for item in range(ITEMS) if liked(user, item)}
    assert not known & {(int(u[1:]), int(i[1:])) for u, i in zip(items["source_id"], items["target_id"], strict=True)}
    assert not known & {(int(u[1:]), int(i[1:])) for u, i in zip(users["target_id"], users["source_id"], strict=True)}
    assert USERS * ITEMS == len(every)


def test_rows_are_grouped_by_source_with_ranks_from_one(board: Workspace) -> None:
    """Sources come in the order asked, scores fall, ties follow the ids, ranks count from 1."""
    asked = ["u07", "u09", "u01", "u07"]

    table = board.recommend("board", source_id=asked, target_type="item", max_recommendations=4)

    assert ["u07"] * 4 + ["u09"] * 4 + ["u01"] * 4 == table["source_id"].tolist()
    assert [1, 2, 3, 4] * 3 == table["rank"].tolist()
    for _, rows in table.groupby("source_id"):
        assert sorted(best_first(rows)) == best_first(rows)


def test_sources_in_any_order_get_what_each_gets_alone(board: Workspace) -> None:
    """Also where first and last are as far apart as there are sources, which is not yet a row of neighbours."""
    wanted = ("u03", "u04", "u05", "u09")
    alone = {source: board.recommend("board", source_id=source, target_type="item") for source in wanted}

    for asked in (order for count in (3, 4) for order in permutations(wanted, count)):
        together = board.recommend("board", source_id=list(asked), target_type="item")

        pd.testing.assert_frame_equal(pd.concat([alone[source] for source in asked], ignore_index=True), together)


def test_several_target_types_share_one_ranking(board: Workspace) -> None:
    """With several target types, N counts per source over all of them, best first."""
    table = board.recommend(
        "board",
        source_id="u00",
        target_type=["item", "user", "colour"],
        max_recommendations=8,
        exclude_interacted=False,
    )

    parts = [
        board.recommend("board", source_id="u00", target_type=kind, exclude_interacted=False)
        for kind in ("item", "user", "colour")
    ]
    assert sorted(key for part in parts for key in best_first(part))[:8] == best_first(table)


def test_the_threshold_cuts_by_score(board: Workspace) -> None:
    """No row below the threshold, all rows at or above it."""
    every = board.recommend("board", source_type="user", target_type="item")
    threshold = float(every["score"].quantile(0.6))

    cut = board.recommend("board", source_type="user", target_type="item", threshold=threshold)

    assert every[every["score"] >= threshold]["score"].tolist() == cut["score"].tolist()


def test_json_and_csv_say_the_same(board: Workspace) -> None:
    """Both formats hold the same rows; JSON also names the model, the version and unknown sources."""
    query = RecommendationQuery(
        model_id="board", source_id=["u03", "who?"], target_type=["item"], max_recommendations=3
    )

    as_json = json.loads(b"".join(render(board.answer(query), "json")))
    as_csv = list(csv.DictReader(io.StringIO(b"".join(render(board.answer(query), "csv")).decode())))

    assert ("board", 1, ["who?"]) == (as_json["model_id"], as_json["version"], as_json["unknown_source_ids"])
    assert [{name: str(value) for name, value in row.items()} for row in as_json["recommendations"]] == as_csv
    assert 3 == len(as_csv)


def test_unknown_things_are_named(board: Workspace) -> None:
    """Unknown models, versions, types and single sources raise, each with what is known instead."""
    with pytest.raises(UnknownModel, match="no model 'none'"):
        board.recommend("none", source_id="u01", target_type="item")
    with pytest.raises(UnknownVersion, match="version 1 answers"):
        board.recommend("board", source_id="u01", target_type="item", version=9)
    with pytest.raises(UnknownType, match="known: colour, item, user"):
        board.recommend("board", source_id="u01", target_type="book")
    with pytest.raises(UnknownType, match="known: colour, item, user"):
        board.recommend("board", source_type="book", target_type="item")
    with pytest.raises(UnknownSource, match="'who' is not part of version 1"):
        board.recommend("board", source_id="who", target_type="item")


@pytest.mark.parametrize(
    "wrong",
    [
        {"source_id": ["a"], "source_type": ["user"]},
        {"use": "similar"},
        {"use": "similar", "target_type": None},
        {"use": "popular", "target_type": None},
        {"use": "trending", "sources": [{"id": "a"}]},
        {"use": "fashionable"},
        {"source_id": ["a"], "window_days": 7},
        {"source_type": ["a"], "half_life_days": 7},
        {"use": "popular", "window_days": 0},
        {"use": "popular", "half_life_days": 0},
        {"use": "popular", "half_life_days": float("nan")},
        {"fallback": "popular"},
        {"source_type": ["user"], "fallback": "popular"},
        {"source_id": ["a"], "use": "popular", "fallback": "trending"},
        {"source_id": ["a"], "use": "similar", "target_type": None, "fallback": "trending"},
        {"source_id": []},
        {"source_id": ["a"], "entity_id": ["b"]},
        {"source_id": ["a"], "target_type": []},
        {"source_id": ["a"], "max_recommendations": 0},
        {"source_id": ["a"], "threshold": 101},
        {"source_id": ["a"], "threshold": float("nan")},
        {"source_id": ["a"], "surprise": 1},
        {"source_id": ["a"], "model_id": "../escape"},
    ],
    ids=str,
)
def test_queries_outside_the_contract_are_refused(wrong: dict[str, object]) -> None:
    """At most one of source_id and source_type, what is recent only where that counts, values in their ranges."""
    with pytest.raises(ValidationError):
        RecommendationQuery.model_validate({"model_id": "m", "target_type": ["item"], **wrong})


def test_a_model_without_a_finished_version_says_so(workspace: Workspace, tmp_path: Path) -> None:
    """A failed first training leaves a model that is known but cannot answer."""
    with pytest.raises(Exception, match="no interactions are left"):
        workspace.train("empty")

    with pytest.raises(ModelNotReady):
        workspace.recommend("empty", source_id="a", target_type="b")


def test_a_new_version_answers_at_once_and_the_old_one_on_request(tmp_path: Path) -> None:
    """The same open workspace follows the switch; the version before stays available."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    before = workspace.recommend("board", source_type="user", target_type="item")
    workspace.train("board", precompute=[{"source_type": "item", "target_type": "item", "max_recommendations": 3}])

    assert 2 == ModelVersions(workspace.settings.home, "board").live().number
    assert before.equals(workspace.recommend("board", source_type="user", target_type="item", version=1))
    answer = workspace.answer(RecommendationQuery(model_id="board", source_id=["i01"], target_type=["item"]))
    assert 2 == answer.version
