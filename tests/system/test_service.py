"""The whole service, as a customer and an operator see it: real Prefect server, served flows, uvicorn, HTTP."""

import csv
import io
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lucid.demo.receiver import Receiver
from tests.erasure.test_erase import places_of
from tests.support.checkerboard import NOTHING_LEFT, USERS, withheld, write_checkerboard
from tests.support.service import SECRET, Service, wait_for_training, wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The checkerboard with a time on every interaction: all young but those of user 0, which are old."""
    written = write_checkerboard(tmp_path_factory.mktemp("files"))
    header, *lines = written[1].read_text().splitlines()
    today = f"{datetime.now(UTC):%Y-%m-%d},"
    timed = [line[:-1] + ("2001-01-01," if ",u00," in line else today) for line in lines]
    written[1].write_text("\n".join([header, *timed]) + "\n")
    return written


@pytest.fixture(scope="module")
def uploaded(client: httpx.Client, files: list[Path]) -> list[dict[str, Any]]:
    response = upload(client, *files, tags="board,2026")
    assert 200 == response.status_code, response.text
    batches: list[dict[str, Any]] = response.json()
    return batches


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET).running() as running:
        yield running


@pytest.fixture(scope="module")
def trained(client: httpx.Client, uploaded: list[dict[str, Any]], receiver: Receiver) -> dict[str, Any]:
    request = {
        "model_id": "board",
        "data_tags": ["board"],
        "maximum_interaction_age_days": 365,
        "callback_url": receiver.url,
    }
    started = client.post("/train", json=request)
    assert 202 == started.status_code, started.text
    assert ("board", "running", 1) == tuple(started.json()[name] for name in ("model_id", "status", "version"))
    return wait_for_training(client, "board")


def upload(client: httpx.Client, *files: Path, **fields: str) -> httpx.Response:
    return client.post("/data_batch", files=[("files", (file.name, file.read_bytes())) for file in files], data=fields)


def test_uploading_answers_with_a_batch_for_each_file(uploaded: list[dict[str, Any]], client: httpx.Client) -> None:
    """Counts, tags, time and status stand in the answer, and later in the list."""
    assert [("entities.csv", 50, 0), ("interactions.csv", 0, 270)] == [
        (batch["file_name"], batch["entity_count"], batch["interaction_count"]) for batch in uploaded
    ]
    assert all(batch["tags"] == ["board", "2026"] and batch["status"] == "completed" for batch in uploaded)
    assert all(batch["timestamp"].endswith("Z") for batch in uploaded)
    assert uploaded == client.get("/data_batch", params={"tags": "2026"}).json()
    assert uploaded[:1] == client.get("/data_batch", params={"batch_id": uploaded[0]["batch_id"]}).json()


def test_a_training_uses_the_tagged_and_young_data(
    trained: dict[str, Any], uploaded: list[dict[str, Any]], client: httpx.Client
) -> None:
    """The status ends completed; old interactions were not learned from, but are known, and not recommended again."""
    assert ("completed", 100, "finished") == tuple(trained[name] for name in ("status", "progress", "stage"))
    assert [batch["batch_id"] for batch in uploaded] == trained["data_batch_ids"]
    assert trained["start_timestamp"] < trained["end_timestamp"]

    rows = ask(client, source_type="user", target_type="item", max_recommendations=20)

    learned = ask(client, source_id="u00", target_type="item", max_recommendations=20, exclude="learned")
    assert 20 == len(learned)  # nothing to leave out: all its interactions are old
    assert {"popular"} == {row["served_by"] for row in learned}
    assert 11 == sum(row["source_id"] == "u00" for row in rows)
    first = {row["source_id"]: row["target_id"] for row in rows if row["rank"] == 1}
    found = [first[f"u{user:02}"] == f"i{withheld(user):02}" for user in range(1, USERS)]
    assert all(found)


def ask(client: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    response = client.post("/recommended_items", json={"model_id": "board", **wanted})
    assert 200 == response.status_code, response.text
    rows: list[dict[str, Any]] = response.json()["recommendations"]
    return rows


def test_recommendations_are_counted(trained: dict[str, Any], service: Service, client: httpx.Client) -> None:
    """The figures for Prometheus grow by the rows that were given."""

    def given() -> float:
        text = httpx.get(f"http://127.0.0.1:{service.api_port}/metrics", trust_env=False).text
        return float(text.split("\nlucid_recommendations_total ")[1].split("\n")[0])

    before = given()
    ask(client, source_id=["u05", "u06"], target_type="item", max_recommendations=3)

    assert before + 6 == given()


def test_an_upload_counts_with_the_next_question(trained: dict[str, Any], client: httpx.Client, tmp_path: Path) -> None:
    """Without a training; once its batch is deleted it counts no more."""
    question = {"model_id": "board", "source_id": "u06", "target_type": "item"}
    before = client.get("/recommended_items", params=question).json()
    target = before["recommendations"][0]["target_id"]
    file = tmp_path / "late.csv"
    file.write_text(f"type,source_id,target_id,timestamp,metadata\nlikes,u06,{target},,\n")

    (batch,) = upload(client, file, tags="board").json()
    after = client.get("/recommended_items", params=question).json()
    client.delete("/data_batch", params={"batch_id": batch["batch_id"]})

    assert ("cache", "folded-in") == (before["served_by"], after["served_by"])
    assert target not in [row["target_id"] for row in after["recommendations"]]
    assert before == client.get("/recommended_items", params=question).json()


def test_the_callback_comes_signed(trained: dict[str, Any], receiver: Receiver) -> None:
    """The receiver, which verifies signatures, has got the final status."""
    event = receiver.events.get(timeout=30)

    assert ("training.completed", "board", 1) == tuple(event[name] for name in ("event", "model_id", "version"))
    assert trained == {name: event[name] for name in trained}
    assert 0 == receiver.refused


def test_aliases_and_slashes_are_accepted(trained: dict[str, Any], service: Service, key: str) -> None:
    """/recommender and /v1/recommend/train are other names, and a slash at the end is no other path."""
    base = f"http://127.0.0.1:{service.api_port}"
    headers = {"apikey": key}
    for path in ("/recommender/status", "/recommender/status/", "/v1/recommender/status/"):
        assert 200 == httpx.get(base + path, params={"model_id": "board"}, headers=headers, trust_env=False).status_code
    wrong = {"model_id": "not allowed!"}
    for path in ("/v1/recommend/train", "/v1/recommend/train/"):
        assert 422 == httpx.post(base + path, json=wrong, headers=headers, trust_env=False).status_code


def test_a_second_training_replaces_the_first_without_a_gap(trained: dict[str, Any], client: httpx.Client) -> None:
    """The old version answers every request until the new one does; a third training meanwhile is refused."""
    versions: list[int] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            wanted = {"model_id": "board", "source_id": "u05", "target_type": "item"}
            versions.append(client.post("/recommended_items", json=wanted).raise_for_status().json()["version"])

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        client.post("/train", json={"model_id": "board"}).raise_for_status()
        refused = client.post("/train", json={"model_id": "board"})
        status = wait_for_training(client, "board")
        wait_until(lambda: versions and versions[-1] == 2, 10, "the new version")
    finally:
        done.set()
        asking.join()

    assert (409, "already_training") == (refused.status_code, refused.json()["code"])
    assert ("completed", 2) == (status["status"], status["version"])
    assert sorted(versions) == versions
    assert {1, 2} == set(versions)


def test_a_failing_training_tells_why_by_status_and_callback(
    trained: dict[str, Any], client: httpx.Client, receiver: Receiver
) -> None:
    """Status and callback say error with the step that emptied the data; the model answers as before."""
    request = {"model_id": "board", "data_filters": NOTHING_LEFT, "callback_url": receiver.url}
    client.post("/train", json=request).raise_for_status()

    status = wait_for_training(client, "board")
    event = receiver.events.get(timeout=30)

    assert "error" == status["status"]
    assert "no interactions are left" in status["message"]
    assert ("training.error", status["message"]) == (event["event"], event["message"])
    assert ask(client, source_id="u05", target_type="item")


def test_an_import_that_takes_long_is_answered_with_202(client: httpx.Client, tmp_path: Path) -> None:
    """wait_seconds=0 answers at once with running batches, which complete later; deleting removes them."""
    file = tmp_path / "late.csv"
    file.write_text("id,type,name,metadata,media_url\nx1,extra,,,\n")

    response = upload(client, file, tags="late", wait_seconds="0")

    assert (202, "running") == (response.status_code, response.json()[0]["status"])
    batch_id = response.json()[0]["batch_id"]
    wait_until(
        lambda: client.get("/data_batch", params={"batch_id": batch_id}).json()[0]["status"] == "completed",
        30,
        "import",
    )
    deleted = client.delete("/data_batch", params={"tags": "late"})
    assert [batch_id] == [batch["batch_id"] for batch in deleted.json()]
    assert 404 == client.get("/data_batch", params={"batch_id": batch_id}).status_code


def test_batches_are_changed_and_their_rejects_downloaded(client: httpx.Client, tmp_path: Path) -> None:
    """PATCH gives tags and the archive mark; the list of rejected rows comes as CSV."""
    file = tmp_path / "partly.csv"
    file.write_text("id,type,name,metadata,media_url\nx1,extra,,,\n,extra,,,\nx2,extra,,nonsense,\n")
    (batch,) = upload(client, file).json()

    changed = client.patch(
        "/data_batch", params={"batch_id": batch["batch_id"]}, json={"tags": ["n"], "archived": True}
    )
    rejects = client.get(f"/data_batch/{batch['batch_id']}/errors")

    assert [(["n"], True)] == [(found["tags"], found["archived"]) for found in changed.json()]
    rows = list(csv.DictReader(io.StringIO(rejects.text)))
    assert [("3", "id", "empty_value"), ("4", "metadata", "invalid_metadata")] == [
        (row["line"], row["column"], row["code"]) for row in rows
    ]
    assert 422 == client.patch("/data_batch", json={"archived": True}).status_code
    assert 422 == client.patch("/data_batch", params={"tags": "n"}, json={}).status_code
    assert 404 == client.get("/data_batch/none/errors").status_code
    assert 1 == len(client.delete("/data_batch", params={"tags": "n"}).json())


def test_an_erased_entity_leaves_every_file(service: Service, client: httpx.Client, tmp_path: Path) -> None:
    """The call counts what went; then its id is nowhere under the home, Prefect's database included."""
    entities, interactions = write_checkerboard(tmp_path)
    for file in (entities, interactions):
        file.write_text(file.read_text().replace("u03", "Zoe 4711, gone").replace("Zoe 4711, gone", '"Zoe 4711, gone"'))
    upload(client, entities, interactions, tags="erasable").raise_for_status()
    client.post("/train", json={"model_id": "erasable", "data_tags": ["erasable"]}).raise_for_status()
    wait_for_training(client, "erasable")
    query = {"model_id": "erasable", "source_id": "Zoe 4711, gone", "target_type": "item"}
    assert 200 == client.post("/recommended_items", json=query).status_code
    assert set() != places_of("Zoe 4711, gone", service.home)

    erased = client.delete("/entities", params={"id": "Zoe 4711, gone"})

    assert 200 == erased.status_code, erased.text
    counts = erased.json()
    assert (1, 9, 1) == (counts["entities"], counts["interactions"], counts["vectors"])
    assert set() == places_of("Zoe 4711, gone", service.home)
    assert 404 == client.post("/recommended_items", json=query).status_code
    again = client.delete("/entities", params={"id": ["Zoe 4711, gone", "nobody"]})
    assert {0} == set(again.json().values())
    assert 422 == client.delete("/entities").status_code
    client.delete("/data_batch", params={"tags": "erasable"}).raise_for_status()


