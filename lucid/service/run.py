"""The service on one machine: Prefect server, the process that serves the flows, and the API, started as one.

Nothing here knows what the parts do; they are started by name as programs of their own, with their logs under
`LUCID_HOME/logs`, and kept going by `lucid.service.supervisor`.
"""

import json
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
from filelock import Timeout

from lucid.errors import InvalidRequest, Unavailable
from lucid.service import pulse
from lucid.service.origins import own_addresses
from lucid.service.prefect_api import PrefectApi
from lucid.service.supervisor import MARK, STOP_SECONDS, Part, Supervisor, end_leftovers
from lucid.settings import THREADS_THAT_SLEEP, Settings, variables
from lucid.store.files import check_writable, write_once, write_text
from lucid.store.home import Home
from lucid.store.locks import is_worked_on, working

_LOCK = "service"
_UVICORN = (
    "uvicorn",
    "lucid.api.app:create_service",
    "--factory",
    "--no-access-log",
    "--http",
    "lucid.api.connections:Connection",
)
_DAY_SECONDS = 86_400
_EVENT_DAYS = 7
"""How long Prefect keeps events at most, as by its own default."""
_ASK_SECONDS = 5.0
"""Patience with a part that is asked whether it answers."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(Exception):
    """A signal asked the service to stop."""


@dataclass(frozen=True)
class Running:
    """A service on a home: its process, its addresses, and whether all parts have answered."""

    pid: int
    api: str
    prefect: str
    ready: bool


def run_service(settings: Settings, say: Callable[[str], None]) -> int:
    """Run the service until a signal stops it (returns 0) or one of its parts dies again and again (returns 1).

    Raises InvalidRequest where a service runs on this home already or a port is taken, Unavailable where a part does
    not start.
    """
    try:
        with working(settings.home, _LOCK), _signals_raise():
            home = Home(settings.home)
            for folder in (home.path, home.logs, home.prefect):
                check_writable(folder)
            return _run(settings, _undisturbed(say))
    except Timeout:
        running = read_service(settings)
        where = f" at {running.api} (process {running.pid})" if running else ""
        raise InvalidRequest(f"a service already runs on {settings.home}{where}", code="already_running") from None


def read_service(settings: Settings) -> Running | None:
    """The service that runs on a home; None where none does."""
    if not is_served(settings):
        return None
    try:
        return Running(**json.loads(_service_file(settings).read_text()))
    except (OSError, ValueError, TypeError):  # it only begins, or another release wrote it
        return None


def is_served(settings: Settings) -> bool:
    """Whether a service runs on a home, or begins to."""
    return is_worked_on(settings.home, _LOCK)


def stop_service(settings: Settings) -> int:
    """Stop the service that runs on a home and wait until it has ended; what a lost one has left is ended too.

    Returns how many processes were left of a service whose own process was gone. Raises InvalidRequest where nothing
    runs, Unavailable where it does not end.
    """
    running = read_service(settings)
    if running:
        process = psutil.Process(running.pid)
        process.terminate()
        try:
            process.wait(STOP_SECONDS + 5)
        except psutil.TimeoutExpired:
            raise Unavailable(f"the service (process {process.pid}) does not stop; end it by hand") from None
        return 0
    left = 0 if is_served(settings) else end_leftovers(settings.home)
    if not left:
        raise InvalidRequest(f"no service runs on {settings.home}", code="not_running")
    return left


def _run(settings: Settings, say: Callable[[str], None]) -> int:
    try:
        if left := end_leftovers(settings.home):
            say(f"Ended {left} processes that were left of a service whose own process was gone.")
        pulse.end(settings.home)
        _check_ports(settings)
        with Supervisor(
            parts_of(settings),
            {**environment(settings), MARK: str(settings.home)},
            Home(settings.home).logs,
            say,
        ) as parts:
            _tell(settings, ready=False)
            say("Starting the API …")  # first, as look-ups need nothing else
            parts.start("api")
            secret = _make_secrets(settings, say)
            parts.wait_for("api")
            say("Starting Prefect and flows …")
            if settings.prefect_api_url is None:
                parts.start("prefect")
                parts.wait_for("prefect")
            parts.start("flows")
            parts.wait_for("flows")
            _tell(settings, ready=True)
            _say_ready(settings, secret, say)
            say(parts.watch())
            return 1
    except _Stop:
        say("Stopping …")
        return 0
    finally:
        end_leftovers(settings.home)
        _service_file(settings).unlink(missing_ok=True)


def _make_secrets(settings: Settings, say: Callable[[str], None]) -> str | None:
    """Make what a new home lacks: the callback secret and, for a person to read, a first API key, which is returned."""
    # While the API starts: what this loads takes as long as all else that comes before.
    from lucid.keys import create_key
    from lucid.store.catalog import Catalog
    from lucid.webhooks.callbacks import callback_secret

    callback_secret(settings)
    catalog = Catalog(settings.home)
    if catalog.keys.all():
        return None
    if settings.log_format == "json":  # what is said is kept then, and read by others
        say("There is no API key yet; make one with: lucid keys create")
        return None
    return create_key(catalog, "first key")[1]


def parts_of(settings: Settings) -> list[Part]:
    """What the service is made of, in the order of its start; it is stopped in the opposite order."""
    prefect, listen = (
        _Answers(f"{settings.prefect_api}/health"),
        ("--host", settings.host, "--port", str(settings.api_port)),
    )
    server = Part("prefect", ("lucid.flows.prefect_server",), prefect)
    flows = Part("flows", ("lucid.flows.serve",), lambda: pulse.beats(settings.home), needs=prefect)
    api = Part("api", (*_UVICORN, *listen), _Answers(f"{_api(settings)}/health"))
    return [api, flows] if settings.prefect_api_url else [api, server, flows]


def _say_ready(settings: Settings, secret: str | None, say: Callable[[str], None]) -> None:
    say("")
    say(f"  API           {_api(settings)}/v1/recommender")
    say(f"  Console       {_api(settings)}/console")
    say(f"  API docs      {_api(settings)}/docs")
    say(f"  Prefect UI    {settings.prefect_ui}")
    if settings.prefect_api_url is None:
        say(f"                sign in with the text in {auth_file(settings)}")
    say(f"  Data          {settings.home}")
    if secret:
        say(f"  API key       {secret}")
        say("                shown only now; make more with: lucid keys create")
    say("")
    say("Ready. Ctrl-C stops all of it.")


def _api(settings: Settings) -> str:
    return f"http://{settings.reachable_host}:{settings.api_port}"


def _service_file(settings: Settings) -> Path:
    return Home(settings.home).service


def _tell(settings: Settings, *, ready: bool) -> None:
    """Leave for other commands what runs here."""
    running = Running(os.getpid(), _api(settings), settings.prefect_ui, ready)
    write_text(_service_file(settings), json.dumps(asdict(running)))


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


# Prefect


def prefect_auth(settings: Settings) -> str | None:
    """`user:password` for the Prefect server: kept in the home for our own, made once unless the settings have one.

    None for a foreign server without one.
    """
    wanted = settings.prefect_auth_string
    if settings.prefect_api_url:
        return wanted
    kept = write_once(auth_file(settings), wanted or f"lucid:{secrets.token_urlsafe(32)}")
    if wanted and wanted != kept:  # for commands that do not find it in their environment
        write_text(auth_file(settings), wanted)
    return wanted or kept


def prefect_calls(settings: Settings) -> PrefectApi:
    """Calls of our own Prefect server, or of the one that the settings name, signed in."""
    return PrefectApi(settings, prefect_auth(settings))


def auth_file(settings: Settings) -> Path:
    """Where the text stands with which people sign in to the UI of our own Prefect server."""
    return Home(settings.home).prefect_auth


def environment(settings: Settings) -> dict[str, str]:
    """What the parts of the service, and every program that talks to its Prefect server, find in their environment."""
    defaults = THREADS_THAT_SLEEP | {
        "PREFECT_HOME": str(Home(settings.home).prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        # What a server under load could not do is asked again, as what it puts off is.
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
        # What our loggers say during a run stands on its page, and elsewhere in the log of the process alone.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "lucid",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # A run that waits for its deployment's limit is looked at again after this time, less 10 s of foresight.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "15",
        # In memory, what runs hold would be forgotten with the server, their places never free, and they ended.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "DO_NOT_TRACK": "1",
        # Nothing grows for ever: 177 kB stay of a run otherwise.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(settings.keep_runs_days * _DAY_SECONDS),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{min(settings.keep_runs_days, _EVENT_DAYS)}D",
    }
    fixed = {"PREFECT_API_URL": settings.prefect_api, "PREFECT_UI_URL": settings.prefect_ui}
    auth = prefect_auth(settings)
    if auth:
        fixed |= {"PREFECT_API_AUTH_STRING": auth, "LUCID_PREFECT_AUTH_STRING": auth}
    if settings.prefect_api_url is None:
        fixed |= _closed_to_strangers(settings)
    # A key of Prefect's cloud would be sent instead of the auth string.
    inherited = {name: value for name, value in os.environ.items() if not (auth and name == "PREFECT_API_KEY")}
    return {**defaults, **inherited, **variables(settings), **fixed}


def _closed_to_strangers(settings: Settings) -> dict[str, str]:
    """Settings of our own Prefect server: who can change a deployment can run programs here."""
    pages = own_addresses(settings, settings.prefect_port, settings.prefect_ui).pages
    return {
        "PREFECT_SERVER_API_AUTH_STRING": prefect_auth(settings) or "",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(pages)),
    }


class _Answers:
    """Whether a page answers with 200; asked again and again over one connection, by several threads if need be."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(timeout=_ASK_SECONDS, trust_env=False)

    def __call__(self) -> bool:
        try:
            return self._client.get(self._url).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


# The terminal


def _undisturbed(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says lines so that a terminal that is gone ends nothing."""

    def said(line: str) -> None:
        with suppress(OSError):
            say(line)

    return said


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into `_Stop` once; while stopping, further signals are ignored."""

    def stop(_number: int, _frame: object) -> None:
        for name in before:
            signal.signal(name, signal.SIG_IGN)
        raise _Stop

    asked = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup wants it
    before = {number: signal.signal(number, stop) for number in asked}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
