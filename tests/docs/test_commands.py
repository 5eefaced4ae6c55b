"""What the pages tell people to type is typed: commands, calls of the API, Python."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lucid.errors import CallbackRefused
from lucid.keys import create_key
from lucid.store.catalog import Catalog
from lucid.webhooks.callbacks import deliver, make_event, sign
from lucid.workspace import Workspace
from tests.support.pages import ROOT, Block, blocks
from tests.support.service import Service

NOT_RUN = {
    "make": "sets up an environment from a package index first",
    "pip": "needs a package index",
    ".venv/bin/lucid up": "`Service` starts the same, from the environment of the tests",
    "prefect": "needs a Prefect server of one's own, with a work pool",
    "LUCID_PREFECT_API_URL=": "needs the same",
    "docker": "needs an engine; what it would start is started by `tests/system/test_compose.py`",
    "kubectl": "needs a cluster; `tests/test_containers.py` holds the manifests to the schemas and to the compose file",
    "printf": "writes beside the compose file; `tests/test_containers.py` runs it elsewhere",
}
"""What commands begin with that are not run here, and why."""

SAMPLES = "docs/samples"
ADDRESS = "http://127.0.0.1:8000"
_CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 120 "$@"; }\n'


def commands(block: Block) -> list[str]:
    """The commands of a block, one by one, without those that are not run here."""
    found, pending = [], ""
    for line in block.text.splitlines():
        pending += line + "\n"
        parsed = subprocess.run(["bash", "-n", "-c", pending], capture_output=True, check=False)
        if parsed.returncode == 0 and not pending.endswith("\\\n"):
            found.append(pending)
            pending = ""
    assert not pending, f"{block}: {pending!r} is no complete command"
    return [command for command in found if not command.startswith(tuple(NOT_RUN))]


SHELL = blocks("sh")
OF_SERVICE = [block for block in SHELL if re.search("curl|lucid prefect|lucid schedule|lucid auto-train", block.text)]
OF_COMMAND = [block for block in SHELL if block not in OF_SERVICE and commands(block)]
PYTHON = blocks("python")


def write_tables(folder: Path) -> None:
    """The three tables that the page on data speaks of, exported as it says."""
    (block,) = blocks("sql")
    with duckdb.connect() as connection:
        connection.execute(
            """
            CREATE TABLE users AS SELECT id, 'User ' || id AS name FROM range(1, 31) t(id);
            CREATE TABLE movies AS SELECT id, 'Movie ' || id AS title FROM range(1, 21) t(id);
            CREATE TABLE ratings AS SELECT u.id AS user_id, m.id AS movie_id, TIMESTAMP '2026-01-01' AS rated_at
            FROM users u, movies m WHERE u.id % 2 = m.id % 2 AND (u.id * m.id) % 5 > 0"""
        )
        connection.execute(block.text.replace("TO '", f"TO '{folder}/"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the samples of the pages, and a home with a batch of each, a model, a callback and a key."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / SAMPLES, folder / SAMPLES)
    workspace = Workspace(folder / "home")
    workspace.import_files(sorted((folder / SAMPLES).glob("*.csv")), tags=["2026"])
    write_tables(folder)
    workspace.train("videos")
    refused = make_event(workspace.status("videos"), "http://127.0.0.1/refused")
    with suppress(CallbackRefused):
        deliver(workspace.settings, Catalog(workspace.settings.home), refused)
    (folder / "bin").mkdir()
    program = folder / "bin" / "lucid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lucid "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    return shutil.copytree(prepared, tmp_path / "copy", ignore=shutil.ignore_patterns("locks"))


def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    """What a script of bash says; fails at the first command that fails."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**environment, "PATH": path, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def with_ids(command: str, home: Path) -> str:
    """A command in which ID is the id of something that is there."""
    catalog = Catalog(home)
    if "lucid keys" in command:
        return re.sub(r"\bID\b", create_key(catalog)[0].key_id, command)
    if "lucid models deliveries" in command:
        return re.sub(r"\bID\b", catalog.deliveries.of_model("videos")[0].event_id, command)
    return re.sub(r"\bID\b", catalog.batches.find()[-1].batch_id, command)


@pytest.mark.parametrize("block", OF_COMMAND, ids=str)
def test_commands_run(block: Block, folder: Path) -> None:
    """Every block of `lucid` commands does what it says on a home with a model, one command after the other."""
    environment = {**os.environ, "LUCID_HOME": str(folder / "home")}
    for command in commands(block):
        run(with_ids(command, folder / "home"), folder, environment)


@pytest.mark.parametrize("block", [block for block in PYTHON if "Client(" not in block.text], ids=str)
def test_python_runs(block: Block, folder: Path) -> None:
    """Every block of Python that needs no service runs as it stands."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", block.text],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LUCID_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr


def test_the_receiver_knows_our_signature() -> None:
    """The example takes what is signed by us now, and neither other bodies nor old times."""
    (example,) = [block for block in PYTHON if "hmac" in block.text]
    names: dict[str, Any] = {}
    exec(example.text, names)
    is_ours, now = names["is_ours"], int(time.time())

    assert is_ours("secret", b"{}", sign("secret", b"{}", now))
    assert not is_ours("secret", b"{ }", sign("secret", b"{}", now))
    assert not is_ours("secret", b"{}", sign("secret", b"{}", now - 301))
    assert not is_ours("other", b"{}", sign("secret", b"{}", now))


def test_what_is_not_run_is_there() -> None:
    """Each reason for which commands are not run stands for one, and targets of `make` exist."""
    lines = [line for block in SHELL for line in block.text.splitlines()]
    targets = {line.split()[1] for line in lines if line.startswith("make ")}
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert [] == [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)]
    assert set() == targets - set(known)


@pytest.fixture(scope="module")
def service(prepared: Path, tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("served") / "copy")
    service = Service(folder / "home", prefect_database)
    service.key = create_key(Catalog(service.home))[1]
    service.start()
    yield service
    service.stop()


def at(service: Service, text: str) -> str:
    """A text in which the service's address is the one it has here."""
    return text.replace(ADDRESS, f"http://127.0.0.1:{service.api_port}")


@pytest.mark.parametrize("block", OF_SERVICE, ids=str)
def test_calls_are_answered(service: Service, block: Block) -> None:
    """Every block of calls gets the answers it asks for, on a service with a model."""
    begin = f'KEY={service.key}; U={ADDRESS}/v1/recommender; H="apikey: $KEY"\n{_CURL}'
    run(at(service, begin + "".join(commands(block))), service.home.parent, service.environment)


@pytest.mark.parametrize("block", [block for block in PYTHON if "Client(" in block.text], ids=str)
def test_python_over_http_runs(service: Service, block: Block) -> None:
    """Every block of Python that needs a service runs as it stands, but for its address."""
    script = f"KEY = {service.key!r}\n{at(service, block.text)}"
    run(f'"{sys.executable}" -c "$SCRIPT"', service.home.parent, {**service.environment, "SCRIPT": script})
