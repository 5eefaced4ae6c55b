"""Errors over real HTTP: every one is a problem of RFC 9457; that the pages list each is told in `tests/docs`."""

from collections.abc import Iterator
from typing import Any

import pytest

from lucid.api.paths import BASE
from lucid.api.requests import MAX_BODY_BYTES
from lucid.data.batches import new_batches
from lucid.store.catalog import Catalog
from lucid.versions.lifecycle import ModelVersions
from tests.support.service import Api, wait_until


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("problems") / "home").running() as api:
        yield api


def refused(api: Api, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    """The problem that a request gets, which says nothing of how the service is built."""
    response = api.own_client.request(method, path, **arguments)
    problem: dict[str, Any] = response.json()
    assert "application/problem+json" == response.headers["content-type"]
    assert response.status_code == problem["status"]
    assert problem["detail"]
    assert not any(inside in response.text for inside in ("Traceback", ".py", str(api.home)))
    return {**problem, "headers": response.headers}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", f"{BASE}/%2e%2e/status", {}, 404, "not_found"),
        ("GET", f"{BASE}/data_batch/%00/errors", {}, 404, "unknown_batch"),
        ("POST", "/static-offline-docs/favicon.png", {}, 405, "method_not_allowed"),
        ("GET", "/static-offline-docs/none.js", {}, 404, "not_found"),
        ("POST", f"{BASE}/train", {"json": {"model_id": "m" * 10_000}}, 422, "invalid_request"),
        ("POST", f"{BASE}/train", {"content": b'"\\ud800"'}, 422, "invalid_request"),
        ("POST", f"{BASE}/train", {"content": b"\xff"}, 422, "invalid_request"),
        ("POST", f"{BASE}/train", {"content": b"[" * 200_000}, 422, "invalid_request"),
        ("POST", f"{BASE}/train", {"content": b" " * (MAX_BODY_BYTES + 1)}, 413, "too_big"),
    ],
)
def test_whatever_comes_the_answer_is_a_problem(
    api: Api, method: str, path: str, arguments: dict[str, Any], status: int, code: str
) -> None:
    """Paths, methods and bodies that mean nothing get the status and the code that are documented."""
    headers = {"content-type": "application/json"} if "content" in arguments else {}

    problem = refused(api, method, path, headers=headers, **arguments)

    assert (status, code) == (problem["status"], problem["code"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"target_type": "b"}, ["model_id"]),
        ({"model_id": "m", "source_id": "a", "target_type": "b", "threshold": 101}, ["threshold"]),
        ({"model_id": "m", "source_id": ["a", 3.5], "target_type": "b"}, ["source_id.1"]),
        ({"model_id": "m", "source_id": "a", "target_type": "b", "surprise": 1, "version": 0}, ["version", "surprise"]),
        ({"model_id": "m", "source_id": "a", "source_type": "b", "target_type": "b"}, [""]),
        ({"model_id": "m", "target_type": "b", "fallback": "popular"}, [""]),
        ({"model_id": "m", "target_type": "b", "use": "newest", "window_days": 0}, ["use", "window_days"]),
    ],
)
def test_a_wrong_value_is_named(api: Api, body: dict[str, Any], fields: list[str]) -> None:
    """Every field that is wrong stands in `errors`; the name is empty where fields do not fit each other."""
    problem = refused(api, "POST", f"{BASE}/recommended_items", json=body)

    assert (422, "invalid_request") == (problem["status"], problem["code"])
    assert fields == [error["field"] for error in problem["errors"]]
    assert all(error["message"] in problem["detail"] for error in problem["errors"])


def test_text_that_is_not_json_is_told_where_it_breaks(api: Api) -> None:
    """The position, and no field."""
    problem = refused(api, "POST", f"{BASE}/train", content=b'{"model_id": }', headers={"content-type": "text/json"})
    assert "not JSON" not in problem["detail"]  # only what says that it is JSON is read as JSON

    problem = refused(
        api, "POST", f"{BASE}/train", content=b'{"model_id": }', headers={"content-type": "application/json"}
    )

    (error,) = problem["errors"]
    assert ("", "not JSON at position 13: ") == (error["field"], error["message"][:25])


def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    """All methods of the path, whichever route they belong to."""
    allowed = refused(api, "PUT", f"{BASE}/data_batch")["headers"]["allow"]

    assert {"GET", "POST", "PATCH", "DELETE"} == set(allowed.split(", "))
    assert "GET" == refused(api, "PUT", "/metrics")["headers"]["allow"]


def test_an_unexpected_error_tells_nothing_and_is_logged(api: Api) -> None:
    """What nobody thought of is a 500 with a sentence; what happened stands in the log."""
    catalog, (batch,) = Catalog(api.home), new_batches(["a.csv"], [])
    catalog.batches.enter([batch])
    with catalog._database.transaction() as connection:  # what no release of ours writes
        connection.execute("UPDATE batches SET errors = '4711' WHERE batch_id = ?", [batch.batch_id])

    problem = refused(api, "GET", f"{BASE}/data_batch")

    catalog.batches.delete([batch.batch_id])
    assert (500, "internal_error") == (problem["status"], problem["code"])
    assert "4711" not in problem["detail"]
    wait_until(lambda: "input_value=4711" in api.log.read_text(), 5, "the log")


@pytest.mark.parametrize("what", ["nonsense", "folder"])
def test_damage_on_disk_is_named_without_the_place_of_the_home(api: Api, what: str) -> None:
    """A pointer that makes no sense is no fault of the program: 409, with the file and what to do."""
    folder = ModelVersions(api.home, what).folder
    folder.mkdir(parents=True)
    if what == "folder":
        (folder / "live").mkdir()
    else:
        (folder / "live").write_text(what)

    asked = {"model_id": what, "source_id": "a", "target_type": "b"}
    problem = refused(api, "POST", f"{BASE}/recommended_items", json=asked)

    assert (409, "damaged_version") == (problem["status"], problem["code"])
    assert problem["detail"].startswith("the file `live` of this model is damaged (it names no version)")


def test_without_prefect_the_api_is_ready_but_cannot_start_work(api: Api) -> None:
    """Ready says that Prefect is away; a training is a 503 that may be repeated, and leaves nothing running."""
    ready = api.own_client.get("/health/ready")
    problem = refused(api, "POST", f"{BASE}/train", json={"model_id": "m"})

    assert (200, "ok", "unavailable") == (ready.status_code, ready.json()["catalog"], ready.json()["prefect"])
    assert (503, "unavailable") == (problem["status"], problem["code"])
    assert "5" == problem["headers"]["retry-after"]
    assert "error" == api.own_client.get(f"{BASE}/status", params={"model_id": "m"}).json()["status"]


def test_without_its_catalog_the_api_is_not_ready(api: Api) -> None:
    """503 names what is missing; keys that are known go on, so that look-ups do."""
    (api.home / "catalog.duckdb").write_bytes(b"damaged")

    ready = refused(api, "GET", "/health/ready")
    assert (503, "unavailable", "not ready: catalog unavailable") == (ready["status"], ready["code"], ready["detail"])
    batches = refused(api, "GET", f"{BASE}/data_batch")
    assert (503, "unavailable") == (batches["status"], batches["code"])
    lookup = {"model_id": "none", "source_id": "a", "target_type": "b"}
    assert "unknown_model" == refused(api, "POST", f"{BASE}/recommended_items", json=lookup)["code"]
    assert 200 == api.own_client.get("/health/live").status_code