def test_hostile_names_are_only_names(trained: dict[str, Any], service: Service, client: httpx.Client) -> None:
    """Files, tags, models and entities may be called what they like: all stays in the home and works as ever."""
    content = "id,type,name,metadata,media_url\nx1,extra,=1,,\n"
    names = ["../../x.csv", "=1+1 'a' \"b\" *?[c] 🙂.csv", "%2e%2e%2f.csv"]
    tags = ["../..", "=1+1", "'\"🙂", "%00"]

    uploaded = client.post("/data_batch", files=[("files", (name, content)) for name in names], data={"tags": tags})

    assert 200 == uploaded.status_code, uploaded.text
    assert ["x.csv", "=1+1 'a' %22b%22 *?[c] 🙂.csv", "%2e%2e%2f.csv"] == [one["file_name"] for one in uploaded.json()]
    assert uploaded.json() == client.get("/data_batch", params={"tags": tags}).json()
    erased = client.delete("/entities", params={"id": ["../..", "\0", "x" * 10_000, "x1", "'", "🙂\n", "%"]})
    assert 3 == erased.raise_for_status().json()["entities"]
    body = {"model_id": "..", "data_tags": ["../..", "\0"], "metadata_rules": {"\0": "number"}}
    condition = {"field": "metadata.\0", "op": "eq", "value": "\0'", "for_type": "../.."}
    refused = [
        client.post("/train", json=body),
        client.post("/train", json={"model_id": "..", "metadata_rules": {"\0": "number"}}),
        client.post("/train", json={"model_id": "..", "data_filters": {"entities": [condition]}}),
    ]
    assert [422] * 3 == [answer.status_code for answer in refused]
    places = "data_tags.1", "metadata_rules", "data_filters.entities.0.for_type"
    assert [] == [place for place, answer in zip(places, refused, strict=True) if place not in answer.json()["detail"]]
    assert 3 == len(client.delete("/data_batch", params={"tags": tags}).json())
    assert {service.home, service.log} == set(service.home.parent.iterdir())
    assert "Traceback" not in (service.home / "logs" / "api.log").read_text()


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"a,b\n1,2\n", 422, "missing_column"),
        (b"id,type,name,metadata,media_url\n", 422, "no_rows"),
        (b"id,type,name,metadata,media_url\nx,t,\xe9,,\n", 422, "not_utf8"),
        (b"PK\x03\x04\x00\x00", 422, "not_csv"),
        (b"id,type,name,metadata,media_url,source_id,target_id,timestamp\nx,t,,,,,,\n", 422, "mixed_kinds"),
    ],
)
def test_unusable_files_are_refused_and_leave_nothing(
    service: Service, client: httpx.Client, tmp_path: Path, content: bytes, status: int, code: str
) -> None:
    """One clear problem; no batch in the list, no file on disk."""
    before = client.get("/data_batch").json()
    file = tmp_path / "bad.csv"
    file.write_bytes(content)

    response = upload(client, file)

    assert (status, code) == (response.status_code, response.json()["code"])
    assert "application/problem+json" == response.headers["content-type"]
    assert response.json()["detail"].startswith("bad.csv: ")
    assert before == client.get("/data_batch").json()
    assert [] == list((service.home / "uploads").iterdir())


