"""What the compose file says, as plain processes: its commands, environments, ports, volumes and health checks.

An engine would give each container a network and a root of its own. Here a service's name stands for this machine, its
port for a free one, and a volume for a folder; the database is a PostgreSQL of Debian's instead of the image's.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.support.containers import Compose, Container, image_environment, instructions, service_links
from tests.support.postgres import find_postgres, postgres
from tests.support.service import ROOT, free_port, prefect_client, wait_until

DATABASE = "postgres"


class Composed:
    """All services of the compose file, started in its order."""

    def __init__(self, compose: Compose, folder: Path) -> None:
        self.compose, self.folder = compose, folder
        self.ports: defaultdict[str, int] = defaultdict(free_port)
        """Free ports of this machine, by the port of the container in whose place they stand."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._entrypoint = ["lucid"]
        assert [str(self._entrypoint).replace("'", '"')] == instructions("ENTRYPOINT")
        for name, module in (("lucid", "-m lucid"), ("python", "")):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            program.chmod(0o755)
        self._work = copy_work_folder(folder / "work")

    @property
    def ours(self) -> dict[str, Container]:
        """The services that run our image."""
        return {name: one for name, one in self.compose.services.items() if one.is_ours}

    @contextmanager
    def running(self) -> Iterator["Composed"]:
        """The database and all that is ours, each healthy."""
        asked = self.compose.services[DATABASE].environment
        with ExitStack() as stack:
            address = stack.enter_context(
                postgres(asked["POSTGRES_USER"], asked["POSTGRES_PASSWORD"], asked["POSTGRES_DB"])
            )
            self.ports["5432"] = urlsplit(address).port or 0
            stack.callback(self.kill)
            self._start_all()
            yield self

    def _start_all(self) -> None:
        waiting = dict(self.ours)
        while waiting:
            ready = [name for name, one in waiting.items() if not set(one.depends_on) & set(waiting)]
            assert ready, f"{list(waiting)} wait for each other"
            for name in ready:
                for needed in waiting.pop(name).depends_on:
                    self.wait_for(needed)
                self.start(name)
        for name in self.ours:
            self.wait_for(name)

    def wait_for(self, name: str) -> None:
        """Wait until a service is healthy."""
        wait_until(lambda: self.is_healthy(name), 120, name)

    def start(self, name: str) -> None:
        command = [*self._entrypoint, *self.ours[name].command]
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env=self.environment(name), cwd=self._work, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        """Ask a service to stop as an engine does, and expect that it does so before that would kill it."""
        (name_of_signal,) = instructions("STOPSIGNAL")
        process = self._processes[name]
        process.send_signal(signal.Signals[name_of_signal])
        code = process.wait(int(self.ours[name].stop_grace_period.removesuffix("s")))
        assert code in (0, -signal.SIGTERM), self.said(name)  # uvicorn ends by the signal once all is done

    def kill(self) -> None:
        """End whatever runs still."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def is_healthy(self, name: str) -> bool:
        """Whether the health check of a service succeeds."""
        if name in self._processes:
            assert self._processes[name].poll() is None, self.said(name)
        container = self.compose.services[name]
        _, *command = (self._here(container, "", part) for part in container.healthcheck.test)
        return self.execute(name, *command).returncode == 0

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as in the container of a service: `docker compose exec NAME COMMAND`."""
        return subprocess.run(
            command, env=self.environment(name), cwd=self._work, capture_output=True, text=True, check=False
        )

    def environment(self, name: str) -> dict[str, str]:
        """What a container finds, and what Kubernetes would put beside it; nothing of the tests' own but Python's."""
        container = self.compose.services[name]
        given = {**(image_environment() if container.is_ours else {}), **container.environment}
        python = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE") if key in os.environ}
        programs = f"{self.folder / 'bin'}:{find_postgres()}:/usr/bin:/bin"
        links = service_links() if container.is_ours else {"PGPORT": str(self.ports["5432"])}
        here = {key: self._here(container, key, value) for key, value in given.items()}
        return {**links, **python, **here, "PATH": programs, "PYTHONPATH": str(ROOT)}

    def _here(self, container: Container, key: str, value: str) -> str:
        """A value with our ports, addresses and folders in the place of the containers'."""
        for volume, target in (entry.split(":") for entry in container.volumes):
            value = re.sub(f"^{target}(?=/|$)", str(self.folder / volume), value)
        if key.endswith("_HOST") and value in self.compose.services:
            return "127.0.0.1"
        if key.endswith("_PORT"):
            return str(self.ports[value])
        names = "|".join([*self.compose.services, r"127\.0\.0\.1"])
        return re.sub(rf"//(?:{names}):(\d+)", lambda found: f"//127.0.0.1:{self.ports[found[1]]}", value)

    def said(self, name: str) -> str:
        return self._log(name).read_text() if self._log(name).exists() else ""

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def address(self, port: str) -> str:
        """Where what a container has at a port is found here."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def is_listening(self, port: str) -> bool:
        """Whether anybody still listens at the port that stands for a container's."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports[port])) == 0

    def client(self, key: str) -> httpx.Client:
        base = f"{self.address('8000')}/v1/recommender"
        return httpx.Client(base_url=base, headers={"apikey": key}, timeout=60, trust_env=False)

    def prefect(self, auth_string: str) -> httpx.Client:
        user, _, password = auth_string.partition(":")
        return prefect_client(f"{self.address('4200')}/api", (user, password))


def copy_work_folder(folder: Path) -> Path:
    """The folder in which the image's commands run, with what the Dockerfile copies there."""
    *_, place = instructions("WORKDIR")
    for *sources, target in (value.split() for value in instructions("COPY") if place in value):
        for source in sources:
            here = folder / Path(target).relative_to(place)
            here.parent.mkdir(exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, here)
    return folder
