"""Keys, scopes, health and figures of the running service, as an operator and a stranger meet them."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from lucid.api.auth import OPEN, SCOPES, Guarded, check_routes
from lucid.api.keyring import REFRESH_SECONDS
from lucid.api.paths import BASE
from lucid.keys import SCOPES as ALL_SCOPES
from lucid.keys import create_key
from lucid.schema.fields import format_time, utc_now
from lucid.store.catalog import Catalog
from tests.support.service import Api, Service, wait_until
from tests.test_cli import lucid

PAGES = sorted(OPEN - {"/static-offline-docs"})


@pytest.fixture(scope="module")
def clients(service: Service) -> Iterator[dict[str, httpx.Client]]:
    """A client for each scope, whose key has no other."""
    made = {scope: create_key(Catalog(service.home), scope, [scope])[1] for scope in ALL_SCOPES}
    clients = {scope: service.client(secret) for scope, secret in made.items()}
    yield clients
    for client in clients.values():
        client.close()


def page(service: Service, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{service.api_port}{path}", timeout=10, trust_env=False)


def call(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """A call that changes nothing, whoever makes it."""
    body = {"surprise": 1} if method in ("POST", "PATCH") else None
    return client.request(method, re.sub(r"\{\w+\}", "none", path), json=body)


def keys(command: str, service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lucid(service.home, "keys", command, *arguments)


def test_every_call_is_in_the_table_or_open(service: Service) -> None:
    """What the service describes is what the table lists, and it tells which scope each call needs."""
    described = {
        (method.upper(), path): operation.get("security")
        for path, operations in page(service, "/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
    }

    guarded = {(method, BASE + path): [{"apikey": [scope]}] for (method, path), scope in SCOPES.items()}
    assert guarded == {known: security for known, security in described.items() if security}
    assert {path for known, path in described if (known, path) not in guarded} <= OPEN


@pytest.mark.parametrize("route", SCOPES, ids="".join)
@pytest.mark.parametrize("scope", ALL_SCOPES)
def test_a_key_with_one_scope_opens_its_calls_only(
    clients: dict[str, httpx.Client], route: tuple[str, str], scope: str
) -> None:
    """403 unless it is the scope of the table; `admin` opens no other call than its own either."""
    response = call(clients[scope], *route)

    if SCOPES[route] == scope:
        assert response.status_code in (200, 404, 422), response.text
    else:
        assert (403, "missing_scope") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("route", SCOPES, ids="".join)
@pytest.mark.parametrize("key", [None, "wrong", "naïve"])
def test_without_a_key_nothing_opens(service: Service, route: tuple[str, str], key: str | None) -> None:
    """No key and a wrong one: 401."""
    with service.client(None) as client:
        if key:
            client.headers["apikey"] = key.encode().decode("latin-1")
        response = call(client, *route)

    assert (401, "unauthorized") == (response.status_code, response.json()["code"])
    assert "apikey" == response.headers["www-authenticate"]


@pytest.mark.parametrize("path", PAGES)
def test_health_figures_and_documentation_are_open(service: Service, path: str) -> None:
    """No key is needed for what tells nothing of the data."""
    assert (307 if path == "/" else 200) == page(service, path).status_code  # the front door leads to a page


def test_strangers_learn_nothing_from_bad_requests(service: Service, clients: dict[str, httpx.Client]) -> None:
    """The key is asked before the body is read: nonsense is a 401 or 403, and a 422 only for who may call."""
    with service.client(None) as stranger:
        found = [
            client.post("/train", content=b"{", headers={"content-type": "application/json"}).status_code
            for client in (stranger, clients["recommend"], clients["train"])
        ]

    assert [401, 403, 422] == found


def test_a_key_works_at_once_and_stops_soon_after_it_is_revoked(service: Service) -> None:
    """The service needs no restart, whether a key is new or gone."""
    secret = keys("create", service, "--name", "short-lived", "--scopes", "data:read").stdout.strip()
    with service.client(secret) as client:
        assert 200 == client.get("/data_batch").status_code
        (key_id,) = re.findall(r"(\w{8}) │ short-lived", keys("list", service).stdout)

        assert 0 == keys("revoke", service, key_id).returncode

        wait_until(lambda: client.get("/data_batch").status_code == 401, REFRESH_SECONDS + 1, "the key to stop")
    assert key_id not in keys("list", service).stdout


def test_an_unguarded_route_keeps_the_application_from_starting() -> None:
    """A route outside the table is an error when it is made, one without a guard when the application is."""
    with pytest.raises(LookupError, match=r"GET /secret is not in lucid.api.auth.SCOPES"):
        APIRouter(route_class=Guarded).add_api_route("/secret", lambda: None)
    app = FastAPI(openapi_url=None)
    app.add_api_route("/secret", lambda: None)
    with pytest.raises(LookupError, match="/secret is neither guarded nor"):
        check_routes(app)


def test_ready_tells_what_answers(service: Service) -> None:
    """With everything in place, all parts are ok."""
    parts = {"home": "ok", "catalog": "ok", "prefect": "ok"}

    assert {"status": "ready", **parts, "warning_count": 0, "warnings": []} == page(service, "/health/ready").json()


def test_figures_are_labelled_by_route_and_never_by_path(service: Service, clients: dict[str, httpx.Client]) -> None:
    """Calls count under the template of their route; paths and methods that nobody knows share one label."""
    for name in ("one", "two"):
        clients["data:read"].get(f"/data_batch/{name}/errors")
        clients["data:read"].request("BREW", f"/{name}")
    clients["data:read"].put("/train")

    text = page(service, "/metrics").text

    assert figure(text, route=f"{BASE}/data_batch/{{batch_id}}/errors", method="GET", status="404") >= 2
    assert figure(text, route="other", method="other", status="404") >= 2
    assert figure(text, route=f"{BASE}/train", method="PUT", status="405") >= 1
    assert not re.search(r"\b(one|two)\b|BREW", text)
    assert "process_resident_memory_bytes" in text
    assert "lucid_rate_limited_total 0.0" in text
    assert "lucid_recommendations_total 0.0" in text


def figure(text: str, **labels: str) -> float:
    wanted = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    found = re.search(rf"lucid_call_seconds_count\{{{re.escape(wanted)}\}} (\S+)", text)
    return float(found[1]) if found else 0


def test_a_key_is_written_nowhere_however_it_is_sent(service: Service) -> None:
    """Sent in the right place or a wrong one, it is in no log, no answer, no catalog and not in Prefect's database."""
    _, secret = create_key(Catalog(service.home), "discreet")
    ways: list[dict[str, Any]] = [
        {"params": {"apikey": secret}},
        {"headers": {"authorization": f"Bearer {secret}"}},
        {"headers": {"apikey": secret[:-1] + "~"}},
        {"headers": {"apikey": secret}, "params": {"batch_id": secret}},
    ]
    with service.client(None) as client:
        answers = [client.get("/data_batch", **way) for way in ways]
        inside = client.post("/train", headers={"apikey": secret}, json={"apikey": secret})

    assert [401, 401, 401, 404] == [answer.status_code for answer in answers]
    assert [422, False] == [inside.status_code, secret in inside.text]
    assert secret not in service.said()
    files = [path for path in service.home.rglob("*") if path.is_file()]
    assert [] == [path for path in files if secret.encode() in path.read_bytes()]
    assert service.home / "logs" / "api.log" in files


