"""A real service for tests: started as a user starts it, talked to over HTTP."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock
from prefect.client.base import PrefectHttpxSyncClient

from lucid.api.connections import Connection
from lucid.client import Client
from lucid.keys import create_key
from lucid.service.supervisor import MARK, marked
from lucid.store.catalog import Catalog
from lucid.store.home import Home

SECRET = "a secret for callbacks"
ROOT = Path(__file__).parent.parent.parent


def prefect_client(url: str, auth: tuple[str, str] | None = None) -> httpx.Client:
    """Prefect's own client. On SQLite its server answers 503 to what is written at the same time; this tries again."""
    protected = auth is not None  # as our own server is, which wants a token against foreign pages too
    return PrefectHttpxSyncClient(
        base_url=url, auth=auth, timeout=30, trust_env=False, enable_csrf_support=protected, raise_on_all_errors=False
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: Callable[[], Any], seconds: float, doing: str) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain for {doing}")


def migrated_database(folder: Path) -> Path:
    """A Prefect database without content, made in a folder that the workers of a run share.

    A server makes such a one when it first starts, which takes as long as all else that a service does then.
    """
    with FileLock(folder / "prefect.lock"):
        database = folder / "prefect" / "prefect.db"
        if not database.exists():
            upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            home = {**os.environ, "PREFECT_HOME": str(folder / "unfinished")}
            subprocess.run(upgrade, env=home, check=True, capture_output=True)
            (folder / "unfinished").rename(database.parent)
    return database


class Service:
    """`lucid up` on a home of its own, with free ports; its first start is quicker with a Prefect database to copy."""

    def __init__(
        self,
        home: Path,
        prefect_database: Path | None = None,
        *,
        program: Sequence[str] = (sys.executable, "-m", "lucid"),
        folder: Path | None = None,
    ) -> None:
        """`program` is the `lucid` command, which is started in `folder`; None is the folder of the tests."""
        self.home = home
        self._program, self._folder = program, folder
        self._database = prefect_database
        self.log = home.with_suffix(".log")
        self.api_port, self.prefect_port = free_port(), free_port()

        self.key = ""
        """An API key, where a test has noted one."""
        self.environment = {
            **os.environ,
            "LUCID_HOME": str(self.home),
            "LUCID_API_PORT": str(self.api_port),
            "LUCID_PREFECT_PORT": str(self.prefect_port),
            "LUCID_CALLBACK_SECRET": SECRET,
            "LUCID_CALLBACK_ALLOW_PRIVATE": "true",
        }

    def start(self) -> None:
        """Start and wait until it says that it is ready."""
        folder = Home(self.home).prefect
        if self._database and not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            shutil.copy(self._database, folder)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*self._program, "up"], env=self.environment, cwd=self._folder, stdout=output, stderr=output
            )
        wait_until(lambda: "Ready." in self.said() or self.process.poll() is not None, 300, "the service")
        assert self.process.poll() is None, self.said()

    def stop(self) -> None:
        """Press Ctrl-C and wait until it has ended."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()

    def command(self, *arguments: str) -> str:
        """What the `lucid` command says on this home."""
        done = subprocess.run(
            [*self._program, *arguments],
            env=self.environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    @contextmanager
    def left_behind(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process of this service that nobody sees to."""
        sleep = [sys.executable, "-c", "import time; time.sleep(120)"]
        with subprocess.Popen(sleep, env={**self.environment, MARK: str(self.home)}) as left:
            try:
                wait_until(lambda: psutil.Process(left.pid).environ().get(MARK), 10, "the process")
                yield left
            finally:
                left.kill()

    def said(self) -> str:
        return self.log.read_text()

    def first_key(self) -> str:
        """The API key that the first start printed; Prefect's own lines may name a variable that begins like one."""
        found = re.search(r"\blucid_[\w-]{43}", self.said())
        assert found, self.said()
        return found[0]

    def client(self, key: str | None) -> httpx.Client:
        headers = {"apikey": key} if key else {}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.api_port}/v1/recommender", headers=headers, timeout=60, trust_env=False
        )

    @contextmanager
    def python_client(self) -> Iterator[Client]:
        """The Python client, with the key that the test has noted."""
        with Client(f"http://127.0.0.1:{self.api_port}", apikey=self.key) as client:
            yield client

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the Prefect server's API, signed in."""
        with self.prefect_client() as client:
            return client.post(path, json=body).raise_for_status().json()

    @contextmanager
    def prefect_client(self) -> Iterator[httpx.Client]:
        """A client that may do everything on the Prefect server; see `prefect_client`."""
        user, _, password = (self.home / "prefect_auth_string").read_text().partition(":")
        with prefect_client(self.prefect_url, auth=(user, password)) as client:
            yield client

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    def part(self, module: str) -> psutil.Process:
        """The process of the service that runs a module, waited for where it is being started again."""
        found: psutil.Process = wait_until(lambda: self.find_part(module), 60, module)
        return found

    def runs(self) -> list[psutil.Process]:
        """The processes that do flow runs: what the fork server of the process that serves the flows has forked."""
        found = []
        for process in marked(self.home):
            with suppress(psutil.Error):  # it has ended
                parent = process.parent()
                if parent and "forkserver" in " ".join(parent.cmdline()):
                    found.append(process)
        return found

    def what_runs_do(self) -> str:
        """What each thread of each run does at this moment, after the last that was written to their log.

        A Dask worker that has just been forked may end of it.
        """
        log = Home(self.home).logs / "flows.log"
        if not log.exists():  # the part of the service that writes it was not started
            return ""
        known = log.stat().st_size
        for run in self.runs():
            with suppress(psutil.Error):  # it has ended
                run.send_signal(signal.SIGUSR1)
        time.sleep(1)
        with log.open("rb") as lines:
            lines.seek(max(0, known - 5_000))
            return lines.read(100_000).decode(errors="replace")

    def find_part(self, module: str) -> psutil.Process | None:
        """The same as it is now; None between the death of one and the start of the next."""
        for part in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it has died
                if module in part.cmdline():
                    return part
        return None


