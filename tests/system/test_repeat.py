"""Uploads and trainings that are repeated with the same `Idempotency-Key`, over real HTTP: each is done once."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from lucid import Client
from lucid.api.connections import Connection
from lucid.api.idempotency import HEADER, read
from lucid.api.paths import BASE
from lucid.errors import InvalidRequest
from lucid.keys import create_key
from lucid.service.prefect_api import model_tag
from lucid.store.catalog import Catalog
from tests.support.relay import Relay
from tests.support.service import Api, Service, free_port, wait_for_training, wait_until

ENTITIES = b"id,type,name,metadata,media_url\nu1,user,Ann,,\n"
BAD_ROW = ENTITIES + b",user,,,\n"
THREADS = 8

Answer = tuple[int, Any]


@pytest.fixture
def tag() -> str:
    """By which the batches of one test are found."""
    return uuid4().hex


def address(service: Service) -> str:
    return f"http://127.0.0.1:{service.api_port}"


def calls(address: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=address + BASE, headers={"apikey": key}, timeout=60, trust_env=False)


def upload(client: httpx.Client, key: str, tags: str, content: bytes = ENTITIES, **options: str) -> Answer:
    file = {"files": (options.pop("name", "a.csv"), content)}
    fields = {"tags": tags, **options}
    answer = client.post("/data_batch", headers={HEADER: key}, files=file, data=fields)
    return answer.status_code, answer.json()


def train(client: httpx.Client, key: str, **body: Any) -> Answer:
    answer = client.post("/train", headers={HEADER: key}, json=body)
    return answer.status_code, answer.json()


def ids(answer: Answer) -> list[str]:
    status, batches = answer
    assert 200 == status, batches
    assert {"completed"} == {batch["status"] for batch in batches}
    return [batch["batch_id"] for batch in batches]


def stored(client: httpx.Client, tag: str) -> list[str]:
    """Ids of all batches with a tag."""
    found = client.get("/data_batch", params={"tags": tag}).json()
    return [batch["batch_id"] for batch in found]


def at_once(call: Callable[[], Answer]) -> list[Answer]:
    """The answers to the same call from many threads that begin together."""
    start = threading.Barrier(THREADS)

    def go(_number: int) -> Answer:
        start.wait()
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(go, range(THREADS)))


@contextmanager
def another_api(service: Service, **environment: str) -> Iterator[Api]:
    """A second API process on the service's home and, if the environment does not say otherwise, its Prefect."""
    (first,) = (
        process
        for process in psutil.Process(service.process.pid).children(recursive=True)
        if "lucid.api.app:create_service" in process.cmdline() and "--factory" in process.cmdline()
    )
    api = Api(service.home, Connection, None, **{**first.environ(), **environment})
    api.log = service.home.with_name(f"{uuid4().hex}.log")
    with api.running():
        yield api


# The key itself


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\"b\\c"', r'a"b\c'),
        (r'a"b\c', r'a"b\c'),
        ("!" * 255, "!" * 255),
        ('"' + r"\\" * 255 + '"', "\\" * 255),
    ],
)
def test_a_key_may_be_quoted_or_bare(sent: str, meant: str) -> None:
    """Both are the same key."""
    assert meant == read([sent])


@pytest.mark.parametrize(
    "sent",
    [[""], ['""'], ["a b"], ['"a b"'], ['"abc'], ['"a"b"'], [r'"a\b"'], ["\xe9"], ["a\tb"], ["x" * 256], ["a", "a"]],
    ids=ascii,
)
def test_a_malformed_key_is_refused(sent: list[str]) -> None:
    """Empty, too long, not visible, a quote without its other: never taken for another key."""
    with pytest.raises(InvalidRequest, match="1 to 255 visible ASCII characters"):
        read(sent)


def test_a_malformed_key_is_refused_over_http(client: httpx.Client, tag: str) -> None:
    """With 422, on both calls, and nothing is stored."""
    for status, problem in (upload(client, "two words", tag), train(client, '"open', model_id=tag)):
        assert (422, "invalid_request") == (status, problem["code"])
    assert [] == stored(client, tag)


