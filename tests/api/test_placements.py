"""Placements over HTTP: saved, asked for, compared and ended, by keys that may."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.keys import create_key
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.support.service import Api

ITEMS, PLACEMENTS = f"{BASE}/recommended_items", f"{BASE}/placements"
ASKED: dict[str, Any] = {"model_id": "board", "source_id": "u01", "target_type": "item", "exclude_interacted": False}
PINNED = {"name": "home", "pin": [{"id": "i04", "rank": 1}]}


@pytest.fixture(scope="module")
def api(trained_hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("placements") / "home"
    shutil.copytree(trained_hostile, home)
    with Api(home).running() as api:
        yield api


@pytest.fixture(scope="module")
def home(api: Api) -> dict[str, Any]:
    """A placement in its first version."""
    saved = api.own_client.post(PLACEMENTS, params={"model_id": "board"}, json=PINNED)
    assert 201 == saved.status_code
    found: dict[str, Any] = saved.json()
    return found


def test_a_placement_is_saved_listed_and_shown(api: Api, home: dict[str, Any]) -> None:
    """As it was written, with a version and its time; saved again as it was, it is the same version."""
    assert {**home, **PINNED, "version": 1} == home
    assert home == api.own_client.post(PLACEMENTS, json=PINNED).json()
    assert [home] == api.own_client.get(PLACEMENTS).json()
    for name in ("home", "home@1"):
        assert home == api.own_client.get(f"{PLACEMENTS}/{name}").json()
    assert [home] == api.own_client.get(f"{PLACEMENTS}/home/versions").json()


def test_answers_follow_it_in_every_way(api: Api, home: dict[str, Any]) -> None:
    """GET and POST, JSON and CSV, one source and all of a type, which comes in pieces: the same rows."""
    question = {**ASKED, "placement": "home"}
    answer = api.own_client.post(ITEMS, json=question).json()
    rows = answer["recommendations"]

    assert "home@1" == answer["placement"]
    assert ("i04", 1, ["pin"], 1.0, "home@1") == tuple(
        rows[0][name] for name in ("target_id", "rank", "rules", "propensity", "placement")
    )
    assert answer == api.own_client.get(ITEMS, params=question).json()
    assert answer == api.own_client.post(ITEMS, json={**question, "placement": "home@1"}).json()
    table = csv.DictReader(io.StringIO(api.own_client.get(ITEMS, params={**question, "output_format": "csv"}).text))
    assert [(row["target_id"], '["pin"]' if row["target_id"] == "i04" else "[]") for row in rows] == [
        (row["target_id"], row["rules"]) for row in table
    ]
    whole = {**question, "source_id": None, "source_type": "user", "output_format": "csv"}
    with api.own_client.stream("POST", ITEMS, json=whole) as pieces:
        every = list(csv.DictReader(io.StringIO(b"".join(pieces.iter_bytes()).decode())))
    assert {"i04"} == {row["target_id"] for row in every if row["rank"] == "1"}
    assert len({row["source_id"] for row in every}) > 10
    plain = api.own_client.post(ITEMS, json=ASKED).json()
    assert "placement" not in plain
    assert "rules" not in plain["recommendations"][0]


def test_python_on_either_side_gets_the_same(api: Api, home: dict[str, Any]) -> None:
    """Client and workspace: placements, tables, previews."""
    here = Workspace(api.home)
    with Client(api.base, apikey=api.secret) as there:
        for ask in (Workspace.placements, Client.placements):
            assert ["home@1"] == [one.reference for one in ask(here if ask is Workspace.placements else there)]  # type: ignore[arg-type]
        for verb, arguments in (("placement", ["home"]), ("placement_versions", ["home"])):
            assert getattr(here, verb)(*arguments) == getattr(there, verb)(*arguments)
        more = [{"source_type": "user"}, {"source_id": ["u01", "nobody"]}, {"source_id": "u01", "explain": True}]
        for who in more:
            tables = [one.recommend("board", target_type="item", placement="home", **who) for one in (here, there)]  # type: ignore[arg-type]
            assert tables[0].to_dict("list") == tables[1].to_dict("list")
            assert tables[0].attrs == tables[1].attrs
        for b in ("home", {"pin": [{"id": "i06", "rank": 2}]}, None):
            previews = [
                one.preview_placements("board", ["u01", "u02"], target_type="item", b=b) for one in (here, there)
            ]
            assert previews[0] == previews[1]


def test_an_ended_placement_answers_no_more(api: Api) -> None:
    """Its name is unknown, its versions are not."""
    api.own_client.post(PLACEMENTS, json={**PINNED, "name": "old"}).raise_for_status()

    assert (2, True) == ((ended := api.own_client.delete(f"{PLACEMENTS}/old").json())["version"], ended["retired"])
    gone = api.own_client.post(ITEMS, json={**ASKED, "placement": "old"})
    assert (404, "unknown_placement") == (gone.status_code, gone.json()["code"])
    assert 404 == api.own_client.delete(f"{PLACEMENTS}/old").status_code
    kept = api.own_client.post(ITEMS, json={**ASKED, "placement": "old@1"})
    assert "old@1" == kept.json()["placement"]
    assert [2, 1] == [one["version"] for one in api.own_client.get(f"{PLACEMENTS}/old/versions").json()]


@pytest.mark.parametrize(
    ("path", "body", "field", "said"),
    [
        ("", {"name": "a", "boosts": []}, "boosts", "did you mean 'boost'"),
        ("", {"name": "a", "pin": [{"id": "i01", "rank": 0}]}, "pin.0.rank", "found 0, expected 1 or more"),
        ("", {"name": "a", "diversity": {"lambda": "x"}}, "diversity.lambda", 'found "x", expected a number'),
        (
            "?model_id=board",
            {"name": "a", "quotas": [{"each": "metadata.x", "at_most": 1, "of": 2}]},
            "",
            "quotas.0.each",
        ),
        ("/preview", {**ASKED, "source_id": "u01"}, "exclude_interacted", "no parameter"),
    ],
)
def test_wrong_rules_are_refused_where_they_are_wrong(
    api: Api, path: str, body: dict[str, Any], field: str, said: str
) -> None:
    """422 with the place of each error, and nothing is saved."""
    refused = api.own_client.post(f"{PLACEMENTS}{path}", json=body)

    assert 422 == refused.status_code
    assert said in refused.json()["detail"]
    assert not field or field in {error["field"] for error in refused.json()["errors"]}
    assert 404 == api.own_client.get(f"{PLACEMENTS}/a").status_code


def test_who_may_change_rules(api: Api, home: dict[str, Any]) -> None:
    """A key that only recommends reads and previews; one that only reads data does nothing of it."""

    def statuses(scope: str) -> list[int]:
        _, secret = create_key(Catalog(api.home), scope, [scope])
        with api.client(secret) as client:
            asked: list[httpx.Response] = [
                client.get(PLACEMENTS),
                client.post(
                    f"{PLACEMENTS}/preview", json={"model_id": "board", "source_id": "u01", "target_type": "item"}
                ),
                client.post(PLACEMENTS, json=PINNED),
                client.delete(f"{PLACEMENTS}/nothing"),
            ]
            return [answer.status_code for answer in asked]

    assert [200, 200, 403, 403] == statuses("recommend")
    assert [403, 403, 201, 404] == statuses("train")
    assert [403, 403, 403, 403] == statuses("data:read")
