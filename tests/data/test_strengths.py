"""What interactions say of liking is found by names and values, and told; what is asked goes first."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lucid.data.selection import select
from lucid.data.strengths import DISLIKED, LIKED, StrengthRule
from lucid.errors import InvalidRequest, LucidError, UnknownType
from lucid.schema.fields import check, utc_now
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

Asked = dict[str, Any]
PEOPLE, THINGS = 12, 12


@pytest.fixture
def found(workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> Any:
    """Finds the rules of interactions of one type that carry some metadata, and the rows of their selection."""

    def find(
        metadata: Sequence[Any], asked: Asked | None = None, kind: str = "rated", times: Sequence[str] = ()
    ) -> tuple[StrengthRule, dict[str, Any]]:
        ids = [(f"p{n}", "person") for n in range(PEOPLE)] + [(f"t{n}", "thing") for n in range(THINGS)]
        places = [(f"p{n // THINGS % PEOPLE}", f"t{n % THINGS}") for n in range(len(metadata))]
        rows = [
            (kind, *places[n], times[n] if times else "", one if isinstance(one, str) else json.dumps(one))
            for n, one in enumerate(metadata)
        ]
        workspace.import_files([entities_csv(*((*one, "", "", "") for one in ids)), interactions_csv(*rows)])
        rules = check(TrainingRequest, {"interaction_rules": asked}).interaction_rules
        selection = select(
            workspace.settings.home,
            Catalog(workspace.settings.home).batches.select(None),
            tmp_path / "selected",
            started=utc_now(),
            interaction_rules=rules,
        )
        with connect() as connection:
            file = str(selection.folder / "interactions.parquet")
            numbers = connection.execute(
                "SELECT source_row, target_row, number FROM read_parquet($file)", {"file": file}
            )
            columns = dict(zip(("source", "target", "number"), np.array(numbers.fetchall(), float).T, strict=True))
        return selection.strengths[0], columns

    return find


def spread(values: Sequence[Any], count: int = 60) -> list[Any]:
    """So many of some values, all about as often."""
    return [values[number % len(values)] for number in range(count)]


@pytest.mark.parametrize("key", ["rating", "Rating", "stars", "score", "value", "vote"])
@pytest.mark.parametrize(
    ("scale", "liked", "disliked"),
    [
        ([1, 2, 3, 4, 5], {4, 5}, {1, 2}),
        ([0.5 * half for half in range(1, 11)], {4, 4.5, 5}, {0.5, 1, 1.5, 2}),
        (list(range(1, 11)), {8, 9, 10}, {1, 2, 3, 4}),
        ([0, 1], {1}, {0}),
        ([-1, 1], {1}, {-1}),
        ([0, 25, 50, 75, 100], {75, 100}, {0, 25}),
    ],
)
def test_a_rating_is_liked_and_disliked_by_its_scale(
    found: Any, key: str, scale: list[float], liked: set[float], disliked: set[float]
) -> None:
    """The upper quarter is liked and the lower third disliked, whatever the scale; the ends are the clearest."""
    rule, _ = found([{key: value} for value in spread(scale)])
    strengths = dict(zip(scale, rule.strengths(np.array(scale, float)).tolist(), strict=True))

    assert ("rating", key) == (rule.meaning, rule.key)
    assert liked == {value for value, strength in strengths.items() if strength >= LIKED}
    assert disliked == {value for value, strength in strengths.items() if strength <= DISLIKED}
    assert list(strengths.values()) == sorted(strengths.values())
    assert (-1.0, 1.0) == (strengths[scale[0]], strengths[scale[-1]])
    assert np.isnan(rule.strengths(np.array([np.nan]))[0])


@pytest.mark.parametrize("key", ["quantity", "Play_Count", "dwell", "weight", "plays"])
def test_of_an_amount_more_is_better_and_what_was_sent_back_is_disliked(found: Any, key: str) -> None:
    """All amounts above zero are liked."""
    values = [1, 2, 3, 50, 1000]
    rule, _ = found([{key: value} for value in spread(values)])
    strengths = rule.strengths(np.array([-2.0, *values]))

    assert ("amount", key) == (rule.meaning, rule.key)
    assert strengths[0] == -1
    assert (np.diff(strengths[1:]) > 0).all()
    assert (strengths[1:] >= LIKED).all()
    assert (strengths <= 1).all()


@pytest.mark.parametrize("kind", ["disliked", "Returned", "thumbs_down", "skip", "not-interested", "refund"])
def test_types_that_only_cost_are_dislikes_by_name(found: Any, kind: str) -> None:
    """Unless something else is asked for."""
    assert "dislike" == found([""] * 60, kind=kind)[0].meaning


@pytest.mark.parametrize("kind", ["bought", "viewed", "likes", "skipper", "skills"])
def test_other_types_are_plain(found: Any, kind: str) -> None:
    rule, columns = found([""] * 60, kind=kind)

    assert "plain" == rule.meaning
    assert np.isnan(columns["number"]).all()


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ([{"rating": "good"}] * 60, "only 0 numbers"),
        (spread([{"rating": 3}, {"rating": "n/a"}]), "only 50% of the values are numbers"),
        ([{"rating": 4}] * 60, "alike"),
        (spread([{"rating": 1}, {"rating": 5}], 10), "only 10 numbers"),
    ],
)
def test_values_that_tell_nothing_are_told_of(found: Any, metadata: list[Any], why: str) -> None:
    rule, _ = found(metadata)

    assert "plain" == rule.meaning
    assert why in rule.reason
    assert "rating" in rule.reason


def test_numbers_written_as_texts_count(found: Any) -> None:
    """With a decimal comma too."""
    rule, columns = found([{"rating": text} for text in spread(["1", "2,5", "4.0", "5"])])

    assert "rating" == rule.meaning
    assert {1.0, 2.5, 4.0, 5.0} == set(columns["number"].tolist())


def test_the_latest_rating_counts_and_amounts_are_added(found: Any) -> None:
    """Of the same two entities, by time, whatever their order."""
    values, count = spread([1, 2, 3, 4, 5], PEOPLE * THINGS), PEOPLE * THINGS
    days = random.Random(5).sample(range(1, 29), 3)
    times = [f"2026-01-{day:02}T00:00:00Z" for day in days for _ in range(count)]
    shifted = [values[(place + shift) % count] for shift in range(3) for place in range(count)]
    latest = days.index(max(days))

    _, columns = found([{"rating": value} for value in shifted], times=times)
    by_place = sorted(zip(columns["source"], columns["target"], columns["number"], strict=True))
    assert count == len(by_place)
    wanted = sorted((f"p{n // THINGS}", f"t{n % THINGS}", float(shifted[latest * count + n])) for n in range(count))
    assert [value for *_, value in wanted] == [value for *_, value in by_place]


def test_amounts_of_several_times_are_added(found: Any) -> None:
    count = PEOPLE * THINGS
    times = [f"2026-01-{day:02}T00:00:00Z" for day in (3, 1, 2) for _ in range(count)]
    amounts = [float(1 + (7 * number) % 10) for number in range(3 * count)]

    _, columns = found([{"quantity": amount} for amount in amounts], times=times)

    assert sum(amounts) == columns["number"].sum()
    assert count == len(columns["number"])


def test_of_equal_rows_the_last_one_counts(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Without times, the later row and the later batch."""
    ids = [(f"p{n}", "person", "", "", "") for n in range(30)] + [("t0", "thing", "", "", "")]
    first = [("rated", f"p{n}", "t0", "", json.dumps({"rating": 1 + n % 5})) for n in range(30)]
    workspace.import_files([entities_csv(*ids), interactions_csv(*first)])
    later = [("rated", "p0", "t0", "", '{"rating": 2}'), ("rated", "p0", "t0", "", '{"rating": 5}')]
    workspace.import_files([interactions_csv(*later, name="later.csv")])
    home = workspace.settings.home

    selection = select(home, Catalog(home).batches.select(None), tmp_path / "selected", started=utc_now())

    with connect() as connection:
        file = str(selection.folder / "interactions.parquet")
        numbers = connection.execute("SELECT number FROM read_parquet($file) ORDER BY source_row", {"file": file})
        assert [5.0] == [number for (number,) in numbers.fetchall()][:1]