@contextmanager
def serving(home: Path, prefect_database: Path) -> Iterator[Service]:
    """A service on a home in which something was done before, with a note of its key."""
    running = Service(home, prefect_database)
    try:
        running.start()
        running.key = running.first_key()
        yield running
    finally:
        running.stop()


class Hasty(Connection):
    """Gives clients up so soon that a test can wait for it."""

    patience_seconds = 0.4


class Api:
    """The API alone, without Prefect and flows, on a home of its own."""

    def __init__(
        self,
        home: Path,
        connections: type[Connection] = Connection,
        before: Callable[[], None] | None = None,
        **environment: str,
    ) -> None:
        """`before` is called in the process that becomes the API."""
        self.home = home
        self._before = before
        self._connections = f"{connections.__module__}:{connections.__name__}"
        self.log = home.with_suffix(".log")
        self.secret = create_key(Catalog(home))[1]
        self.base = f"http://127.0.0.1:{free_port()}"
        own = {"LUCID_HOME": str(home), "LUCID_PREFECT_PORT": str(free_port())}  # where no Prefect listens
        self._environment = {**os.environ, **own, **environment}

    @contextmanager
    def running(self) -> Iterator["Api"]:
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "lucid.api.app:create_service",
            "--factory",
            "--http",
            self._connections,
            "--port",
            self.base.split(":")[2],
        ]
        with self.log.open("wb") as output:
            started = subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=output, stderr=output, preexec_fn=self._before
            )
        try:
            self.process = psutil.Process(started.pid)
            with self.client(self.secret) as self.own_client:
                wait_until(self._healthy, 30, "the API")
                yield self
        finally:
            started.terminate()
            started.wait(10)

    def client(self, key: str | None) -> httpx.Client:
        return httpx.Client(base_url=self.base, headers={"apikey": key} if key else {}, timeout=60, trust_env=False)

    def connect(self, sent: bytes = b"", receive_bytes: int | None = None) -> socket.socket:
        """A bare connection on which something was sent already; with a small buffer where the answer is to wait."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", int(self.base.split(":")[2])))
        connection.sendall(sent)
        return connection

    def head(self, line: str, *headers: str) -> bytes:
        """The head of a request with the key, up to its empty line."""
        return "\r\n".join([f"{line} HTTP/1.1", "Host: test", f"apikey: {self.secret}", *headers, "", ""]).encode()

    def _healthy(self) -> bool:
        try:
            return self.own_client.get("/health").is_success
        except httpx.TransportError:
            return False


def flow_run_of(client: httpx.Client, model_id: str) -> str:
    """The id of the flow run of a model's training, waited for where the training waits for its turn."""

    def noted() -> Any:
        return client.get("/status", params={"model_id": model_id}).raise_for_status().json()["flow_run_url"]

    return str(wait_until(noted, 60, f"the flow run of {model_id}")).rsplit("/", 1)[1]


def wait_for_training(client: httpx.Client, model_id: str) -> dict[str, Any]:
    """Poll the status until the training has ended, and return it; a busy machine may take minutes."""
    status: dict[str, Any] = {}

    def ended() -> bool:
        status.update(client.get("/status", params={"model_id": model_id}).raise_for_status().json())
        return bool(status["status"] != "running")

    try:
        wait_until(ended, 300, f"the training of {model_id}")
    except AssertionError as error:
        error.add_note(f"its last status: {status}")
        raise
    return status
