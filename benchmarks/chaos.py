"""Kill parts of a running service at random moments: nothing is lost, nothing half-done is seen, look-ups go on.

    python -m benchmarks.chaos --rounds 30 --seed 0

Each round starts an import, a training or a refresh and, at some moment of it, kills (-9) the service's own process,
its Prefect server, the process that runs flows, the API, a run, or everything, while a reader asks for recommendations
all the time. Then it looks at what the service says of all that was ever accepted, and at what Prefect says of its
runs. Prints a table, one line for each kind of kill, and exits with 1 where anything was lost, half-visible or wrong, a
run has not ended in Prefect, a look-up failed while the API was up, or a start was refused.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import duckdb
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from lucid.data.csv_load import ROWS
from lucid.service.supervisor import marked
from lucid.store.home import Home
from lucid.versions.version import Version
from tests.support.checkerboard import USERS, withheld, write_checkerboard
from tests.support.service import Service, wait_for_training, wait_until

Work = Literal["import", "training", "refresh"]
Kill = Literal["parent", "server", "flows", "API", "run", "everything"]
MODULES = {"server": "lucid.flows.prefect_server", "flows": "lucid.flows.serve", "API": "uvicorn"}
ROWS_PER_FILE = 100_000
GOAL_SECONDS = 3.0
PATIENCE_SECONDS = 300.0
END_SECONDS = 120.0
"""So long after its end a run may be under way in Prefect's eyes."""
API_DIES: frozenset[Kill] = frozenset({"parent", "API", "everything"})
"""With these the API ends, so that look-ups fail until it is back."""
MOMENT_SECONDS: dict[Work, float] = {"import": 8.0, "training": 14.0, "refresh": 10.0}
"""Within so many seconds from its start a piece of work is met by a kill; a little more than it usually takes."""


