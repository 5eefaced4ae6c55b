"""Let a service work for long in a short time, and see that nothing of it grows for ever.

    python -m benchmarks.soak [--runs 500] [--minutes 60] [--keep-minutes 3]

A real service imports, trains, calls back, refreshes, erases, answers and maintains itself, with small data of which
as much is deleted as comes. What it keeps for weeks is kept for minutes here: Prefect's events and Lucid's history by
their settings, and Prefect's runs by its own vacuum, called from here, as its setting knows no time below an hour.
So the service is soon as old as one of years is: it has forgotten more than it knows.

Prints what was there before, when it first began to forget (`warm`) and at the end, how much more came of a thousand
runs (the slope of a straight line through all samples since then), and whether the last quarter of the samples is
within 5% of the first. Exits with 1 where something is not.
"""

import argparse
import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from prefect.server.database import provide_database_interface
from prefect.server.services.db_vacuum import vacuum_old_flow_runs
from prefect.settings.context import get_current_settings
from rich.console import Console
from rich.table import Table

from lucid.demo.receiver import Receiver
from lucid.service.supervisor import marked
from lucid.store.home import Home
from tests.support.checkerboard import USERS, write_checkerboard
from tests.support.service import SECRET, Service, wait_for_training, wait_until

CLIENTS = 2
"""Each has a model of its own."""
BATCHES_KEPT = 5
LOOKUPS = 20
SAMPLE_SECONDS = 10.0
VACUUM_SECONDS = 15
STEADY = 0.05
PATIENCE_SECONDS = 300.0
REFRESH, MAINTAIN = "refresh_recommendations/refresh-recommendations", "maintain_home/maintain-home"
_SLACK = {"MB": 1.0, "": 3.0}
"""So much more is no growth, whatever share it is: a page of a database, a process that ends in this moment."""


@dataclass
class Sample:
    """What there was after so many runs."""

    runs: int
    figures: dict[str, float]


