"""Sessions over HTTP: in JSON and in a query string, by the client, and never kept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.workspace import Workspace
from tests.support.service import Api
from tests.support.walks import item, train_walks

ITEMS = f"{BASE}/recommended_items"
SESSION = [{"id": item(10 + step)} for step in range(4)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walks")
    return train_walks(Workspace(folder / "home"), folder).settings.home


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[Api]:
    with Api(home).running() as api:
        yield api


def asked(session: object, **more: Any) -> dict[str, Any]:
    return {"model_id": "walks", "target_type": "item", "max_recommendations": 5, "session": session, **more}


def test_all_ways_to_ask_give_the_same_answer(api: Api, home: Path) -> None:
    """POST, GET, the client and the library; unknown ids are named in each."""
    session = [*SESSION, {"id": "nobody"}]
    expected = Workspace(home).recommend("walks", session=session, target_type="item", max_recommendations=5)

    posted = api.own_client.post(ITEMS, json=asked(session)).json()
    got = api.own_client.get(ITEMS, params=asked(json.dumps(session))).json()
    ids = [one["id"] for one in session]
    with Client(api.base, apikey=api.secret) as client:
        table = client.recommend("walks", session=ids, target_type="item", max_recommendations=5)

    assert item(14) == expected["target_id"][0]
    assert posted == got
    assert expected.to_dict("records") == posted["recommendations"]
    assert (["nobody"], "session") == (posted["unknown_source_ids"], posted["served_by"])
    assert expected.equals(table)
    assert ["nobody"] == table.attrs["unknown_source_ids"]
    assert 'served_by="session"' in api.own_client.get("/metrics").text


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ([*SESSION, {"id": "a", "timestamp": 1}], "1 of 5 entities have a timestamp; give it of all or of none"),
        ([{"id": "u01"}], "no source interacts with that; interactions are user → item"),
        ([{"id": item(1), "type": "planet"}], "planet"),
        ([{"id": item(1), "score": 1}], "score"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_session_is_said(api: Api, session: object, message: str) -> None:
    """As a problem with status 422."""
    for answer in (
        api.own_client.post(ITEMS, json=asked(session)),
        api.own_client.get(ITEMS, params=asked(json.dumps(session))),
    ):
        assert 422 == answer.status_code
        assert message in json.dumps(answer.json(), ensure_ascii=False)


def test_a_session_stands_for_the_source(api: Api) -> None:
    """Together with one it is refused."""
    answer = api.own_client.post(ITEMS, json=asked(SESSION, source_id="u01"))

    assert 422 == answer.status_code
    assert "one of source_id, source_type and sources, or a session" in answer.text