# Uploads


def test_a_repeated_upload_answers_the_same_batches(client: httpx.Client, tag: str) -> None:
    """As they are now, whichever way the key and the tags are written and however long the client waits."""
    first = ids(upload(client, tag, f"{tag},x"))
    client.patch("/data_batch", params={"batch_id": first}, json={"archived": True})

    status, again = upload(client, f'"{tag}"', f"x, {tag}", wait_seconds="1", on_error="set_aside")

    assert (200, first, [True]) == (status, [one["batch_id"] for one in again], [one["archived"] for one in again])
    assert first == stored(client, tag)


def test_uploads_at_the_same_moment_are_one(client: httpx.Client, tag: str) -> None:
    """All of them get the batches of the one that was first, completed."""
    answers = at_once(lambda: upload(client, tag, tag))

    assert [stored(client, tag)] * THREADS == [ids(answer) for answer in answers]
    assert 1 == len(stored(client, tag))


def test_a_running_import_is_answered_as_running(client: httpx.Client, tag: str) -> None:
    """A repeat waits as long as it asks to, with 202 as the first call."""
    first = upload(client, tag, tag, wait_seconds="0")
    again = upload(client, tag, tag, wait_seconds="0")
    finished = upload(client, tag, tag)

    assert 202 == first[0]
    assert first == again
    assert [batch["batch_id"] for batch in first[1]] == ids(finished)