def test_the_last_use_is_listed_once_the_service_has_recorded_it(service: Service) -> None:
    """At the latest when the service stops; a key that was never used says so."""
    create_key(Catalog(service.home), "idle")
    used, secret = create_key(Catalog(service.home), "busy")
    before = utc_now()
    with service.client(secret) as client:
        assert 200 == client.get("/data_batch").status_code

    service.stop()

    listed = keys("list", service).stdout
    (last_use,) = re.findall(rf"{used.key_id} │ busy .* (\S+Z) │", listed)
    assert format_time(before) <= last_use <= format_time(utc_now())
    assert re.search(r"idle .* never ", listed)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path / "home", LUCID_RATE_LIMIT="3/second").running() as api:
        yield api


def test_a_key_that_calls_too_often_waits_as_long_as_it_is_told(limited: Api) -> None:
    """429 with Retry-After, for this key only, whatever it calls; afterwards it may call again."""
    client = limited.own_client
    answers = [client.get(f"{BASE}/status") for _ in range(10)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    with limited.client(create_key(Catalog(limited.home))[1]) as other:
        assert 422 == other.get(f"{BASE}/status").status_code
    assert [200] * 10 == [client.get("/health").status_code for _ in range(10)]

    assert ("too_many_requests", "application/problem+json") == (
        refused.json()["code"],
        refused.headers["content-type"],
    )
    assert "1" == refused.headers["retry-after"]
    refusals = sum(answer.status_code == 429 for answer in answers)
    assert f"lucid_rate_limited_total {refusals}.0" in client.get("/metrics").text
    time.sleep(int(refused.headers["retry-after"]))
    assert 422 == client.get(f"{BASE}/status").status_code


def test_a_limit_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    """The command names the setting."""
    failed = lucid(tmp_path, "up", LUCID_RATE_LIMIT="many")

    assert (1, 1) == (failed.returncode, failed.stderr.count("\n"))
    assert "bad setting (LUCID_…) rate_limit:" in failed.stderr
