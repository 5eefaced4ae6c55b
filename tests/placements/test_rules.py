"""What rules promise, on the small shop: the same rows for every N, stock as it is now, drawn rows as often as told."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lucid.errors import InvalidRequest, UnknownPlacement, UnknownType
from lucid.placements.arrange import Explore, Items, Limit, Members, arrange, places_of
from lucid.placements.precomputed import PrecomputedPlacement
from lucid.schema.fields import format_time, utc_now
from lucid.schema.placements import PlacementRules
from tests.support.shop import BRANDS, Shop, open_shop, random_query, random_rules, violations

RULE_SETS = 250
"""In the suite; `make bench-placements` tries 10,000."""
SHOWN: dict[str, Any] = {"target_type": "item", "exclude_interacted": False}
RED = [{"field": "metadata.colour", "op": "eq", "value": "red"}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sources whose rows were read from what was computed ahead."""
    found: list[int] = []
    whole = PrecomputedPlacement.rows

    def noted(self: PrecomputedPlacement, row: int, n: int) -> Any:
        found.append(row)
        return whole(self, row, n)

    monkeypatch.setattr(PrecomputedPlacement, "rows", noted)
    return found


def test_answers_follow_whatever_rules(shop: Shop) -> None:
    """What is shown, where it stands, what it says of itself: nothing is but as the oracle knows it."""
    found = []
    for seed in range(RULE_SETS):
        chance = random.Random(seed)
        rules, query = random_rules(chance), random_query(chance)
        found += [f"{seed}: {one}" for one in violations(shop, query, rules)]

    assert [] == found


def test_the_first_rows_are_the_same_however_many_are_asked_for(shop: Shop) -> None:
    """With all rules but those that draw."""
    for seed in range(40):
        rules = random_rules(random.Random(1000 + seed)).model_copy(update={"explore": None})
        whole, part = (rows(shop, rules, max_recommendations=n) for n in (200, 7))
        assert whole[: len(part)] == part, seed
        assert min(7, len(whole)) == len(part)


def rows(shop: Shop, rules: PlacementRules, source: str = "u01", **asked: Any) -> list[tuple[str, list[str]]]:
    """Targets and what moved them."""
    from lucid.schema.recommendations import RecommendationQuery

    query = RecommendationQuery.model_validate({"model_id": "shop", "source_id": [source], **SHOWN, **asked})
    tables = [block.table() for block in shop.predictor.recommend(query, rules).blocks]
    return [(name, moved) for table in tables for name, moved in zip(table["target_id"], table["rules"], strict=True)]


def test_availability_is_that_of_the_moment(tmp_path: Path) -> None:
    """A target comes and goes with the clock and with an upload, without a training and without a refresh."""
    shop = open_shop(tmp_path, seed=3)
    shop.workspace.save_placement({"name": "home"})
    names = {name for name, target in shop.targets.items() if target["type"] == "item"}

    def shown() -> set[str]:
        found = shop.workspace.recommend("shop", source_id="u01", placement="home", max_recommendations=200, **SHOWN)
        return set(found["target_id"])

    def upload(metadata: str) -> None:
        file = tmp_path / "stock.csv"
        file.write_text(f'id,type,name,metadata,media_url\ni07,item,,"{metadata}",\n')
        shop.workspace.import_files(file)

    soon, ago = (format_time(utc_now() + timedelta(days=days)) for days in (1, -1))
    for metadata, is_there in (
        ('{""available"": false}', False),
        ('{""available"": ""yes""}', True),
        ('{""available"": 0}', False),
        (f'{{""available_from"": ""{soon}""}}', False),
        (f'{{""available_from"": ""{ago}"", ""available_until"": ""{soon}""}}', True),
        (f'{{""available_until"": ""{ago}""}}', False),
        ("{}", True),
    ):
        upload(metadata)
        assert is_there == ("i07" in shown()), metadata
    assert shown() < names