@pytest.mark.parametrize(
    "other",
    [
        {"content": ENTITIES + b"u2,user,,,\n"},
        {"content": b"no,header\n1,2\n"},
        {"name": "b.csv"},
        {"tags": "other"},
        {"on_error": "abort"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_key_is_for_one_request(client: httpx.Client, tag: str, other: dict[str, Any]) -> None:
    """With other files, names, tags or options it is refused, and nothing of that is stored."""
    first = ids(upload(client, tag, tag))

    status, problem = upload(client, tag, **{"tags": tag, **other})

    assert (422, "idempotency_key_reused") == (status, problem["code"])
    assert first == stored(client, tag)
    assert [] == stored(client, "other")
    assert "idempotency_key_reused" == train(client, tag, model_id=tag)[1]["code"]


def test_a_failed_import_fails_again_in_the_same_way(client: httpx.Client, tag: str) -> None:
    """At the same moment, later, and when its batches are gone: the same problem, and nothing is stored."""
    problems = at_once(lambda: upload(client, tag, tag, BAD_ROW, on_error="abort"))
    later = upload(client, tag, tag, BAD_ROW, on_error="abort")

    assert (422, "bad_row") == (later[0], later[1]["code"])
    assert [later] * THREADS == problems
    assert [] == stored(client, tag)


def test_deleted_batches_do_not_come_back(client: httpx.Client, tag: str) -> None:
    """Who deletes what was uploaded and repeats the upload by mistake is told so; another key imports it again."""
    client.delete("/data_batch", params={"batch_id": ids(upload(client, tag, tag))})

    status, problem = upload(client, tag, tag)

    assert (404, "unknown_batch") == (status, problem["code"])
    assert "send a new key" in problem["detail"]
    assert [] == stored(client, tag)
    assert ids(upload(client, f"{tag}-2", tag)) == stored(client, tag)


def test_keys_of_different_clients_do_not_meet(service: Service, client: httpx.Client, tag: str) -> None:
    """The same key with another API key is another key."""
    with calls(address(service), create_key(Catalog(service.home))[1]) as other:
        both = ids(upload(client, tag, tag)) + ids(upload(other, tag, tag))

    assert both == stored(client, tag)
    assert 2 == len(set(both))


@pytest.mark.parametrize(
    "wrong", [{"on_error": "maybe"}, {"content": b"no,header\n1,2\n"}, {"content": b""}, {"colour": "red"}], ids=str
)
def test_a_refused_request_does_not_use_up_its_key(client: httpx.Client, tag: str, wrong: dict[str, Any]) -> None:
    """The corrected request may come with the same key."""
    assert 422 == upload(client, tag, **{"tags": tag, **wrong})[0]

    assert ids(upload(client, tag, tag)) == stored(client, tag)


@pytest.mark.parametrize("missing", [0, 10, 1_000_000], ids=["all sent", "the end not sent", "half sent"])
def test_a_client_that_vanishes_repeats_safely(service: Service, client: httpx.Client, tag: str, missing: int) -> None:
    """However much of the request had been sent when the connection broke, there is one set of batches."""
    content = ENTITIES + b"u2,user,,,\n" * 200_000
    form = {"files": ("a.csv", content)}
    request = client.build_request("POST", "/data_batch", files=form, data={"tags": tag}, headers={HEADER: tag})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    sent = f"POST {BASE}/data_batch HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    with socket.create_connection(("127.0.0.1", service.api_port)) as connection:
        connection.sendall(sent[: len(sent) - missing])

    assert ids(upload(client, tag, tag, content)) == stored(client, tag)
    assert 1 == len(stored(client, tag))


def test_an_upload_that_was_cut_short_is_brought_to_its_end(service: Service, key: str, tag: str) -> None:
    """The API is killed when the batches are entered and no flow run is made yet: a repeat makes it, for the same."""
    catalog = Catalog(service.home)
    with api_without_prefect(service) as api, calls(api.base, key) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, client, tag, tag)
        entered = wait_until(lambda: [batch.batch_id for batch in catalog.batches.find(tags=[tag])], 30, "the batches")
        api.process.kill()
        assert isinstance(first.exception(), httpx.TransportError)

    with another_api(service) as api, calls(api.base, key) as client:
        assert entered == ids(upload(client, tag, tag))
        assert entered == stored(client, tag)


def test_a_api_without_prefect_knows_its_keys(service: Service, key: str, tag: str) -> None:
    """What was answered before is answered after it starts again."""
    with another_api(service) as api:
        with calls(api.base, key) as client:
            first = upload(client, tag, tag, wait_seconds="0")
        api.process.kill()
        with api.running(), calls(api.base, key) as client:
            again = upload(client, tag, tag)

            assert [batch["batch_id"] for batch in first[1]] == ids(again)
            assert ids(again) == stored(client, tag)


def test_what_cannot_be_started_does_not_use_up_its_key(tmp_path: Path, tag: str) -> None:
    """Without Prefect both calls are a 503 that leaves no key, however often they are repeated, and nothing else."""
    api = Api(tmp_path / "home")
    with api.running(), calls(api.base, api.secret) as client:
        for _repeat in range(2):
            assert (503, 503) == (upload(client, tag, tag)[0], train(client, f"{tag}-t", model_id=tag)[0])
            assert [] == stored(client, tag)


def test_what_one_api_cannot_start_another_one_does(service: Service, key: str, tag: str) -> None:
    """They share a home, and what waits in it; nothing of it is withdrawn then."""
    with api_without_prefect(service) as api, calls(api.base, key) as client:
        with calls(address(service), key) as other:
            wait_until(lambda: upload(other, f"{tag}-0", tag)[0] == 200, 30, "the other one to be idle")
        assert 202 == train(client, f"{tag}-t", model_id=tag, data_tags=[tag])[0]


@contextmanager
def api_without_prefect(service: Service) -> Iterator[Api]:
    """An API that finds no Prefect, so that what it enters waits until it is killed or gives up."""
    with another_api(service, LUCID_PREFECT_PORT=str(free_port())) as api:
        yield api


# Trainings


def test_a_repeated_training_answers_the_first_one(client: httpx.Client, tag: str) -> None:
    """While it runs, when it has ended, and when the model has been trained again: always its own status."""
    upload(client, f"{tag}-data", "a,b")
    first = train(client, tag, model_id=tag, data_tags=["b", "a"])
    running = train(client, tag, model_id=tag, data_tags=["a", "b", "a"])
    ended = wait_for_training(client, tag)
    train(client, f"{tag}-2", model_id=tag, data_tags=["a"])
    again = train(client, tag, data_tags=["a", "b"], model_id=tag, callback_url=None)

    assert (202, tag, 1, "running") == (first[0], first[1]["model_id"], first[1]["version"], first[1]["status"])
    assert (202, 1) == (running[0], running[1]["version"])
    assert {first[1]["flow_run_url"], running[1]["flow_run_url"]} <= {None, ended["flow_run_url"]}
    assert (202, ended) == again
    assert 2 == client.get("/status", params={"model_id": tag}).json()["version"]


def test_trainings_at_the_same_moment_are_one(service: Service, client: httpx.Client, tag: str) -> None:
    """One version of one made-up name, and one flow run."""
    upload(client, f"{tag}-data", tag)
    answers = at_once(lambda: train(client, tag, data_tags=[tag]))

    assert {202} == {status for status, _ in answers}
    (model_id,) = {status["model_id"] for _, status in answers}
    assert {1} == {status["version"] for _, status in answers}
    ended = wait_for_training(client, model_id)
    assert "no interactions" in ended["message"]
    assert {status["flow_run_url"] for _, status in answers} <= {None, ended["flow_run_url"]}
    asked = {"flow_runs": {"tags": {"any_": [model_tag(model_id)]}}}
    assert 1 == len(service.prefect("/flow_runs/filter", asked))


def test_a_key_is_for_one_training(client: httpx.Client, tag: str) -> None:
    """With another wish it is refused, and with a new key the model is trained already."""
    assert 202 == train(client, tag, model_id=tag)[0]

    other = train(client, tag, model_id=tag, maximum_interaction_age_days=3)

    assert (422, "idempotency_key_reused") == (other[0], other[1]["code"])
    assert "already_training" == train(client, f"{tag}-2", model_id=tag)[1]["code"]


def test_a_deleted_model_does_not_come_back(client: httpx.Client, tag: str) -> None:
    """Who deletes a model and repeats its training by mistake is told so."""
    upload(client, f"{tag}-data", tag)
    train(client, tag, model_id=tag, data_tags=[tag])
    wait_for_training(client, tag)
    client.delete("/data_batch", params={"tags": tag}).raise_for_status()
    client.delete(f"/models/{tag}").raise_for_status()

    status, problem = train(client, tag, model_id=tag, data_tags=[tag])

    assert (404, "unknown_model") == (status, problem["code"])
    assert "send a new key" in problem["detail"]


def test_a_training_that_was_cut_short_is_brought_to_its_end(service: Service, key: str, tag: str) -> None:
    """The API is killed when the training is entered and no flow run is made yet: a repeat makes it, for the same."""
    catalog = Catalog(service.home)
    with calls(address(service), key) as client:
        upload(client, f"{tag}-data", tag)
    with api_without_prefect(service) as api, calls(api.base, key) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(train, client, tag, model_id=tag, data_tags=[tag])
        wait_until(lambda: tag in catalog.trainings.models(), 30, "the training")
        api.process.kill()
        assert isinstance(first.exception(), httpx.TransportError)

    with calls(address(service), key) as client:
        status, training = train(client, tag, model_id=tag, data_tags=[tag])

        assert (202, 1, "running") == (status, training["version"], training["status"])
        assert "no interactions" in wait_for_training(client, tag)["message"]


# The client


def test_a_lost_answer_does_no_work_twice(service: Service, key: str, tag: str, tmp_path: Path) -> None:
    """The client repeats an import and a training whose answers never came, and each is there once."""
    file = tmp_path / "a.csv"
    file.write_bytes(ENTITIES)
    with Relay(service.api_port).running() as relay, by_way_of(relay, key) as client:
        (batch,) = client.import_files(file, tags=tag)
        assert [batch] == client.batches(tags=[tag])
        assert relay.connections >= 2

    with Relay(service.api_port).running() as relay, by_way_of(relay, key) as client:
        with pytest.raises(Exception, match="no interactions"):
            client.train(tag, data_tags=tag)
        assert 1 == client.status(tag).version
        assert relay.connections >= 2


def by_way_of(relay: Relay, key: str) -> Client:
    return Client(f"http://127.0.0.1:{relay.port}", apikey=key)
