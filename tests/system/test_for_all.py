"""What is popular and trending, asked of the running service: what is counted one by one, uploads included."""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.client import Client
from tests.serving.test_for_all import WAYS, assert_same
from tests.support.crowds import LAST_DAY, ORACLES, RISING, Listed, Row, ages_of, colour, interactions, write_crowd
from tests.support.service import Service, wait_for_training
from tests.system.test_service import upload

ROWS = interactions(seed=7)


@pytest.fixture(scope="module")
def crowd(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model of a crowd."""
    files = write_crowd(tmp_path_factory.mktemp("crowd"), ROWS)
    upload(client, *files, tags="crowd").raise_for_status()
    client.post("/train", json={"model_id": "crowd", "data_tags": ["crowd"]}).raise_for_status()
    wait_for_training(client, "crowd")
    yield "crowd"
    client.delete("/models/crowd").raise_for_status()
    client.delete("/data_batch", params={"tags": "crowd"}).raise_for_status()


def listed(rows: list[dict[str, Any]]) -> Listed:
    return [(row["target_id"], float(row["score"]), float(row["probability"])) for row in rows]


def ask(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    response = client.post("/recommended_items", json={"model_id": "crowd", **asked})
    assert 200 == response.status_code, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_service_lists_what_counting_one_by_one_finds(crowd: str, client: httpx.Client) -> None:
    """By both methods, in both formats, over windows, half-lives and filters."""
    chance = random.Random(3)
    for _ in range(60):
        way, entity_type = chance.choice(WAYS), chance.choice(("item", "user"))
        window, half_life = chance.choice((3, 7, 30, 120)), chance.choice((None, 2.0, 30.0))
        wanted = chance.choice((None, "black", "red")) if entity_type == "item" else None
        conditions = [{"field": "metadata.colour", "op": "eq", "value": wanted}] if wanted else None
        asked: dict[str, Any] = {"model_id": crowd, "target_type": entity_type, "use": way, "window_days": window}
        asked |= {"half_life_days": half_life} if half_life else {}
        asked |= {"max_recommendations": chance.choice((2, 1000))}
        counted = ORACLES[way](ages_of(ROWS, entity_type), window, half_life)
        expected = [one for one in counted if not wanted or colour(one[0]) == wanted][: asked["max_recommendations"]]

        posted = client.post("/recommended_items", json={**asked, "target_filter": conditions}).json()
        asked |= {"target_filter": json.dumps(conditions)} if conditions else {}
        got = client.get("/recommended_items", params=asked).json()
        text = client.get("/recommended_items", params={**asked, "output_format": "csv"}).text

        assert_same(expected, listed(posted["recommendations"]))
        assert posted == got
        assert way == posted["served_by"]
        assert listed(list(csv.DictReader(io.StringIO(text)))) == listed(posted["recommendations"])


def test_nobody_and_strangers_are_answered(crowd: str, client: httpx.Client, service: Service) -> None:
    """Without a source what is popular; strangers get nothing unless the question says what, in Python too."""
    popular = ask(client, target_type="item")
    stranger = {"model_id": crowd, "source_id": "stranger", "target_type": "item"}
    refused = client.post("/recommended_items", json=stranger)
    mixed = ask(client, source_id=["u03", "stranger"], target_type="item", fallback="trending", window_days=7)

    assert "popular" == popular["served_by"]
    assert {""} == {row["source_id"] for row in popular["recommendations"]}
    assert (404, "unknown_source") == (refused.status_code, refused.json()["code"])
    assert ["stranger"] == mixed["unknown_source_ids"]
    assert "mixed" == mixed["served_by"]
    rows = [row for row in mixed["recommendations"] if row["source_id"] == "stranger"]
    assert_same(ORACLES["trending"](ages_of(ROWS, "item"), 7, None), listed(rows))
    with Client(str(client.base_url).split("/v1")[0], apikey=client.headers["apikey"]) as python:
        table = python.recommend(crowd, target_type="item", use="trending", window_days=7)
    assert listed(rows) == list(zip(table["target_id"], table["score"], table["probability"], strict=True))
    assert RISING == table["target_id"][0]


def test_what_is_uploaded_counts_until_it_is_deleted(crowd: str, client: httpx.Client, tmp_path: Path) -> None:
    """Without a training."""
    known = {(source, target) for _, source, target, _, _ in ROWS}
    fans = [f"u{user:02}" for user in range(40) if (f"u{user:02}", "i28") not in known]
    rows: list[Row] = [("view", fan, "i28", f"{LAST_DAY.isoformat()}T20:00:00", "") for fan in fans]
    asked: dict[str, Any] = {"target_type": "item", "use": "trending", "window_days": 7}
    before = ask(client, **asked)

    (batch,) = upload(client, write_crowd(tmp_path, rows)[1], tags="crowd").json()
    after = ask(client, **asked)
    client.delete("/data_batch", params={"batch_id": batch["batch_id"]}).raise_for_status()

    assert_same(ORACLES["trending"](ages_of([*ROWS, *rows], "item"), 7, None), listed(after["recommendations"]))
    assert "i28" == after["recommendations"][0]["target_id"]
    assert before == ask(client, **asked)