def test_drawn_rows_come_as_often_as_they_say() -> None:
    """Over many answers each target stands in a row as often as its propensity promises, given the rows above."""
    draws, share = 20_000, 0.5
    values = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    quota = Limit(1, 2, at_most=True, name="q"), Members(np.array([0, 1]), np.array([0, 0]))
    chance = np.random.default_rng(1)
    seen: Counter[tuple[int, int]] = Counter()
    told: dict[tuple[int, int], float] = {}
    for _ in range(draws):
        first, second = arrange(Items(values, {}), 2, [quota], explore=Explore(share, 4, "explore", chance))
        seen[first.item, second.item] += 1
        told[first.item, second.item] = first.propensity * second.propensity

    assert {(0, 1), (1, 0)} & set(seen) == set()
    assert pytest.approx(1) == sum(told.values())
    for pair, probability in told.items():
        assert abs(seen[pair] / draws - probability) < 5 * (probability / draws) ** 0.5, pair


def test_pins_move_up_where_there_are_fewer_targets_than_ranks() -> None:
    """And keep their order; those that fit stand where they should."""
    assert [0, 4] == places_of([1, 5], 10)
    assert [1, 2, 3] == places_of([2, 50, 90], 1)
    assert [0, 1] == places_of([7, 9], 0)


def test_a_quota_that_cannot_be_kept_gives_way(shop: Shop) -> None:
    """N rows are N rows: where every target is of a full brand, the best one comes all the same."""
    none = PlacementRules.model_validate({"available": False, "quotas": [{"each": "type", "at_most": 1, "of": 5}]})
    plain = shop.workspace.recommend("shop", source_id="u01", max_recommendations=20, **SHOWN)

    assert plain["target_id"].tolist() == [name for name, _ in rows(shop, none, max_recommendations=20)]


def test_rows_say_what_moved_them(shop: Shop) -> None:
    """By the names that rules have, or by their kind and number."""
    rules = PlacementRules.model_validate(
        {
            "pin": [{"id": "i00", "rank": 2, "name": "of the week"}],
            "boost": [{"when": RED, "factor": 1000, "name": "red things"}],
            "available": False,
        }
    )
    found = dict(rows(shop, rules, max_recommendations=4))

    assert ["of the week"] == found["i00"]
    assert {("red things",), ("of the week",)} == {tuple(moved) for moved in found.values()}


def test_what_was_computed_ahead_is_what_would_be_answered(tmp_path: Path, read: list[int]) -> None:
    """With each refresh; for all sources at once, row for row, and only as long as nothing has changed."""
    shop = open_shop(tmp_path, seed=5)
    workspace = shop.workspace
    home: dict[str, Any] = {
        "name": "home",
        "pin": [{"id": "i05", "rank": 3}],
        "boost": [{"when": RED, "factor": 2}],
        "quotas": [{"each": "metadata.brand", "at_most": 2, "of": 5}],
        "diversity": {"lambda": 0.7},
    }
    pair = {"model_id": "shop", "source_type": "user", "target_type": "item", "max_recommendations": 20}
    elsewhere = [{**pair, "target_type": "none"}, {**pair, "model_id": "other"}]
    workspace.save_placement({**home, "precompute": [pair, *elsewhere]}, "shop")
    workspace.save_placement({**home, "name": "same"})

    def asked(name: str, **more: Any) -> list[list[Any]]:
        columns = ["source_id", "target_id", "score", "rank", "rules", "propensity", "served_by"]
        found = workspace.recommend("shop", source_type="user", target_type="item", placement=name, **more)
        return [list(row) for row in found[columns].itertuples(index=False)]

    assert asked("home", max_recommendations=20) == asked("same", max_recommendations=20)
    assert [] == read

    workspace.refresh("shop")

    assert asked("same", max_recommendations=20) == asked("home", max_recommendations=20)
    assert 16 == len(read)
    assert asked("same", max_recommendations=5) == asked("home", max_recommendations=5)
    assert 32 == len(read)
    for more in ({"max_recommendations": 21}, {"threshold": 1.0}, {"exclude": "learned"}, {"version": 1}):
        assert asked("same", **more) == asked("home", **more)
    assert 32 == len(read)
    file = tmp_path / "stock.csv"
    file.write_text('id,type,name,metadata,media_url\ni05,item,,"{""available"": false}",\n')
    workspace.import_files(file)
    assert asked("same", max_recommendations=20) == asked("home", max_recommendations=20)
    assert not {row[1] for row in asked("home", max_recommendations=20)} & {"i05"}
    assert 32 == len(read)


