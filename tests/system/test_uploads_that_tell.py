"""What an upload tells over HTTP of ids with two types, of namespaces and of files that hold nothing good."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid import Client
from lucid.errors import UnusableFile
from tests.support.service import Service, wait_for_training

ENTITIES = "id,type,name,metadata,media_url\n"
INTERACTIONS = "type,source_id,target_id,timestamp,metadata\n"
USERS = ENTITIES + "".join(f"{number},user,,,\n" for number in range(1, 31))
MOVIES = ENTITIES + "".join(f"{number},movie,,,\n" for number in range(1, 21))
RATINGS = INTERACTIONS + "".join(
    f"likes,{user},{movie},,\n"
    for user in range(1, 31)
    for movie in range(1, 21)
    if user % 2 == movie % 2 and (user + movie) % 5
)
BAD = ENTITIES + "1,user,,nonsense,\n" * 30
NAMED = {"namespace": "true", "source_type": "user", "target_type": "movie"}


def upload(client: httpx.Client, *contents: str, **fields: str) -> httpx.Response:
    files = [("files", (f"{number}.csv", content.encode())) for number, content in enumerate(contents)]
    return client.post("/data_batch", files=files, data={"wait_seconds": "60", **fields})


def test_two_tables_become_recommendations_over_http(client: httpx.Client) -> None:
    """With a namespace ids are of their type; without one the second table warns and a training asks."""
    uploaded = upload(client, USERS, MOVIES, RATINGS, tags="named", **NAMED)
    batches = uploaded.raise_for_status().json()
    assert [[], [], []] == [batch["warnings"] for batch in batches]

    client.post("/train", json={"model_id": "named", "data_tags": ["named"]}).raise_for_status()
    assert "completed" == wait_for_training(client, "named")["status"]
    rows: list[dict[str, Any]] = client.get(
        "/recommended_items", params={"model_id": "named", "source_id": "user:1", "target_type": "movie"}
    ).json()["recommendations"]
    assert rows
    assert all(row["target_id"].startswith("movie:") for row in rows)

    plain = upload(client, USERS, MOVIES, RATINGS, tags="plain").raise_for_status().json()
    assert ["20 ids have changed from the type user to movie"] == [
        warning.partition(",")[0] for batch in plain for warning in batch["warnings"]
    ]
    client.post("/train", json={"model_id": "plain", "data_tags": ["plain"]}).raise_for_status()
    ended = wait_for_training(client, "plain")
    assert "error" == ended["status"]
    assert "20 of 30 ids of the type user have become movie" in ended["message"]
    allowed = {"model_id": "plain", "data_tags": ["plain"], "allow_type_changes": True}
    client.post("/train", json=allowed).raise_for_status()
    assert "completed" == wait_for_training(client, "plain")["status"]


def test_wrong_uses_of_a_namespace_are_refused_at_once(client: httpx.Client) -> None:
    """Before anything is stored, with a code and what to do."""
    before = client.get("/data_batch").json()

    untyped = upload(client, USERS, RATINGS, namespace="true")
    colon = upload(client, RATINGS, **{**NAMED, "source_type": "a:b"})
    nonsense = upload(client, RATINGS, namespace="perhaps")

    assert (422, "missing_column") == (untyped.status_code, untyped.json()["code"])
    assert "source_type, target_type is missing" in untyped.json()["detail"]
    assert (422, "invalid_request") == (colon.status_code, colon.json()["code"])
    assert (422, "invalid_request") == (nonsense.status_code, nonsense.json()["code"])
    assert before == client.get("/data_batch").json()


def test_a_file_without_a_good_row_is_a_problem_with_its_code(client: httpx.Client) -> None:
    """In the answer, or in the batch where the call did not wait for it."""
    waited = upload(client, USERS, BAD)

    assert (422, "no_good_rows") == (waited.status_code, waited.json()["code"])
    assert "none of its 30 rows is good, so nothing was stored: line 2, column metadata" in waited.json()["detail"]


def test_the_client_names_and_fails_as_the_workspace_does(service: Service, key: str, tmp_path: Path) -> None:
    """The same parameters and the same errors."""
    for name, content in (("users", USERS), ("ratings", RATINGS), ("bad", BAD)):
        (tmp_path / f"{name}.csv").write_text(content)
    with Client(f"http://127.0.0.1:{service.api_port}/", apikey=key) as lucid:
        named = lucid.import_files(
            [tmp_path / "users.csv", tmp_path / "ratings.csv"],
            source_type="user",
            target_type="movie",
            namespace=True,
        )
        with pytest.raises(UnusableFile, match="none of its 30 rows is good") as bad:
            lucid.import_files(tmp_path / "bad.csv")
        counts = lucid.erase("user:30")

    assert "no_good_rows" == bad.value.code
    assert ["completed", "completed"] == [batch.status for batch in named]
    assert counts.entities >= 1