@dataclass
class Figures:
    """What the rounds of one kind of kill have shown."""

    rounds: int = 0
    gaps: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the kill until all parts answered and all work had ended."""
    ended: dict[str, int] = field(default_factory=dict)

    def count(self, how: str) -> None:
        self.ended[how] = self.ended.get(how, 0) + 1


class Reader:
    """Asks for recommendations all the time and remembers when it got none, and what was wrong with those it got."""

    def __init__(self, service: Service) -> None:
        self.wrong: list[str] = []
        self.answered = self.refused = 0
        self._service = service
        self._last = time.monotonic()
        self._gap = 0.0
        self._versions: dict[tuple[int, str], Any] = {}
        self._done = threading.Event()

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        thread = threading.Thread(target=self._read, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def longest_gap(self) -> float:
        """Longest time without an answer since the last call, in seconds."""
        gap, self._gap = max(self._gap, time.monotonic() - self._last), 0.0
        return gap

    def _read(self) -> None:
        user = 0
        with self._service.client(self._service.key) as client:
            while not self._done.wait(0.02):
                user = (user + 1) % USERS
                asked = {"model_id": "board", "source_id": f"u{user:02}", "target_type": "item"}
                try:
                    response = client.get("/recommended_items", params=asked, timeout=2)
                except httpx.TransportError:
                    self.refused += 1
                    continue
                now = time.monotonic()
                self._gap, self._last = max(self._gap, now - self._last), now
                self._check(user, response)

    def _check(self, user: int, response: httpx.Response) -> None:
        """An answer has the item that is known to be right first, and is the same whenever its version is asked."""
        self.answered += 1
        if response.status_code != 200:
            self.wrong.append(f"u{user:02}: {response.status_code} {response.text[:200]}")
            return
        answer = response.json()
        rows = answer["recommendations"]
        if not rows or rows[0]["target_id"] != f"i{withheld(user):02}":
            self.wrong.append(f"u{user:02}: {rows[:1]}")
        if self._versions.setdefault((answer["version"], f"u{user:02}"), rows) != rows:
            self.wrong.append(f"u{user:02}: version {answer['version']} answers in two ways")


class Chaos:
    """A service with a trained model, what it has accepted, and what is not as it should be."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.service, self.folder, self.random = Service(folder / "home"), folder, Random(seed)
        self.faults: list[str] = []
        self.figures: dict[Kill, Figures] = {kill: Figures() for kill in get_args(Kill)}
        self._accepted: dict[str, str] = {}
        """How each batch stood when it was last seen."""

    def prepare(self) -> None:
        """Start the service and train the model that is asked."""
        self.service.start()
        self.service.key = self.service.first_key()
        with self._client() as client:
            files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(self.folder)]
            batches = client.post("/data_batch", files=files, data={"tags": "board"}).raise_for_status().json()
            self._accepted = {batch["batch_id"]: batch["status"] for batch in batches}
            client.post("/train", json={"model_id": "board", "data_tags": ["board"]}).raise_for_status()
            assert wait_for_training(client, "board")["status"] == "completed"

    def round(self, number: int, kill: Kill, reader: Reader) -> None:
        """Start some work, kill at a moment of it, and look at what has come of everything."""
        work: Work = self.random.choice(get_args(Work))
        reader.longest_gap()
        started = threading.Thread(target=self._start_work, args=(work, number))
        started.start()
        time.sleep(self.random.uniform(0, MOMENT_SECONDS[work]))
        refused, killed = reader.refused, time.monotonic()
        self._kill(kill)
        if kill in ("parent", "everything"):
            self._start_again()
        started.join()
        self._wait_for_service()
        self._look(work, kill)
        if kill not in API_DIES and reader.refused > refused:
            self.faults.append(f"failed look-up: {reader.refused - refused} in round {number}, {kill} killed")
        figures = self.figures[kill]
        figures.rounds += 1
        figures.recoveries.append(time.monotonic() - killed)
        figures.gaps.append(reader.longest_gap())

    def _start_work(self, work: Work, number: int) -> None:
        """Ask for a piece of work; what is not accepted, because of a kill, is nobody's loss."""
        try:
            with self._client() as client:
                if work == "import":
                    rows = "".join(f"x{row},extra,,,\n" for row in range(ROWS_PER_FILE))
                    files = [("files", (f"{number}.csv", f"id,type,name,metadata,media_url\n{rows}"))] * 2
                    data = {"tags": f"round-{number}", "wait_seconds": "0"}
                    response = client.post("/data_batch", files=files, data=data)
                    if response.is_success:
                        self._accepted |= {batch["batch_id"]: batch["status"] for batch in response.json()}
                elif work == "training":
                    client.post("/train", json={"model_id": "board", "data_tags": ["board"]})
                else:
                    self._refresh()
        except httpx.HTTPError:
            return

    def _refresh(self) -> None:
        name = "/deployments/name/refresh_recommendations/refresh-recommendations"
        with self.service.prefect_client() as client:
            found = client.get(name).raise_for_status().json()
            body = {"parameters": {"model_id": "board"}, "state": {"type": "SCHEDULED"}}
            client.post(f"/deployments/{found['id']}/create_flow_run", json=body).raise_for_status()

    def _kill(self, kill: Kill) -> None:
        if kill == "parent":
            victims = [psutil.Process(self.service.process.pid)]
        elif kill == "everything":
            victims = [psutil.Process(self.service.process.pid), *marked(self.service.home)]
        elif kill == "run":
            victims = wait_until(self.service.runs, 30, "a run") if self.service.runs() else []
        else:
            victims = [self.service.part(MODULES[kill])]
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue

    def _start_again(self) -> None:
        self.service.process.wait()
        try:
            self.service.start()
        except AssertionError as refused:
            self.faults.append(f"refused to start: {refused}")
            raise

    def _wait_for_service(self) -> None:
        """Until all parts answer again and all work that was accepted has ended."""

        def settled() -> bool:
            try:
                with self._client() as client:
                    ready = httpx.get(f"http://127.0.0.1:{self.service.api_port}/health/ready", trust_env=False)
                    batches = client.get("/data_batch").raise_for_status().json()
                    status = client.get("/status", params={"model_id": "board"}).raise_for_status().json()
            except httpx.HTTPError:
                return False
            running = "running" in {status["status"], *(batch["status"] for batch in batches)}
            return ready.is_success and ready.json()["prefect"] == "ok" and not running and not self.service.runs()

        wait_until(settled, PATIENCE_SECONDS, "all work to end")

    def _look(self, work: Work, kill: Kill) -> None:
        with self._client() as client:
            batches = {batch["batch_id"]: batch for batch in client.get("/data_batch").json()}
            model = client.get("/models/board").json()
        for batch_id, before in self._accepted.items():
            found = batches.get(batch_id)
            if found is None or (before == "completed" and found["status"] != "completed"):
                self.faults.append(f"lost: batch {batch_id} was {before} and is {found and found['status']}")
        for batch in batches.values():
            self._look_at_batch(batch)
        self._accepted = {batch_id: batch["status"] for batch_id, batch in batches.items()}
        calls = {tuple(batch["tags"]): set[str]() for batch in batches.values()}
        for batch in batches.values():
            calls[tuple(batch["tags"])].add(batch["status"])
        self.faults += [
            f"half-visible: of {tags} some are {states}" for tags, states in calls.items() if len(states) > 1
        ]
        for version in model["versions"]:
            if not Version(self.service.home, "board", version["version"]).is_complete:
                self.faults.append(f"half-visible: version {version['version']} is shown and not whole")
        self._look_at_prefect()
        self.figures[kill].count(work)

    def _look_at_prefect(self) -> None:
        """No run is under way there: all have ended here."""
        under_way = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]}}}

        def found() -> list[dict[str, Any]]:
            runs: list[dict[str, Any]] = self.service.prefect("/flow_runs/filter", {"flow_runs": under_way})
            return runs

        try:
            wait_until(lambda: not found(), END_SECONDS, "Prefect to say so")
        except AssertionError:
            left = [f"{run['name']} {run['state_type']}" for run in found()]
            self.faults.append(f"not ended in Prefect: {left}")

    def _look_at_batch(self, batch: dict[str, Any]) -> None:
        rows = Home(self.service.home).batch(batch["batch_id"]) / ROWS
        if batch["status"] != "completed":
            if rows.exists():
                self.faults.append(f"half-visible: batch {batch['batch_id']} is {batch['status']} and has rows")
            return
        (count,) = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(rows)]).fetchone() or (-1,)
        if count != batch["entity_count"] + batch["interaction_count"]:
            self.faults.append(f"half-visible: batch {batch['batch_id']} counts otherwise than its rows, {count}")

    def _client(self) -> httpx.Client:
        return self.service.client(self.service.key)