def asked(source: str, target_type: str, model_id: str = "board") -> dict[str, Any]:
    return {"json": {"model_id": model_id, "source_id": source, "target_type": target_type}}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("GET", "/status", {"params": {"model_id": "none"}}, 404, "unknown_model"),
        ("GET", "/status", {}, 422, "invalid_request"),
        ("POST", "/recommended_items", asked("a", "b", "none"), 404, "unknown_model"),
        ("POST", "/recommended_items", asked("who", "item"), 404, "unknown_source"),
        ("POST", "/recommended_items", asked("u01", "book"), 422, "unknown_type"),
        ("POST", "/recommended_items", {"json": {"model_id": "board", "use": "popular"}}, 422, "invalid_request"),
        ("GET", "/recommended_items", {"params": {"model_id": "board", "use": "similar"}}, 422, "invalid_request"),
        ("POST", "/recommended_items", {"content": b"{"}, 422, "invalid_request"),
        ("POST", "/train", {"json": {"model_id": "a/b"}}, 422, "invalid_request"),
        ("POST", "/train", {"json": {"surprise": 1}}, 422, "invalid_request"),
        ("POST", "/train", {"json": {"callback_url": "ftp://example.org"}}, 422, "callback_refused"),
        ("DELETE", "/data_batch", {}, 422, "invalid_request"),
        ("GET", "/data_batch", {"params": {"batch_id": "none"}}, 404, "unknown_batch"),
        ("POST", "/data_batch", {}, 422, "invalid_request"),
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("PUT", "/train", {}, 405, "method_not_allowed"),
    ],
)
def test_bad_requests_get_a_problem_with_a_code(
    trained: dict[str, Any],
    client: httpx.Client,
    method: str,
    path: str,
    arguments: dict[str, Any],
    status: int,
    code: str,
) -> None:
    """RFC 9457 with a stable code and one sentence, and nothing internal."""
    response = client.request(method, path, **arguments)

    problem = response.json()
    assert (status, code) == (response.status_code, problem["code"]), problem
    assert "application/problem+json" == response.headers["content-type"]
    assert problem["detail"]
    assert "Traceback" not in response.text