def test_a_preview_puts_two_rule_sets_side_by_side(shop: Shop) -> None:
    """Saved ones, others and none; each row with where it stands under the other rules."""
    workspace = shop.workspace
    workspace.save_placement({"name": "red", "available": False, "boost": [{"when": RED, "factor": 1000}]})
    nothing = workspace.preview_placements("shop", ["u01", "nobody"], target_type="item", b={"available": False})
    found = workspace.preview_placements("shop", "u01", target_type="item", b="red", max_recommendations=60)

    assert ("none", "rules", 1.0, ["nobody"]) == (nothing.a, nothing.b, nothing.shared, nothing.unknown_source_ids)
    assert ("none", "red@1", 1.0) == (found.a, found.b, found.shared)
    (source,) = found.sources
    for side, other in ((source.a, source.b), (source.b, source.a)):
        for row in side:
            assert row.other_rank is not None
            assert row.target_id == other[row.other_rank - 1].target_id
    assert {"boost.0"} == {rule for row in source.b for rule in row.rules}


def test_rules_on_what_no_entity_has_are_refused_where_the_model_is_known(shop: Shop) -> None:
    """When they are saved for it and when they are previewed; an answer goes on, as if nothing fulfilled them."""
    typo: dict[str, Any] = {"boost": [{"when": [{**RED[0], "field": "metadata.color"}], "factor": 2}]}
    workspace = shop.workspace

    with pytest.raises(InvalidRequest, match=r"boost.0.when.0.field: no entity has the metadata key 'color'; did you"):
        workspace.save_placement({"name": "typo", **typo}, "shop")
    rules: dict[str, Any] = {"quotas": [{"each": "metadata.brands", "at_most": 1, "of": 2}]}
    with pytest.raises(InvalidRequest, match=r"a.quotas.0.each: no entity has the metadata key 'brands'; did you mean"):
        workspace.preview_placements("shop", "u01", target_type="item", a=rules)
    rules = {"target_filter": [{"field": "type", "op": "eq", "value": "items"}]}
    with pytest.raises(UnknownType, match=r"b.target_filter.0.value: no entity type 'items'"):
        workspace.preview_placements("shop", "u01", target_type="item", b=rules)
    with pytest.raises(UnknownPlacement, match="no placement 'typo'"):
        workspace.recommend("shop", source_id="u01", placement="typo", **SHOWN)
    workspace.save_placement({"name": "typo", "available": False, **typo})
    plain = workspace.recommend("shop", source_id="u01", **SHOWN)
    assert (
        plain["target_id"].tolist()
        == workspace.recommend("shop", source_id="u01", placement="typo", **SHOWN)["target_id"].tolist()
    )


def test_several_as_one_and_explanations_follow_a_placement_too(shop: Shop) -> None:
    """Whatever else a query asks."""
    brand = [{"field": "metadata.brand", "op": "eq", "value": BRANDS[0]}]
    shop.workspace.save_placement({"name": "brand", "target_filter": brand, "pin": [{"id": "i00", "rank": 1}]})
    asked: dict[str, Any] = {"sources": [{"id": "u01"}, {"id": "u02"}], "explain": True, **SHOWN}
    found = shop.workspace.recommend("shop", placement="brand", **asked)

    assert [*found.columns][-4:] == ["rules", "propensity", "placement", "explanation"]
    assert {"u01 + u02"} == set(found["source_id"])
    assert {BRANDS[0]} == {shop.targets[name]["metadata"].get("brand") for name in found["target_id"]}
    assert all(len(one) for one in found["explanation"][:3])
    assert found["score"].tolist() == sorted(found["score"], reverse=True) or found["rules"].iloc[0] == ["pin"]


@pytest.fixture(autouse=True)
def _unchanged(shop: Shop) -> Iterator[None]:
    """Tests of the shop that they share leave its data as they are."""
    before = len(shop.workspace.batches())
    yield
    assert before == len(shop.workspace.batches())
