"""The stranger: a page in the operator's browser, another user of the machine, anyone who reaches the ports."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests.support.service import Service, wait_until

EVIL = "https://evil.example"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

WAYS: dict[str, dict[str, str]] = {
    "no content type": {"origin": EVIL},
    "text/plain": {"origin": EVIL, "content-type": "text/plain"},
    "form": {"origin": EVIL, **FORM},
    "multipart": {"origin": EVIL, "content-type": "multipart/form-data; boundary=x"},
    "JSON": {"origin": EVIL, **JSON},
    "a sandboxed page": {"origin": "null", **JSON},
    "a page of another port": {"origin": "http://127.0.0.1:1", **JSON},
    "by another name": {"host": "evil.example", **JSON},
    "by a name that leads here": {
        "host": "127.0.0.1.evil.example:4200",
        "origin": "http://127.0.0.1.evil.example:4200",
    },
    "by another address": {"host": "10.0.0.1", **JSON},
    "no browser, no key": JSON,
    "a wrong password": {"authorization": "Basic bHVjaWQ6d3Jvbmc=", **JSON},
    "a password of another form": {"authorization": "Bearer x", **JSON},
    "made-up CSRF token": {"prefect-csrf-token": "x", "prefect-csrf-client": "x", **JSON},
}
"""Headers of the ways in which a stranger sends; none has the key."""

FOREIGN = {name: headers for name, headers in WAYS.items() if {"origin", "host"} & set(headers)}
"""Those that are refused also with the right password, as a browser may add it by itself."""


@pytest.fixture(scope="module")
def operator(service: Service) -> Iterator[httpx.Client]:
    """Prefect's API as the operator may use it."""
    with service.prefect_client() as client:
        yield client


@pytest.fixture(scope="module")
def deployment(operator: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = operator.get("/deployments/name/import_data/import-data").raise_for_status().json()
    return found


def attacks(deployment: dict[str, Any], marker: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and body of what would read, change or start something."""
    step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {marker}"}}
    shell = {"name": "import-data", "flow_id": deployment["flow_id"], "entrypoint": "x.py:x", "pull_steps": [step]}
    state = {"type": "SCHEDULED"}
    return [
        ("POST", "/deployments/", shell),
        ("PATCH", f"/deployments/{deployment['id']}", {"pull_steps": [step]}),
        ("DELETE", f"/deployments/{deployment['id']}", {}),
        ("POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"files": ["x"]}, "state": state}),
        ("POST", "/deployments/filter", {}),
        ("POST", "/flow_runs/filter", {}),
        ("POST", "/flow_runs/", {"flow_id": deployment["flow_id"], "state": state}),
        ("POST", "/flows/filter", {}),
        ("POST", "/block_documents/filter", {"include_secrets": True}),
        ("POST", "/variables/", {"name": "x", "value": "x"}),
        ("POST", "/logs/filter", {}),
        ("POST", "/admin/database/clear", {"confirm": True}),
        ("GET", f"/deployments/{deployment['id']}", {}),
        ("GET", "/admin/settings", {}),
        ("GET", "/csrf-token?client=x", {}),
    ]


def refused(response: httpx.Response, deployment: dict[str, Any]) -> bool:
    """Whether an answer tells nothing, and lets no page read it."""
    silent = deployment["id"] not in response.text and "import" not in response.text
    return (
        response.status_code in (401, 403)
        and silent
        and response.headers.get("access-control-allow-origin") in (None, "*")
        and "access-control-allow-credentials" not in response.headers
    )


def seen(operator: httpx.Client) -> list[Any]:
    """Deployments and how many runs there are but those that are scheduled by themselves."""
    deployments = operator.post("/deployments/filter", json={}).json()
    manual = {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    fields = ("id", "name", "entrypoint", "pull_steps")
    return [[one[name] for name in fields] for one in deployments] + [
        operator.post("/flow_runs/count", json=manual).json()
    ]


@pytest.mark.parametrize("way", WAYS)
def test_prefect_is_closed_to_strangers(
    service: Service, operator: httpx.Client, deployment: dict[str, Any], tmp_path: Path, way: str
) -> None:
    """However it is sent: nothing is read, nothing changes, nothing starts."""
    before = seen(operator)

    with httpx.Client(base_url=service.prefect_url, headers=WAYS[way], trust_env=False) as stranger:
        told = [
            (method, path, response.status_code, response.text[:200])
            for method, path, body in attacks(deployment, tmp_path / "marker")
            if not refused(response := stranger.request(method, path, content=json.dumps(body)), deployment)
        ]

    assert [] == told
    assert before == seen(operator)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("way", FOREIGN)
def test_a_foreign_page_or_name_is_refused_though_the_browser_is_signed_in(
    operator: httpx.Client, deployment: dict[str, Any], tmp_path: Path, way: str
) -> None:
    """With the password and a CSRF token that are right."""
    before = seen(operator)

    told = [
        (method, path)
        for method, path, body in attacks(deployment, tmp_path / "marker")
        if not refused(operator.request(method, path, content=json.dumps(body), headers=FOREIGN[way]), deployment)
    ]

    assert [] == told
    assert before == seen(operator)


def test_a_preflight_allows_a_stranger_nothing(service: Service) -> None:
    """The browser of the operator does not get the permission to send what a page asks for."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,authorization"}
    for origin in (EVIL, "null", "http://localhost:1"):
        answer = httpx.options(
            f"{service.prefect_url}/deployments/", headers={"origin": origin, **asked}, trust_env=False
        )

        assert answer.is_error
        assert "access-control-allow-origin" not in answer.headers


def test_pages_of_the_ui_may_not_call_out_or_stand_in_others(service: Service) -> None:
    """A browser takes what they load, and where they send to, from our own addresses only."""
    page = httpx.get(service.prefect_url.removesuffix("api"), trust_env=False)

    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))

    assert "'none'" == policy["frame-ancestors"]
    assert "'self' blob:" == policy["worker-src"]  # the graph of a run comes from a worker that the page makes
    allowed = {source for sources in policy.values() for source in sources.split() if ":/" in source}
    named = [name for name in OWN_NAMES if "[" not in name]  # a browser reads no IPv6 address there
    assert {f"{scheme}://{name}:{service.prefect_port}" for scheme in ("http", "ws") for name in named} == allowed


OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
SOCKETS = (
    "/events/out",
    "/events/in",
    "/logs/out",
    "/task_runs/subscriptions/scheduled",
    "/work_pools/x/workers/connect",
)


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("who", ["no password", "a wrong password", "another page", "another name", "no subprotocol"])
def test_a_websocket_tells_a_stranger_nothing(service: Service, path: str, who: str) -> None:
    """It is refused, or closed before it has said anything; with the password too, where a foreign page opens it."""
    password = (service.home / "prefect_auth_string").read_text()
    token = {"no password": None, "a wrong password": "lucid:wrong"}.get(who, password)
    headers = {"another page": {"origin": EVIL}, "another name": {"host": "evil.example"}}.get(who, {})

    async def listen() -> list[str]:
        heard = []
        url = service.prefect_url.replace("http", "ws", 1) + path
        protocols = None if who == "no subprotocol" else [websockets.Subprotocol("prefect")]
        try:
            async with websockets.connect(
                url, subprotocols=protocols, additional_headers=headers, proxy=None
            ) as socket:
                await socket.send(json.dumps({"type": "auth", "token": token}))
                await socket.send(json.dumps({"type": "filter", "filter": {}}))
                while True:
                    heard.append(await asyncio.wait_for(socket.recv(), 10))
        except (websockets.InvalidStatus, websockets.ConnectionClosed, websockets.InvalidMessage):
            return [str(one) for one in heard]

    assert [] == asyncio.run(listen())


def test_the_password_is_its_owners_and_on_no_command_line(service: Service) -> None:
    """It stands in a file that nobody else reads, and in the environment of our own processes."""
    file = service.home / "prefect_auth_string"

    password = file.read_text()

    assert 0o600 == file.stat().st_mode & 0o777
    assert 40 < len(password)
    assert password not in service.said()
    for one in [service.part(module) for module in ("lucid.flows.serve", "lucid.flows.prefect_server", "uvicorn")]:
        assert password not in " ".join(one.cmdline())
        assert password == one.environ()["PREFECT_API_AUTH_STRING"]