def test_strangers_are_refused(trained: dict[str, Any], service: Service) -> None:
    """No key and a wrong key get 401, a key without the scope 403; health and documentation need none."""
    from lucid.keys import create_key
    from lucid.store.catalog import Catalog

    _, reader = create_key(Catalog(service.home), "reader", ["recommend"])
    wanted = {"model_id": "board", "source_id": "u01", "target_type": "item"}

    for key, status in ((None, 401), ("wrong", 401), (reader, 200)):
        with service.client(key) as client:
            assert status == client.post("/recommended_items", json=wanted).status_code
    with service.client(reader) as client:
        refused = client.post("/train", json={"model_id": "board"})
        assert (403, "missing_scope") == (refused.status_code, refused.json()["code"])
    for path in ("/health", "/docs", "/openapi.json"):
        assert 200 == httpx.get(f"http://127.0.0.1:{service.api_port}{path}", trust_env=False).status_code


def test_the_documentation_pages_need_no_internet(service: Service) -> None:
    """What /docs loads comes from the service itself."""
    base = f"http://127.0.0.1:{service.api_port}"
    page = httpx.get(f"{base}/docs", trust_env=False).text

    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert [200] * len(loaded) == [httpx.get(base + path, trust_env=False).status_code for path in loaded]


def test_an_upload_by_a_stranger_is_refused_before_it_is_read(service: Service) -> None:
    """The key is asked for before the body: the refusal comes though only a part of it was sent."""
    head = (
        "POST /v1/recommender/data_batch HTTP/1.1\r\nHost: test\r\napikey: wrong\r\nContent-Length: 900000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.api_port), timeout=10) as connection:
        connection.sendall(head.encode())

        assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_a_broken_upload_leaves_nothing(service: Service, client: httpx.Client, key: str) -> None:
    """A client that goes away in the middle of a file leaves no batch and no file."""
    before = client.get("/data_batch").json()
    head = (
        f"POST /v1/recommender/data_batch HTTP/1.1\r\nHost: test\r\napikey: {key}\r\nContent-Length: 90000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\nid,type,name,metadata,media_url\r\n'
    )
    with socket.create_connection(("127.0.0.1", service.api_port), timeout=10) as connection:
        connection.sendall(head.encode() + b"u1,user,,,\r\n" * 500_000)

    uploads = service.home / "uploads"
    wait_until(lambda: not any(uploads.iterdir()), 10, "the end of the upload")  # that nobody goes on with
    assert before == client.get("/data_batch").json()


def test_prefect_shows_the_progress_the_report_and_readable_names(trained: dict[str, Any], service: Service) -> None:
    """A flow run is named after its model, moves a progress bar to 100 and leaves the training report."""
    run_id = trained["flow_run_url"].rsplit("/", 1)[1]
    artifacts = service.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    tasks = service.prefect("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    runs = service.prefect("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})

    assert 100 == float(by_key["progress-board"])
    assert "| user → item |" in by_key["report-board"]
    assert ["train board"] == [run["name"] for run in runs]
    assert {"select data", "fit model", "publish", "call back"} <= {task["name"].partition(":")[0] for task in tasks}


