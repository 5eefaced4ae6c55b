"""How soon a run begins, and what happens when many clients ask for runs at the same moment.

    python -m benchmarks.starts [--clients 20] [--each 10] [--postgres]

Prints the time from `POST train` to the start of the run's first task, on a warm and quiet service. Then the clients
post trainings of tiny models, each its own, and, while these wait, imports: it prints how long a call took, how long
until an import was done, and whether each was done exactly once. With `--postgres`, once more with Prefect's database
in a PostgreSQL of its own (Debian's package `postgresql`), next to the figures on SQLite. Exits with 1 where something
was not done exactly once.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from lucid.schema.fields import utc_now
from tests.support.checkerboard import write_checkerboard
from tests.support.postgres import postgres
from tests.support.service import Service, wait_for_training, wait_until

ROUNDS = 10
GOALS = {"first task": 1.5, "training accepted": 2.0, "import accepted": 2.0}
"""In seconds: the median of the first, the 99th percentile of the others."""
LOOK_SECONDS = 0.8
"""So often a client asks whether its import is done: twenty that ask all the time would take a processor."""
PATIENCE_SECONDS = 1800.0


@dataclass
class Figures:
    """Seconds that one thing took, each time."""

    name: str
    seconds: list[float]

    def cells(self) -> tuple[str, ...]:
        median, most, worst = np.quantile(self.seconds, [0.5, 0.99, 1.0])
        return self.name, str(len(self.seconds)), *(f"{value:.2f}" for value in (median, most, worst))


class Load:
    """A warm service that has one small data set, and what it was asked."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.service, self._folder = Service(folder / "home"), folder
        self.service.environment |= environment
        self.faults: list[str] = []

    def prepare(self) -> None:
        self.service.start()
        self.service.key = self.service.first_key()
        with self.client() as client:
            files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(self._folder)]
            client.post("/data_batch", files=files, data={"tags": "board"}).raise_for_status()

    def client(self) -> httpx.Client:
        return self.service.client(self.service.key)

    def first_tasks(self) -> Figures:
        """From `POST train` to the first task, one training after the other."""
        seconds = []
        with self.client() as client:
            for number in range(ROUNDS + 1):
                asked = utc_now()
                client.post("/train", json={"model_id": "warm", "data_tags": ["board"]}).raise_for_status()
                status = wait_for_training(client, "warm")
                run = status["flow_run_url"].rsplit("/", 1)[1]
                if number:  # the first one finds everything cold
                    seconds.append((self._first_task(run) - asked).total_seconds())
        return Figures("first task", seconds)

    def _first_task(self, run: str) -> datetime:
        """When the first task of a run began; Prefect hears of tasks a moment after they were."""

        def begun() -> list[str]:
            tasks = self.service.prefect("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
            return [task["start_time"] for task in tasks if task["start_time"]]

        return min(datetime.fromisoformat(time) for time in wait_until(begun, 30, "tasks"))

    def rush(self, clients: int, each: int) -> list[Figures]:
        """All clients at once: trainings first, then imports while these wait."""
        with ThreadPoolExecutor(clients) as pool:
            trainings = [
                seconds for found in pool.map(self._train, range(clients), [each] * clients) for seconds in found
            ]
            imports = [pair for found in pool.map(self._import, range(clients), [each] * clients) for pair in found]
        waiting = self._running_models()
        began = time.monotonic()
        with self.client() as client:
            wait_until(lambda: not self._running_models(), PATIENCE_SECONDS, "all trainings")
            models = client.get("/models").json()
            batches = client.get("/data_batch").json()
        drained = time.monotonic() - began
        self._count("trainings", [model["versions"] for model in models if model["model_id"] != "warm"], clients * each)
        done = [batch for batch in batches if batch["tags"] == ["rush"] and batch["status"] == "completed"]
        self._count("imports", [[batch] for batch in done], clients * each)
        return [
            Figures("training accepted", trainings),
            Figures("import accepted", [accepted for accepted, _ in imports]),
            Figures("import done", [whole for _, whole in imports]),
            Figures(f"{waiting} trainings done after the imports", [drained]),
        ]

    def _train(self, number: int, each: int) -> list[float]:
        seconds = []
        with self.client() as client:
            for count in range(each):
                began = time.monotonic()
                body = {"model_id": f"rush-{number}-{count}", "data_tags": ["board"]}
                client.post("/train", json=body).raise_for_status()
                seconds.append(time.monotonic() - began)
        return seconds

    def _import(self, number: int, each: int) -> list[tuple[float, float]]:
        """Seconds until each import was accepted, and until it was done."""
        found = []
        with self.client() as client:
            for count in range(each):
                rows = f"id,type,name,metadata,media_url\nrush{number}_{count},extra,,,\n"
                began = time.monotonic()
                files = [("files", (f"{number}-{count}.csv", rows))]
                data = {"tags": "rush", "wait_seconds": "0"}
                batch = client.post("/data_batch", files=files, data=data).raise_for_status().json()[0]["batch_id"]
                found.append((batch, began, time.monotonic() - began))
            return [(accepted, self._done(client, batch) - began) for batch, began, accepted in found]

    def _done(self, client: httpx.Client, batch: str) -> float:
        def look() -> bool:
            time.sleep(LOOK_SECONDS)
            batches = client.get("/data_batch", params={"batch_id": batch}).json()
            return bool(batches[0]["status"] != "running")

        wait_until(look, PATIENCE_SECONDS, f"batch {batch}")
        return time.monotonic()

    def _running_models(self) -> int:
        with self.client() as client:
            models = client.get("/models").raise_for_status().json()
        return sum(model["training"]["status"] == "running" for model in models)

    def _count(self, what: str, found: list[list[Any]], wanted: int) -> None:
        once = sum(len(one) == 1 for one in found)
        if (len(found), once) != (wanted, wanted):
            self.faults.append(f"of {wanted} {what}, {len(found)} are known and {once} were done exactly once")


@contextmanager
def database(name: str) -> Iterator[dict[str, str]]:
    """Environment of a service whose Prefect uses this database."""
    if name == "SQLite":
        yield {}
        return
    with postgres() as url:
        yield {"PREFECT_API_DATABASE_CONNECTION_URL": url}


def show(out: Console, name: str, figures: list[Figures], faults: list[str]) -> None:
    table = Table(
        "seconds", "times", "p50", "p99", "longest", "goal", title=f"Prefect on {name}, {os.cpu_count()} cores"
    )
    for one in figures:
        goal = GOALS.get(one.name)
        cells = one.cells()
        reached = cells[2 if one.name == "first task" else 3]
        table.add_row(*cells, f"{goal:.1f} {'met' if float(reached) <= goal else 'missed'}" if goal else "")
    out.print(table)
    out.print(*(faults or ["each was done exactly once"]), sep="\n", markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--each", type=int, default=10, help="of trainings, and of imports, one client posts so many")
    parser.add_argument("--postgres", action="store_true", help="once more, with Prefect's database in PostgreSQL")
    arguments = parser.parse_args()
    out, faults = Console(width=120), []
    for name in ("SQLite", "PostgreSQL") if arguments.postgres else ("SQLite",):
        with tempfile.TemporaryDirectory(prefix="starts-") as folder, database(name) as environment:
            load = Load(Path(folder), environment)
            try:
                load.prepare()
                figures = [load.first_tasks(), *load.rush(arguments.clients, arguments.each)]
                show(out, name, figures, load.faults)
                faults += load.faults
            finally:
                load.service.stop()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
