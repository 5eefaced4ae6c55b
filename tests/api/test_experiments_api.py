"""Impressions, attribution and experiments over real HTTP, with the API alone."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.keys import create_key
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Api

ITEMS, EVENTS, EXPERIMENTS = f"{BASE}/recommended_items", f"{BASE}/events", f"{BASE}/experiments"
HALVES = [{"name": "now", "share": 0.5}, {"name": "old", "share": 0.5, "version": 1}]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("board")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    workspace.train("board")
    return workspace


@pytest.fixture(scope="module")
def api(trained: Workspace) -> Iterator[Api]:
    with Api(trained.settings.home).running() as api:
        yield api


def question(source: str | list[str], **more: Any) -> dict[str, Any]:
    return {"model_id": "board", "source_id": source, "target_type": "item", "max_recommendations": 4, **more}


def asked(api: Api, source: str | list[str], **more: Any) -> dict[str, Any]:
    answer = api.own_client.post(ITEMS, json=question(source, **more)).raise_for_status().json()
    assert isinstance(answer, dict)
    return answer


def total(api: Api, **more: Any) -> dict[str, Any]:
    found = api.own_client.get(f"{BASE}/models/board/attribution", params=more).raise_for_status().json()
    assert isinstance(found, dict)
    return found


def test_an_answer_without_an_id_is_the_same_to_the_byte(api: Api) -> None:
    """With one it only gets longer at its end, by both methods; nothing else of it changes."""
    plain = api.own_client.post(ITEMS, json=question("u00"))
    noted = api.own_client.post(ITEMS, json=question("u00", recommendation_id=True))
    by_query = api.own_client.get(ITEMS, params=question("u00", recommendation_id=True))
    off = api.own_client.post(ITEMS, json=question("u00", recommendation_id=False, experiment=None))

    assert plain.content == off.content
    for answer in (noted, by_query):
        recommendation_id = answer.json()["recommendation_id"]
        assert plain.content[:-1] + b',"recommendation_id":"%b"}' % recommendation_id.encode() == answer.content
    assert noted.json()["recommendation_id"] != by_query.json()["recommendation_id"]


def test_csv_has_the_id_in_a_header(api: Api) -> None:
    """Its lines are those without."""
    plain = api.own_client.post(ITEMS, json=question("u00", output_format="csv"))
    noted = api.own_client.post(ITEMS, json=question("u00", output_format="csv", recommendation_id=True))

    assert plain.content == noted.content
    assert "lucid-recommendation-id" not in plain.headers
    one = {"type": "clicked", "source_id": "u00", "target_id": noted.text.split("\n")[1].split(",")[1]}
    answer = api.own_client.post(EVENTS, json={**one, "recommendation_id": noted.headers["Lucid-Recommendation-Id"]})
    assert 1 == answer.json()["accepted"]


def test_what_came_of_an_answer_is_told(api: Api) -> None:
    """From the question to the rate, with an unknown id refused by itself."""
    before = total(api)["total"]["impressions"]
    answer = asked(api, "u01", recommendation_id=True)
    row, recommendation_id = answer["recommendations"][1], answer["recommendation_id"]
    one = {"type": "watched", "source_id": "u01", "target_id": row["target_id"], "recommendation_id": recommendation_id}

    told = api.own_client.post(EVENTS, json=[one, {**one, "recommendation_id": "0" * 32}]).json()

    assert (1, 1) == (told["accepted"], told["rejected"])
    assert ("recommendation_id", "unknown_recommendation") == tuple(
        told["errors"][0][name] for name in ("column", "code")
    )
    found = total(api, by="rank")
    assert before + 4 == found["total"]["impressions"]
    second = next(group for group in found["groups"] if group["rank"] == 2)
    assert [("watched", 1, 1)] == [
        (each["type"], each["events"], each["rows"]) for each in second["events"] if each["type"] == "watched"
    ]
    assert 0 == total(api, **{"from": "2999-01-01"})["total"]["impressions"]
    assert "2026-01-01T00:00:00.000Z" == total(api, **{"from": "2026-01-01"})["from_time"]


@pytest.mark.parametrize(
    "more",
    [
        {"source_id": None, "source_type": "user", "recommendation_id": True},
        {"source_id": ["u"] * 101, "recommendation_id": True},
        {"max_recommendations": 10_000, "source_id": ["u00", "u01"], "recommendation_id": True},
        {"recommendation_id": "perhaps"},
        {"experiment": "deeper", "version": 1},
    ],
)
def test_what_cannot_be_noted_is_refused(api: Api, more: dict[str, Any]) -> None:
    wanted = {name: value for name, value in question("u00", **more).items() if value is not None}
    answer = api.own_client.post(ITEMS, json=wanted)

    assert (422, "invalid_request") == (answer.status_code, answer.json()["code"])


def test_an_experiment_from_its_beginning_to_its_end(api: Api) -> None:
    """Begun, asked, looked at, stopped and deleted by the client, as in Python here."""
    with Client(api.base, apikey=api.secret) as client:
        began = client.begin_experiment("deeper", "board", HALVES)
        assert [began] == client.experiments()
        versions = {}
        for source in ("u00", "u01", "u02", "u03", "u04"):
            answer = asked(api, source, experiment="deeper")
            assert {"now": 2, "old": 1}[answer["variant"]] == answer["version"]
            versions[source] = answer["version"]
            csv = api.own_client.get(ITEMS, params=question(source, experiment="deeper", output_format="csv"))
            assert (answer["variant"], "deeper") == (csv.headers["Lucid-Variant"], csv.headers["Lucid-Experiment"])
        table = client.recommend("board", source_id=list(versions), target_type="item", experiment="deeper")
        assert versions == {source: told["version"] for source, told in table.attrs["noted"]["variants"].items()}
        one = table.iloc[0]
        noted = {"recommendation_id": table.attrs["noted"]["recommendation_id"]}
        client.send_events({"type": "bought", "source_id": one["source_id"], "target_id": one["target_id"], **noted})

        report = client.experiment("deeper")
        assert 5 == sum(result.sources for result in report.results)
        assert 1 == sum(event.sources for result in report.results for event in result.events)
        assert ["unknown"] == [difference.verdict for difference in report.differences]
        assert report == Workspace(api.home).experiment("deeper")
        assert client.stop_experiment("deeper").stopped is not None
        assert asked(api, "u00", experiment="deeper")["variant"] is None
        assert client.attribution("board", by="version") == Workspace(api.home).attribution("board", by="version")
        client.delete_experiment("deeper")
        assert [] == client.experiments()
        assert (404, "unknown_experiment") == tuple(
            api.own_client.get(f"{EXPERIMENTS}/deeper").json()[name] for name in ("status", "code")
        )


def test_rows_of_a_placed_variant_have_its_columns_on_either_side(api: Api) -> None:
    """Client and workspace, one source and several, with explanations and without; the answer names a placement that
    all of its rows follow."""
    here = Workspace(api.home)
    here.save_placement({"name": "home", "pin": [{"id": "i04", "rank": 1}]})
    variants = [{"name": "plain", "share": 0.5}, {"name": "placed", "share": 0.5, "placement": "home"}]
    sources = [f"u{user:02}" for user in range(6)]
    with Client(api.base, apikey=api.secret) as there:
        there.begin_experiment("ruled", "board", variants)
        told = {source: asked(api, source, experiment="ruled") for source in sources}
        assert {"plain", "placed"} == {answer["variant"] for answer in told.values()}
        for who in (*sources, sources):
            for explain in (False, True):
                more: dict[str, Any] = {"target_type": "item", "experiment": "ruled", "explain": explain}
                mine, theirs = (one.recommend("board", source_id=who, **more) for one in (here, there))
                pd.testing.assert_frame_equal(mine, theirs, check_dtype=False, atol=2e-6)
        for source, answer in told.items():
            placement = {"placed": "home@1"}.get(answer["variant"])
            assert placement == answer.get("placement")
            table = there.recommend("board", source_id=source, target_type="item", experiment="ruled")
            assert (placement is not None) == ("propensity" in table)
        mixed = asked(api, sources, experiment="ruled")
        assert "placement" not in mixed
        assert {told[source]["variant"] == "placed" for source in sources} == {
            row["placement"] == "home@1" for row in mixed["recommendations"]
        }
        none = there.recommend("board", source_id=sources, target_type="item", experiment="ruled", threshold=100)
        assert none.empty
        there.delete_experiment("ruled")


def test_a_name_is_taken_once(api: Api) -> None:
    wanted = {"name": "twice", "model_id": "board", "variants": HALVES}

    assert [201, 409] == [api.own_client.post(EXPERIMENTS, json=wanted).status_code for _ in range(2)]
    assert 200 == api.own_client.delete(f"{EXPERIMENTS}/twice").status_code


def test_keys_are_asked_for(api: Api) -> None:
    """Who may only recommend neither begins an experiment nor looks at one; who may train does."""
    _, shop = create_key(Catalog(api.home), scopes=["recommend"])
    for path in (EXPERIMENTS, f"{BASE}/models/board/attribution"):
        for key, status in ((None, 401), (shop, 403), (api.secret, 200)):
            with api.client(key) as client:
                assert status == client.get(path).status_code


def test_what_was_answered_is_known_after_a_kill(trained: Workspace, tmp_path: Path) -> None:
    """Each id that a client got may be named by an event, however the API ended meanwhile; none counts twice."""
    home = trained.settings.home
    got: list[tuple[str, str]] = []
    for number in range(3):
        with Api(home).running() as api:
            doomed = threading.Timer(0.5 + 0.2 * number, os.kill, (api.process.pid, signal.SIGKILL))
            doomed.start()
            for _ in range(100_000):
                try:
                    answer = asked(api, "u05", recommendation_id=True)
                except httpx.TransportError:
                    break
                got.append((answer["recommendation_id"], answer["recommendations"][0]["target_id"]))
            doomed.join()
    with Api(home).running() as api:
        for start in range(0, len(got), 1000):
            events = [
                {"type": "killed", "source_id": "u05", "target_id": target, "recommendation_id": one, "event_id": one}
                for one, target in got[start : start + 1000]
            ]
            for _ in range(2):
                assert len(events) == api.own_client.post(EVENTS, json=events).json()["accepted"]
        (killed,) = (one for one in total(api)["total"]["events"] if one["type"] == "killed")

    assert len(got) > 3
    assert (len(got), len(got)) == (killed["events"], killed["rows"])