def test_the_operator_gets_a_prefect_command_that_is_signed_in(service: Service) -> None:
    """And learns at the start where the UI's password stands."""
    assert f"sign in with the text in {service.home / 'prefect_auth_string'}" in service.said()
    assert "train-model" in service.command("prefect", "deployment", "ls")


def run(client: httpx.Client, deployment: dict[str, Any], file: Path) -> str:
    """Start an import from Prefect and return how it ended."""
    body = {"parameters": {"files": [str(file)]}, "state": {"type": "SCHEDULED"}}
    url = f"/deployments/{deployment['id']}/create_flow_run"
    run_id = client.post(url, json=body).raise_for_status().json()["id"]
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    def state() -> str | None:
        found: str = client.get(f"/flow_runs/{run_id}").raise_for_status().json()["state_type"]
        return found if found in ended else None

    found: str = wait_until(state, 60, "the run")
    return found


def test_a_changed_deployment_runs_our_flow_and_is_put_right_at_the_next_start(
    service: Service, tmp_path: Path
) -> None:
    """Whatever it says of steps, code, folder or parameters, the flow that is installed here is what runs."""
    evil, marker, file = tmp_path / "evil.py", tmp_path / "marker", tmp_path / "entities.csv"
    evil.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    file.write_text("id,type,name,metadata,media_url\nx1,extra,,,\n")
    changed = {
        "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": f"touch {marker}"}}],
        "entrypoint": f"{evil}:import_data",
        "path": str(tmp_path),
        "parameters": {"on_error": "abort"},
    }
    with service.prefect_client() as client:
        before = client.get("/deployments/name/import_data/import-data").json()
        client.patch(f"/deployments/{before['id']}", json=changed).raise_for_status()

        assert "COMPLETED" == run(client, before, file)
        assert not marker.exists()

    service.stop()
    service.start()

    with service.prefect_client() as client:
        after = client.get("/deployments/name/import_data/import-data").json()
        # No steps are none, whether as an empty list or as nothing.
        assert [before[field] or None for field in changed] == [after[field] or None for field in changed]
        assert "COMPLETED" == run(client, after, file)
    assert not marker.exists()


API_WAYS = {name: way for name, way in WAYS.items() if not name.startswith(("a wrong", "a password", "made-up"))}


@pytest.mark.parametrize("way", [*API_WAYS, "a wrong key"])
def test_the_api_is_closed_to_strangers(service: Service, way: str) -> None:
    """Every call asks for a key, before anything of the request is read; no page may read an answer."""
    headers = {"apikey": "wrong", **JSON} if way == "a wrong key" else API_WAYS[way]
    calls = [
        *(("POST", path) for path in ("/train", "/data_batch", "/recommended_items", "/models/x/cancel")),
        *(("GET", path) for path in ("/data_batch", "/status?model_id=x", "/models", "/recommended_items?model_id=x")),
        *(("DELETE", path) for path in ("/entities?id=x", "/models/x", "/data_batch?tags=x")),
    ]
    with httpx.Client(trust_env=False, headers=headers) as stranger:
        base = f"http://127.0.0.1:{service.api_port}/v1/recommender"
        answers = [stranger.request(method, base + path, content=b'{"model_id": "x"}') for method, path in calls]

    assert {401, 421} >= {answer.status_code for answer in answers}
    assert all("access-control-allow-origin" not in answer.headers for answer in answers)


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/openapi.json", "/metrics", "/static-offline-docs/favicon.png"])
@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if "host" in way or way.get("origin") == EVIL])
def test_pages_of_the_api_are_read_by_our_own_addresses_only(service: Service, page: str, way: str) -> None:
    """A name that was made to lead here gets nothing; our own addresses get the page."""
    url = f"http://127.0.0.1:{service.api_port}{page}"

    stranger = httpx.get(url, headers=WAYS[way], trust_env=False)

    assert (421, "foreign_address") == (stranger.status_code, stranger.json()["code"])
    assert 200 == httpx.get(url, trust_env=False).status_code
    assert 200 == httpx.get(url.replace("127.0.0.1", "localhost"), trust_env=False).status_code
