"""The service on one machine: Prefect server, the process that serves the flows, and the API, started as one.

Nothing here knows what the parts do; they are started by name as programs of their own, with their logs under
`LUCID_HOME/logs`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil
from filelock import Timeout

from lucid.catalog import Catalog
from lucid.errors import InvalidRequest, Unavailable
from lucid.keys import create_key
from lucid.locks import is_worked_on, working
from lucid.notify import callback_secret
from lucid.settings import Settings

START_SECONDS = 90
STOP_SECONDS = 7
"""Time for an orderly stop; what still runs then is ended at once, so that a stop takes less than ten seconds."""
_LOCK = "service"
_UVICORN = ("uvicorn", "api.app:create_service", "--factory", "--no-access-log", "--http", "api.connections:Connection")


@dataclass(frozen=True)
class _Part:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class _Stop(Exception):
    """A signal asked the service to stop."""


def run_service(settings: Settings, say: Callable[[str], None]) -> int:
    """Run the service until a signal stops it (returns 0) or one of its parts ends (returns 1).

    Raises InvalidRequest where a service runs on this home already or a port is taken.
    """
    try:
        with working(settings.home, _LOCK), _signals_raise():
            return _run(settings, say)
    except Timeout:
        running = read_service(settings)
        where = f" at {running['api']} (process {running['pid']})" if running else ""
        raise InvalidRequest(f"a service already runs on {settings.home}{where}", code="already_running") from None


def read_service(settings: Settings) -> dict[str, str | int] | None:
    """Process id and addresses of the service that runs on a home, None where none does."""
    if not is_worked_on(settings.home, _LOCK):
        return None
    try:
        found: dict[str, str | int] = json.loads(_service_file(settings).read_text())
    except FileNotFoundError:
        return None
    return found


def stop_service(settings: Settings) -> None:
    """Stop the service that runs on a home and wait until it has ended; raises InvalidRequest where none runs."""
    running = read_service(settings)
    if running is None:
        raise InvalidRequest(f"no service runs on {settings.home}", code="not_running")
    process = psutil.Process(int(running["pid"]))
    process.terminate()
    try:
        process.wait(STOP_SECONDS + 5)
    except psutil.TimeoutExpired:
        raise Unavailable(f"the service (process {process.pid}) does not stop; end it by hand") from None


def _run(settings: Settings, say: Callable[[str], None]) -> int:
    parts: list[_Part] = []
    try:
        _check_ports(settings)
        secret = None if Catalog(settings.home).keys() else create_key(Catalog(settings.home), "first key")[1]
        callback_secret(settings)
        if settings.prefect_api_url is None:
            say("Starting Prefect …")
            port = str(settings.prefect_port)
            parts.append(
                _start(settings, "prefect", "prefect", "server", "start", "--host", settings.host, "--port", port)
            )
        _wait_for(f"{settings.prefect_api}/health", settings, parts)
        say("Starting flows and API …")
        parts.append(_start(settings, "flows", "flows.serve"))
        parts.append(_start(settings, "api", *_UVICORN, "--host", settings.host, "--port", str(settings.api_port)))
        api = f"http://{settings.reachable_host}:{settings.api_port}"
        _wait_for(f"{api}/health", settings, parts)
        _wait_for(f"{settings.prefect_api}/deployments/name/train_model/train-model", settings, parts)
        _service_file(settings).write_text(json.dumps({"pid": os.getpid(), "api": api, "prefect": settings.prefect_ui}))
        say("")
        say(f"  API           {api}/v1/recommender")
        say(f"  API docs      {api}/docs")
        say(f"  Prefect UI    {settings.prefect_ui}")
        say(f"  Data          {settings.home}")
        if secret:
            say(f"  API key       {secret}")
            say("                shown only now; make more with: lucid keys create")
        say("")
        say("Ready. Ctrl-C stops all of it.")
        return _watch(parts, say)
    except _Stop:
        say("Stopping …")
        return 0
    finally:
        _stop(parts)
        _service_file(settings).unlink(missing_ok=True)


def _watch(parts: list[_Part], say: Callable[[str], None]) -> int:
    while True:
        for part in parts:
            if part.process.poll() is not None:
                say(f"{part.name} has ended with code {part.process.returncode}; its log is {part.log}")
                return 1
        time.sleep(0.2)


def _service_file(settings: Settings) -> Path:
    return settings.home / "service.json"


def _check_ports(settings: Settings) -> None:
    ports = {"LUCID_API_PORT": settings.api_port}
    if settings.prefect_api_url is None:
        ports["LUCID_PREFECT_PORT"] = settings.prefect_port
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise InvalidRequest(
                    f"port {port} on {settings.host} cannot be used ({error.strerror}); set {name} to another",
                    code="port_taken",
                ) from error


def _start(settings: Settings, name: str, module: str, *arguments: str) -> _Part:
    """Start a Python module as a part, in a session of its own so that Ctrl-C reaches only us."""
    log = settings.home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = _popen([sys.executable, "-m", module, *arguments], environment(settings), output)
    return _Part(name, process, log)


def _popen(command: list[str], env: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def environment(settings: Settings) -> dict[str, str]:
    """What the parts of the service find in their environment."""
    ours = {
        f"LUCID_{name.upper()}": str(value)
        for name, value in settings.model_dump(mode="json").items()
        if value is not None
    }
    prefect = {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.prefect_api,
        "PREFECT_UI_URL": settings.prefect_ui,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }
    if settings.prefect_auth_string:
        prefect["PREFECT_SERVER_API_AUTH_STRING"] = prefect["PREFECT_API_AUTH_STRING"] = settings.prefect_auth_string
    return {**prefect, **os.environ, **ours, "PREFECT_API_URL": settings.prefect_api}


def _wait_for(url: str, settings: Settings, parts: list[_Part]) -> None:
    """Wait until a part answers with 200; raises Unavailable, with the end of its log, where one ends instead."""
    deadline = time.monotonic() + START_SECONDS
    user, _, password = (settings.prefect_auth_string or "").partition(":")
    with httpx.Client(timeout=2, trust_env=False, auth=(user, password) if user else None) as client:
        while time.monotonic() < deadline:
            for part in parts:
                if part.process.poll() is not None:
                    end = "\n".join(part.log.read_text(errors="replace").splitlines()[-5:])
                    raise Unavailable(f"{part.name} ended while starting; the end of {part.log}:\n{end}")
            try:
                if client.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise Unavailable(f"{url} did not answer within {START_SECONDS} s; the logs are in {settings.home}/logs")


def _stop(parts: list[_Part]) -> None:
    """Stop the parts, the server last, and whatever they started."""
    family = [process for part in parts for process in _with_children(part.process.pid)]
    deadline = time.monotonic() + STOP_SECONDS
    for part in reversed(parts):
        if part.process.poll() is None:
            part.process.terminate()
    for part in reversed(parts):
        try:
            part.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for process in family:
        if process.is_running():
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=max(0.1, deadline - time.monotonic()))
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=2)


def _with_children(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into `_Stop` once; while stopping, further signals are ignored."""

    def stop(_number: int, _frame: object) -> None:
        for name in before:
            signal.signal(name, signal.SIG_IGN)
        raise _Stop

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