@dataclass
class Soak:
    """A service, what it was asked for, and what was seen of it."""

    service: Service
    samples: list[Sample] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def prepare(self, folder: Path) -> None:
        self.service.start()
        self.service.key = self.service.first_key()
        with self.client() as client:
            files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(folder)]
            client.post("/data_batch", files=files, data={"tags": "board"}).raise_for_status()
            for number in range(CLIENTS):
                client.post("/train", json={"model_id": f"board-{number}", "data_tags": ["board"]}).raise_for_status()
                wait_for_training(client, f"board-{number}")

    def client(self) -> httpx.Client:
        return self.service.client(self.service.key)

    # Work

    def work(self, runs: int, minutes: float, receiver: Receiver) -> None:
        """Let all clients work until so many runs have ended, or for so long."""
        until = time.monotonic() + 60 * minutes
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(self._work_as, number, runs, until, receiver) for number in range(CLIENTS)]:
                if error := done.exception():  # what was seen by then is shown all the same
                    self.faults.append(f"a client gave up: {error!r}")

    def _work_as(self, number: int, runs: int, until: float, receiver: Receiver) -> None:
        model_id, turn, mine = f"board-{number}", 0, list[str]()
        with self.client() as client:
            while self.runs.total() < runs and time.monotonic() < until:
                turn += 1
                mine.append(self._import(client, f"{number}x{turn}"))
                if len(mine) > BATCHES_KEPT:
                    client.delete("/data_batch", params={"batch_id": mine.pop(0)}).raise_for_status()
                self._train(client, model_id, receiver)
                self._run(REFRESH, "refreshes", {"model_id": model_id})
                self._look_up(client, model_id)
                if turn % 5 == 0:
                    client.delete("/entities", params={"id": f"x{number}x{turn}"}).raise_for_status()
                    self.runs["erasures"] += 1
                if turn % 7 == 0:
                    self._fail(client)
                    self._run(MAINTAIN, "maintenances", {})

    def _import(self, client: httpx.Client, name: str) -> str:
        rows = f"id,type,name,metadata,media_url\nx{name},extra,,,\n"
        files = [("files", (f"{name}.csv", rows))]
        (batch,) = client.post("/data_batch", files=files, data={"tags": "board"}).raise_for_status().json()
        self.runs["imports"] += 1
        if batch["status"] != "completed":
            self.faults.append(f"import {name}: {batch['status']} {batch['message']}")
        return str(batch["batch_id"])

    def _fail(self, client: httpx.Client) -> None:
        """An import of a file that is none."""
        client.post("/data_batch", files=[("files", ("bad.csv", "what,is,this\n1,2,3\n"))])
        self.runs["failed imports"] += 1

    def _train(self, client: httpx.Client, model_id: str, receiver: Receiver) -> None:
        body = {"model_id": model_id, "data_tags": ["board"], "callback_url": receiver.url}
        while client.post("/train", json=body).status_code == 409:  # an erasure works on the model
            time.sleep(0.2)
        status = wait_for_training(client, model_id)
        self.runs["trainings"] += 1
        if status["status"] != "completed":
            self.faults.append(f"training of {model_id}: {status['message']}")

    def _look_up(self, client: httpx.Client, model_id: str) -> None:
        for user in range(LOOKUPS):
            asked = {"model_id": model_id, "source_id": f"u{user % USERS:02}", "target_type": "item"}
            if not client.get("/recommended_items", params=asked).raise_for_status().json()["recommendations"]:
                self.faults.append(f"nothing for {asked['source_id']}")

    def _run(self, deployment: str, kind: str, parameters: dict[str, Any]) -> None:
        """Start a run as a schedule does, and wait until it has ended."""
        with self.service.prefect_client() as client:

            def ask(method: str, path: str, body: Any = None) -> Any:
                """What Prefect answers once it does: on a busy machine its server may be started anew meanwhile."""

                def answer() -> Any:
                    with suppress(httpx.HTTPError):
                        return client.request(method, path, json=body).raise_for_status().json()
                    return None

                return wait_until(answer, PATIENCE_SECONDS, path)

            deployment_id = ask("GET", f"/deployments/name/{deployment}")["id"]
            body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
            run = ask("POST", f"/deployments/{deployment_id}/create_flow_run", body)["id"]
            ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            wait_until(lambda: ask("GET", f"/flow_runs/{run}")["state_type"] in ended, PATIENCE_SECONDS, kind)
            found = ask("GET", f"/flow_runs/{run}")
        self.runs[kind] += 1
        if found["state_type"] != "COMPLETED":
            self.faults.append(f"{kind}: {found['state_type']}, {found['state']['message']}")

    # Figures

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample until the block ends."""
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                with suppress(psutil.Error, FileNotFoundError):  # what was there has gone in this moment
                    self.sample()
                done.wait(SAMPLE_SECONDS)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def sample(self) -> None:
        runs = self.runs.total()
        self.samples.append(Sample(runs, {**self._disk(), **self._processes()}))

    def _disk(self) -> dict[str, float]:
        home = Home(self.service.home)
        database = home.prefect / "prefect.db"
        figures = {
            "Prefect's database, MB": _megabytes(database, database.with_name(database.name + "-wal")),
            "  of it in use, MB": _used_megabytes(database),
            "logs, MB": _megabytes(*home.logs.glob("*")),
            "catalog, MB": _megabytes(home.catalog),
        }
        for name in ("batches", "models", "uploads", "locks", "erasures"):
            figures[f"{name}, MB"] = _megabytes(*(home.path / name).rglob("*"))
        figures["rest of Prefect's folder, MB"] = _megabytes(
            *(path for path in home.prefect.rglob("*") if not path.name.startswith("prefect.db"))
        )
        figures["files"] = sum(1 for _ in home.path.rglob("*"))
        return figures

    def _processes(self) -> dict[str, float]:
        parts = {
            "lucid up": psutil.Process(self.service.process.pid),
            "API": self.service.part("uvicorn"),
            "Prefect": self.service.part("lucid.flows.prefect_server"),
            "flows": self.service.part("lucid.flows.serve"),
        }
        figures: dict[str, float] = {}
        for name, process in parts.items():
            figures[f"{name}: memory, MB"] = process.memory_info().rss / 1e6
            figures[f"{name}: threads"] = process.num_threads()
            figures[f"{name}: open files"] = process.num_fds()
        figures["processes"] = 1 + len(marked(self.service.home))
        return figures


def _megabytes(*paths: Path) -> float:
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e6


def _used_megabytes(database: Path) -> float:
    """What of an SQLite file holds something; free pages take what comes next."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        (size, pages, free) = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
    finally:
        connection.close()
    return float(size * (pages - free)) / 1e6


