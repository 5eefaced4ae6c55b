"""How soon a training ends that somebody cancels: over the API, by the command, in Prefect, with Ctrl-C; or a refresh.

    python -m benchmarks.cancel [--rows 1000000] [--times 3]

Trains a model on generated interactions again and again, and cancels each training at some moment, most of them in the
middle of a fit; then refreshes of a model of all of it. Prints the seconds until its status says so, and exits with 1
where one did not end as cancelled within the goal, the version before does not answer on, or something of it is left in
the home.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.speed import generate
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Service, flow_run_of, wait_until

GOAL_SECONDS = 10.0
LONGEST_SECONDS, REFRESH_SECONDS = 25.0, 4.0
"""So long after its begin at most a training or a refresh is cancelled."""
PATIENCE_SECONDS = 300.0


class Cancelling:
    """A service with a small model that answers, and much more data to train it on."""

    def __init__(self, service: Service, seed: int) -> None:
        self.service, self.random = service, Random(seed)
        self.faults: list[str] = []

    def measure(self, client: httpx.Client, cancel: Callable[[httpx.Client], None]) -> tuple[str, float]:
        """Train, cancel after a while; returns the stage of then, and the seconds until the status says so."""
        client.post("/train", json={"model_id": "board", "data_tags": ["large"]}).raise_for_status()
        return self._measure(client, cancel)

    def refresh(self, client: httpx.Client) -> tuple[str, float]:
        """The same with a refresh of a model of all that data."""
        client.post("/models/large/refresh").raise_for_status()
        return self._measure(client, lambda asking: over_the_api(asking, "large"), "large")

    def interrupt(self, client: httpx.Client) -> tuple[str, float]:
        """The same with a command that trains in its own process, and Ctrl-C."""
        command = [sys.executable, "-m", "lucid", "train", "--model-id", "board", "--data-tags", "large"]
        with subprocess.Popen(
            command, env=self.service.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as training:
            return self._measure(client, lambda _client: training.send_signal(signal.SIGINT))

    def _measure(
        self, client: httpx.Client, cancel: Callable[[httpx.Client], None], model: str = "board"
    ) -> tuple[str, float]:
        longest = LONGEST_SECONDS if model == "board" else REFRESH_SECONDS
        live = client.get(f"/models/{model}").raise_for_status().json()["live_version"]
        wait_until(lambda: _status(client, model)["stage"] not in ("queued", "finished"), PATIENCE_SECONDS, "its begin")
        time.sleep(self.random.uniform(0, longest))
        stage, version = _status(client, model)["stage"], _status(client, model)["version"]
        began = time.monotonic()
        cancel(client)
        wait_until(lambda: _status(client, model)["status"] != "running", PATIENCE_SECONDS, "it to end")
        seconds = time.monotonic() - began
        self._look(client, model, live, version, seconds)
        return stage, seconds

    def _look(self, client: httpx.Client, model: str, live: int, version: int, seconds: float) -> None:
        status, now = _status(client, model), client.get(f"/models/{model}").raise_for_status().json()
        if (status["status"], status["message"]) != ("error", "cancelled"):
            self.faults.append(f"version {version} is {status['status']}: {status['message']}")
        if seconds > GOAL_SECONDS:
            self.faults.append(f"version {version} took {seconds:.1f} s to end")
        asked = {"model_id": "board", "source_id": "u05", "target_type": "item"}
        if now["live_version"] != live or not client.get("/recommended_items", params=asked).is_success:
            self.faults.append(f"version {now['live_version']} answers")
        wait_until(lambda: not self.service.runs(), PATIENCE_SECONDS, "its process to end")
        left = [str(path) for path in self.service.home.glob(f"models/{model}/{version}*")]
        if left:
            self.faults.append(f"left behind: {left}")


def _status(client: httpx.Client, model: str) -> dict[str, Any]:
    path = f"/status?model_id={model}" if model == "board" else f"/models/{model}/refresh"
    found: dict[str, Any] = client.get(path).raise_for_status().json()
    return found


def over_the_api(client: httpx.Client, model: str = "board") -> None:
    client.post(f"/models/{model}/cancel", params={"wait_seconds": 0}).raise_for_status()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3, help="so often in each way")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="cancel-") as folder:
        service = Service(Path(folder) / "home")
        train_checkerboard(Workspace(service.home), Path(folder))
        Workspace(service.home).import_files(generate(Path(folder), arguments.rows), tags=["large"])
        Workspace(service.home).train("large", data_tags=["large"])
        service.start()
        service.key = service.first_key()
        cancelling = Cancelling(service, arguments.seed)

        def by_the_command(_client: httpx.Client) -> None:
            service.command("models", "cancel", "board")

        def in_prefect(client: httpx.Client) -> None:
            with service.prefect_client() as prefect:
                asked = {"state": {"type": "CANCELLING"}}
                prefect.post(f"/flow_runs/{flow_run_of(client, 'board')}/set_state", json=asked).raise_for_status()

        table = Table("cancelled", "in stages", "seconds", f"goal: {GOAL_SECONDS:.0f} s")
        try:
            with service.client(service.key) as client:
                ways: dict[str, Callable[[], tuple[str, float]]] = {
                    "over the API": lambda: cancelling.measure(client, over_the_api),
                    "by the command": lambda: cancelling.measure(client, by_the_command),
                    "in Prefect": lambda: cancelling.measure(client, in_prefect),
                    "with Ctrl-C": lambda: cancelling.interrupt(client),
                    "a refresh": lambda: cancelling.refresh(client),
                }
                for way, measure in ways.items():
                    found = [measure() for _ in range(arguments.times)]
                    met = "met" if max(seconds for _, seconds in found) <= GOAL_SECONDS else "missed"
                    stages = ", ".join(stage for stage, _ in found)
                    table.add_row(way, stages, ", ".join(f"{seconds:.1f}" for _, seconds in found), met)
        finally:
            service.stop()
        out.print(table)
        out.print(*(cancelling.faults or ["the version before answers on, and nothing is left behind"]), sep="\n")
    return 1 if cancelling.faults else 0


if __name__ == "__main__":
    sys.exit(main())