def test_the_page_of_a_run_shows_what_each_step_has_done(trained: dict[str, Any], service: Service) -> None:
    """What our loggers say stands there: how long a step took and how much it made."""
    run_id = trained["flow_run_url"].rsplit("/", 1)[1]

    def said() -> str:
        lines = service.prefect("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
        return "\n".join(line["message"] for line in lines if line["name"] == "lucid")

    wait_until(lambda: "publishing took" in said(), 20, "the last lines")
    assert "model board version 1: fitting the model took " in said()
    assert re.search(r"precomputing recommendations took [\d.]+ s; recommendations: [\d,]+, pairs: \d+", said())
    assert "asked for by POST train" in said()


def test_the_refresh_is_scheduled(service: Service) -> None:
    """Prefect has planned runs of the refresh, so its scheduler works."""

    def planned() -> list[Any]:
        found: list[Any] = service.prefect(
            "/flow_runs/filter",
            {
                "deployments": {"name": {"any_": ["refresh-recommendations"]}},
                "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            },
        )
        return found

    assert wait_until(planned, 30, "scheduled runs")


def test_flows_stand_back_behind_look_ups(service: Service) -> None:
    """What runs flows has a lower priority than the other parts, and its runs inherit it."""
    parts = psutil.Process(service.process.pid).children()

    priorities = {"lucid.flows.serve" in part.cmdline(): part.nice() for part in parts}

    assert priorities[False] < priorities[True]


def test_a_training_that_was_just_asked_for_survives_a_restart(
    trained: dict[str, Any], service: Service, key: str
) -> None:
    """Stopped before a process has begun it, the training is done after the next start."""
    with service.client(key) as client:
        started = client.post("/train", json={"model_id": "waiting"}).raise_for_status().json()
    service.stop()

    service.start()

    with service.client(key) as client:
        status = wait_for_training(client, "waiting")
    assert ("completed", started["version"]) == (status["status"], status["version"]), status["message"]


def test_a_training_killed_with_the_whole_service_is_ended(
    trained: dict[str, Any], service: Service, key: str, receiver: Receiver
) -> None:
    """After kill -9 of every process the next start says error, calls back, and answers as before."""
    with service.client(key) as client:
        client.post("/train", json={"model_id": "board", "callback_url": receiver.url}).raise_for_status()
        wait_until(
            lambda: (
                client.get("/status", params={"model_id": "board"}).json()["stage"]
                in ("select", "build", "fit", "evaluate")
            ),
            30,
            "it to begin",
        )
    for process in psutil.Process(service.process.pid).children(recursive=True):
        process.kill()
    service.process.kill()
    service.process.wait()

    service.start()

    with service.client(key) as client:
        status = wait_for_training(client, "board")
        assert ask(client, source_id="u05", target_type="item")
    assert "error" == status["status"]
    assert "train again" in status["message"]
    assert "training.error" == receiver.events.get(timeout=30)["event"]


def test_restarting_loses_nothing(trained: dict[str, Any], service: Service, key: str) -> None:
    """Ctrl-C ends every process; after the next start the same key gets the same answers."""
    wanted = {"model_id": "board", "source_type": "user", "target_type": "item", "output_format": "csv"}
    with service.client(key) as client:
        before = client.post("/recommended_items", json=wanted).text
        batches = client.get("/data_batch").json()
    family = psutil.Process(service.process.pid).children(recursive=True)

    service.stop()

    assert 0 == service.process.returncode, service.said()
    assert [] == [process for process in family if process.is_running()]
    service.start()
    assert "API key" not in service.said()
    with service.client(key) as client:
        assert before == client.post("/recommended_items", json=wanted).text
        assert batches == client.get("/data_batch").json()
        assert "error" == client.get("/status", params={"model_id": "board"}).json()["status"]  # as it was left