# Prefect forgets


def forget_runs(keep: timedelta) -> None:
    """Let Prefect's own vacuum delete runs again and again that have ended before; in a process of its own."""
    get_current_settings().server.services.db_vacuum.__dict__["retention_period"] = keep

    async def forget() -> None:
        while True:
            await asyncio.sleep(VACUUM_SECONDS)
            await vacuum_old_flow_runs(db=provide_database_interface())

    asyncio.run(forget())


@contextmanager
def forgetting(service: Service, keep: timedelta) -> Iterator[subprocess.Popen[bytes]]:
    """Have runs forgotten as long as the block runs."""
    own = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{Home(service.home).prefect / 'prefect.db'}",
        "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
    }
    command = [sys.executable, "-m", "benchmarks.soak", "--forget", str(keep.total_seconds())]
    with subprocess.Popen(command, env={**os.environ, **own}) as process:
        try:
            yield process
        finally:
            process.kill()


# What came of it


def show(out: Console, soak: Soak, warm: int) -> bool:
    """Print the table; tells whether everything was steady."""
    first, since = soak.samples[0], soak.samples[warm:]
    quarter = max(1, len(since) // 4)
    table = Table("", *(f"{name}" for name in ("before", "warm", "end", "per 1,000 runs", "")))
    runs, steady = np.array([sample.runs for sample in since], float), True
    for name in first.figures:
        values = np.array([sample.figures[name] for sample in since])
        begin, end = np.median(values[:quarter]), np.median(values[-quarter:])
        slope = np.polyfit(runs, values, 1)[0] * 1000 if np.ptp(runs) else 0.0
        is_steady = end - begin <= max(STEADY * begin, _SLACK["MB" if name.endswith("MB") else ""])
        steady &= bool(is_steady)
        figures = (first.figures[name], begin, end)
        said = f"steady ({(end - begin) / begin:+.0%})" if begin else "steady"
        table.add_row(name, *(f"{value:,.1f}" for value in figures), f"{slope:+,.1f}", said if is_steady else "GROWS")
    out.print(table)
    return steady


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=60.0, help="no longer than this, whatever is done by then")
    parser.add_argument("--keep-minutes", type=float, default=3.0, help="how long everything is kept that has ended")
    parser.add_argument("--forget", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.forget:
        forget_runs(timedelta(seconds=arguments.forget))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background: no service would hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    out, keep = Console(width=120), timedelta(minutes=arguments.keep_minutes)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, Receiver(SECRET).running() as receiver:
        soak = Soak(Service(Path(folder) / "home"))
        soak.service.environment |= {
            "LUCID_KEEP_HISTORY_DAYS": str(keep / timedelta(days=1)),
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{keep.total_seconds():.0f}S",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": str(VACUUM_SECONDS),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS": str(4 * VACUUM_SECONDS),
        }
        try:
            soak.prepare(Path(folder))
            began = time.monotonic()
            with forgetting(soak.service, keep) as vacuum, soak.watching():
                soak.work(arguments.runs, arguments.minutes, receiver)
                if vacuum.poll() is not None:
                    soak.faults.append("Prefect's vacuum has failed")
            seconds = time.monotonic() - began
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(soak.runs.items()))
            calls = receiver.events.qsize()
            out.print(f"{soak.runs.total()} runs in {seconds:.0f} s ({kinds}); {calls} callbacks arrived")
            steady = show(out, soak, min(int(1.3 * keep.total_seconds() / SAMPLE_SECONDS), len(soak.samples) // 2))
            out.print(*(soak.faults or ["everything was done"]), sep="\n", markup=False)
            if restarts := soak.service.said().count("is started again"):
                out.print(f"parts were started again {restarts} times, so what they take of memory began anew")
        finally:
            soak.service.stop()
    return 0 if steady and not soak.faults else 1


if __name__ == "__main__":
    sys.exit(main())
