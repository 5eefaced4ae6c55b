"""What interactions say of liking decides where only that can: likes are ranked first, dislikes and their kin last."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lucid.training.steps import refresh
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.conftest import WriteCsv
from tests.support import tastes
from tests.support.tastes import GENRES, USERS, genre_of, item, taste

FIRST = 5
"""Recommendations of each user that are looked at; every genre has so many that he has not met, and more."""


def trained(workspace: Workspace, folder: Path, say: tastes.Say = tastes.rated, **asked: Any) -> Workspace:
    workspace.import_files(tastes.write_tastes(folder, say))
    workspace.train("m", **asked)
    return workspace


def shares(answers: pd.DataFrame) -> dict[str, float]:
    """Which share of the recommendations is of a genre that the user likes, dislikes or does not mind."""
    said = [
        taste(int(source[1:]), genre_of(target))
        for source, target in zip(answers["source_id"], answers["target_id"], strict=True)
    ]
    return {what: said.count(what) / max(len(said), 1) for what in set(tastes.TASTES)}


def recommended(workspace: Workspace, **asked: Any) -> pd.DataFrame:
    return workspace.recommend("m", source_type="user", target_type="item", max_recommendations=FIRST, **asked)


def used(workspace: Workspace) -> list[str]:
    """How strengths weigh in each decomposition of the live version."""
    return [weights["strengths"] for weights in workspace.report("m")["chosen"]["weightings"]]


@pytest.mark.parametrize("say", [tastes.rated, tastes.typed], ids=["ratings", "types"])
def test_likes_come_first_and_the_kin_of_dislikes_last(workspace: Workspace, tmp_path: Path, say: tastes.Say) -> None:
    """Everybody has met as much of every genre, so nothing else could tell."""
    found = shares(recommended(trained(workspace, tmp_path, say)))

    assert found["dislikes"] <= 0.02
    if say is tastes.rated:
        assert found["likes"] >= 0.95
    assert "ignored" not in used(workspace)


def test_without_what_is_said_genres_are_alike(workspace: Workspace, tmp_path: Path) -> None:
    """So what the tests around it see is not in who met what."""
    found = shares(recommended(trained(workspace, tmp_path, tastes.unsaid)))

    assert found["likes"] < 0.6
    assert ["ignored"] == used(workspace)


def test_where_values_are_noise_they_change_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """Answers are those of a training that is told to ignore them, byte for byte; so is the report."""
    workspace.import_files(tastes.write_tastes(tmp_path, shuffled=True))
    workspace.train("m")
    workspace.train("other", interaction_rules={"rated": "ignored"})

    assert {"ignored"} == set(used(workspace))
    first, second = (
        workspace.recommend(model_id, source_type="user", target_type="item").to_csv() for model_id in ("m", "other")
    )
    assert second == first
    m, other = (workspace.report(model_id)["pairs"] for model_id in ("m", "other"))
    assert other == m


def test_without_values_nothing_is_as_it_would_be_with_rules(workspace: Workspace, tmp_path: Path) -> None:
    """Asking to ignore what is not there gives the same answers, byte for byte."""
    trained(workspace, tmp_path, tastes.unsaid)
    workspace.train("other", interaction_rules={"rated": "ignored"})

    first, second = (
        workspace.recommend(model_id, source_type="user", target_type="item").to_csv() for model_id in ("m", "other")
    )

    assert first == second


def test_a_dislike_is_never_recommended_again(workspace: Workspace, tmp_path: Path) -> None:
    """Even where what is known may come again; unless that is asked for."""
    trained(workspace, tmp_path)
    rows = pd.read_csv(tmp_path / "interactions.csv")
    said = [json.loads(text)["rating"] for text in rows["metadata"]]
    disliked = {
        pair
        for pair, rating in zip(zip(rows["source_id"], rows["target_id"], strict=True), said, strict=True)
        if rating <= 2
    }
    every: dict[str, Any] = {
        "source_type": "user",
        "target_type": "item",
        "max_recommendations": 1000,
        "exclude_interacted": False,
    }

    def pairs(**asked: Any) -> set[tuple[str, str]]:
        found = workspace.recommend("m", **every, **asked)
        return set(zip(found["source_id"], found["target_id"], strict=True))

    everything = USERS * GENRES * tastes.ITEMS
    assert everything == len(pairs(exclude_disliked=False))
    assert not disliked & pairs()
    assert everything - len(disliked) == len(pairs())


def test_a_weight_below_zero_makes_a_type_a_dislike(workspace: Workspace, tmp_path: Path) -> None:
    """Whatever its name."""

    def say(what: str) -> tuple[str, str]:
        return {"likes": "bought", "dislikes": "looked", "neither": "bought"}[what], ""

    trained(workspace, tmp_path, say, interaction_rules={"looked": {"weight": -1}})

    assert shares(recommended(workspace))["dislikes"] <= 0.02
    assert "ignored" not in used(workspace)
    (rule,) = [rule for rule in workspace.report("m")["strengths"] if rule["type"] == "looked"]
    assert ("dislike", 1.0) == (rule["meaning"], rule["weight"])


def test_limits_that_are_asked_for_turn_the_scale(workspace: Workspace, tmp_path: Path) -> None:
    """Here 1 is best and 5 worst only in the customer's head; a rule says from where on a value is liked."""

    def say(what: str) -> tuple[str, str]:
        return "rated", json.dumps({"grade": {"likes": 12, "dislikes": 9, "neither": 10}[what]})

    rules = {"rated": {"value_key": "grade", "positive_above": 11, "negative_below": 9}}
    trained(workspace, tmp_path, say, interaction_rules=rules)

    assert shares(recommended(workspace))["likes"] >= 0.95