def show(out: Console, chaos: Chaos, reader: Reader) -> None:
    goal = f"goal: {GOAL_SECONDS:.0f} s"
    table = Table("killed", "rounds", "during", "longest time without answers", goal, "longest recovery")
    for kill, figures in chaos.figures.items():
        if figures.rounds:
            during = ", ".join(f"{count} x {work}" for work, count in sorted(figures.ended.items()))
            longest = max(figures.gaps)
            met = "met" if longest < GOAL_SECONDS else "missed"
            recovery = f"{max(figures.recoveries):.0f} s"
            table.add_row(kill, str(figures.rounds), during, f"{longest:.2f} s", met, recovery)
    out.print(table)
    faults = [*chaos.faults, *(f"wrong answer: {wrong}" for wrong in reader.wrong)]
    kinds = ("lost", "half-visible", "wrong answer", "failed look-up", "not ended in Prefect", "refused to start")
    for kind in kinds:
        out.print(f"{kind}: {sum(fault.startswith(kind) for fault in faults)}")
    out.print(f"answers read: {reader.answered:,}")
    for fault in faults[:20]:
        out.print(fault, markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = Console(width=120)
    kinds: tuple[Kill, ...] = get_args(Kill)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), arguments.seed)
        try:
            chaos.prepare()
            with Reader(chaos.service).reading() as reader:
                for number in range(arguments.rounds):
                    kill = kinds[number % len(kinds)]
                    began = time.monotonic()
                    chaos.round(number, kill, reader)
                    gap = chaos.figures[kill].gaps[-1]
                    out.print(f"{number:>3} {kill:<10} {gap:5.2f} s without answers, {time.monotonic() - began:.0f} s")
        finally:
            chaos.service.stop()
        show(out, chaos, reader)
    return 1 if chaos.faults or reader.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