# What is asked


def test_what_is_asked_goes_first(found: Any) -> None:
    """Key and limits; a weight below zero is a dislike, `ignored` counts all alike."""
    metadata = [{"rating": value, "mood": value * 10} for value in spread([1, 2, 3, 4, 5])]

    rule, columns = found(metadata, {"rated": {"value_key": "mood", "positive_above": 50, "negative_below": 10}})

    assert ("rating", "mood", 50, 10) == (rule.meaning, rule.key, rule.positive_above, rule.negative_below)
    assert {10.0, 20.0, 30.0, 40.0, 50.0} == set(columns["number"].tolist())


@pytest.mark.parametrize(
    ("asked", "meaning"),
    [
        ("ignored", "plain"),
        ("learned", "rating"),
        ({"weight": -2}, "dislike"),
        ({"weight": 3}, "rating"),
        ({}, "rating"),
    ],
)
def test_a_rule_for_a_type(found: Any, asked: Any, meaning: str) -> None:
    assert meaning == found([{"rating": value} for value in spread([1, 2, 3, 4, 5])], {"rated": asked})[0].meaning


def test_a_weight_of_zero_leaves_a_type_out(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """It is known all the same, and so not recommended."""
    ids = [*((f"p{n}", "person", "", "", "") for n in range(5)), *((f"t{n}", "thing", "", "", "") for n in range(2))]
    rows = [row for n in range(5) for row in (("saw", f"p{n}", "t0", "", ""), ("bought", f"p{n}", "t1", "", ""))]
    workspace.import_files([entities_csv(*ids), interactions_csv(*rows)])
    home = workspace.settings.home
    rules = check(TrainingRequest, {"interaction_rules": {"saw": {"weight": 0}}}).interaction_rules

    selection = select(
        home, Catalog(home).batches.select(None), tmp_path / "selected", started=utc_now(), interaction_rules=rules
    )

    with connect() as connection:
        for name, kept in (("interactions", 5), ("left_out", 5)):
            file = str(selection.folder / f"{name}.parquet")
            assert [(kept,)] == connection.execute("SELECT count(*) FROM read_parquet($f)", {"f": file}).fetchall()


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({"rate": "ignored"}, UnknownType, "did you mean 'rated'"),
        ({"rated": {"value_key": "ratng"}}, InvalidRequest, "did you mean 'rating'"),
        ({"rated": {"value_key": "mood"}}, InvalidRequest, 'holds texts such as "fine"'),
        ({"rated": {"positive_above": 2, "negative_below": 4}}, InvalidRequest, "must be less than"),
        ({"rated": {"weight": 1000}}, InvalidRequest, "100"),
        ({"rated": {"wieght": 1}}, InvalidRequest, "wieght"),
        ({"rated": "unlearned"}, InvalidRequest, "learned"),
    ],
)
def test_what_cannot_be_is_refused(found: Any, asked: Asked, error: type[LucidError], told: str) -> None:
    """With what was found and what is known."""
    with pytest.raises(error, match=told):
        found([{"rating": value, "mood": "fine"} for value in spread([1, 2, 3, 4, 5])], asked)


def test_rules_are_read_back_as_they_were_written() -> None:
    rule = StrengthRule("rated", "rating", "rating: all", "rating", 1, 5, 3, 4.0, 2.4, None, False, 60, 60)

    assert rule == StrengthRule.from_json(json.loads(json.dumps(vars(rule))))