# What comes later


@pytest.fixture
def newcomer(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> Callable[..., None]:
    """Uploads somebody new who likes one genre and dislikes another, after a training."""
    trained(workspace, tmp_path)

    def upload(likes: int, dislikes: int) -> None:
        rows = [("rated", "new", item(likes, number), "", '{"rating": 5}') for number in range(4)]
        rows += [("rated", "new", item(dislikes, number), "", '{"rating": 1}') for number in range(4)]
        workspace.import_files(
            [entities_csv(("new", "user", "", "", ""), name="e2.csv"), interactions_csv(*rows, name="i2.csv")]
        )

    return upload


def genres_of(workspace: Workspace, source: str = "new", **asked: Any) -> list[int]:
    found = workspace.recommend("m", source_id=source, target_type="item", **asked)
    return [genre_of(target) for target in found["target_id"]]


def test_likes_and_dislikes_of_a_newcomer_are_folded_in(workspace: Workspace, newcomer: Callable[..., None]) -> None:
    newcomer(likes=1, dislikes=2)

    found = genres_of(workspace, max_recommendations=10)

    assert {1} == set(found)
    everything = genres_of(workspace, max_recommendations=1000, exclude_interacted=False)
    assert tastes.ITEMS - 4 == everything.count(2)
    assert tastes.ITEMS == genres_of(
        workspace, max_recommendations=1000, exclude_interacted=False, exclude_disliked=False
    ).count(2)


def test_a_refresh_keeps_dislikes(
    workspace: Workspace, newcomer: Callable[..., None], interactions_csv: WriteCsv
) -> None:
    """Those that it learned from, and those of the people that it knows which came since."""
    met = pd.read_csv(next(workspace.settings.home.parent.glob("interactions.csv")))
    mine = set(met[met["source_id"] == "u00"]["target_id"])
    unmet = next(item(0, number) for number in range(tastes.ITEMS) if item(0, number) not in mine)
    workspace.import_files([interactions_csv(("rated", "u00", unmet, "", '{"rating": 1}'), name="later.csv")])
    asked: dict[str, Any] = {"target_type": "item", "max_recommendations": 1000, "exclude_interacted": False}

    def known() -> set[str]:
        return set(workspace.recommend("m", source_id="u00", **asked)["target_id"])

    before = known()
    assert unmet not in before

    refresh(workspace.settings, "m")

    assert before == known()


def test_an_erased_entity_is_in_nobodys_dislikes(workspace: Workspace, tmp_path: Path) -> None:
    trained(workspace, tmp_path)
    live = ModelVersions(workspace.settings.home, "m").live()
    row = live.index.row("u00")
    assert row is not None
    assert len(live.disliked.of(row)) == tastes.MET

    workspace.erase(["u00"])

    live = ModelVersions(workspace.settings.home, "m").live()
    assert not len(live.disliked.of(row))
    assert row not in live.disliked.indices


def test_an_explanation_names_no_dislike(workspace: Workspace, tmp_path: Path) -> None:
    """A recommendation comes from what was liked."""
    trained(workspace, tmp_path)

    found = workspace.recommend("m", source_id="u00", target_type="item", max_recommendations=3, explain=True)

    for why in found["explanation"]:
        named = [genre_of(one["id"]) for one in why if one["type"] == "item"]
        assert named
        assert not [genre for genre in named if taste(0, genre) == "dislikes"]
