"""Events: how many a second are accepted, how soon they count in answers, and what a kill of the API loses or doubles.

    python -m benchmarks.events --seconds 20 --rate 2000 --rounds 100

A service with a trained model takes events as fast as a few clients send them, in calls of 1 to 1,000. Then it takes
`rate` events a second while one client sends single events and asks for their source until the target is gone from the
answer: a target that was interacted with is not recommended. At last the API is killed (-9) at a random moment of each
round while clients send, and send again what was not answered; all is compacted into batches, and the events there are
counted. Exits with 1 where one was lost or is there twice.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from lucid.api.paths import BASE
from lucid.data.csv_load import ROWS
from lucid.data.event_batches import compact_events
from lucid.demo.catalogue import generate
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from tests.support.service import Api, Service, wait_for_training, wait_until

MakeClient = Callable[[], httpx.Client]

MODEL, KIND = "videos", "watched"
CALLS = (1, 10, 100, 1000)
"""Events in one call."""
CLIENTS = 8
GOAL_RATE, GOAL_SECONDS = 2000, 1.0
PATIENCE_SECONDS = 60.0


class Senders:
    """Clients that send events all the time, each with an id of its own, until they are told to stop."""

    def __init__(
        self, client: MakeClient, per_call: int, *, name: str, clients: int = CLIENTS, rate: float = 0
    ) -> None:
        """`rate` is of events a second, of all clients together; 0 is as fast as they can."""
        self.confirmed, self.seconds = list[str](), list[float]()
        self._client, self._per_call, self._name = client, per_call, name
        self._pause = per_call * clients / rate if rate else 0.0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(clients)]

    @contextmanager
    def sending(self) -> Iterator["Senders"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Send no more, once all that was sent is accepted."""
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more events are accepted."""
        wanted = len(self.confirmed) + more
        wait_until(lambda: len(self.confirmed) >= wanted, PATIENCE_SECONDS, "events to be accepted")

    def _send(self, number: int) -> None:
        random, place = Random(f"{self._name} {number}"), 0
        due = time.monotonic() + random.random() * self._pause
        with self._client() as client:
            while not self._done.is_set():
                time.sleep(max(0.0, due - time.monotonic()))
                due += self._pause
                events = [_event(random, f"{self._name}-{number}-{place + one}") for one in range(self._per_call)]
                place += self._per_call
                self._confirm(client, events)

    def _confirm(self, client: httpx.Client, events: Sequence[dict[str, Any]]) -> None:
        """Send events until they are accepted, whatever becomes of the API meanwhile."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            began = time.monotonic()
            try:
                response = client.post("/events", json=list(events), timeout=10)
                if response.is_success:
                    break
                assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
            except httpx.TransportError:
                time.sleep(0.05)
            assert time.monotonic() < deadline, "the API does not come back"
        self.seconds.append(time.monotonic() - began)
        assert response.json()["rejected"] == 0, response.text
        self.confirmed += [event["event_id"] for event in events]


def _event(random: Random, event_id: str) -> dict[str, Any]:
    source, target = f"sender_{random.randrange(100_000)}", f"video_{1 + random.randrange(200)}"
    return {
        "event_id": event_id,
        "type": KIND,
        "source_id": source,
        "target_id": target,
        "metadata": {"n": event_id},
    }


def measure_rates(client: MakeClient, seconds: float, out: Console) -> list[str]:
    """Print how many events a second are accepted in calls of each size; returns the ids of all."""
    table, sent = Table("events a call", "events/s", "p50 ms", "p99 ms"), list[str]()
    for per_call in CALLS:
        with Senders(client, per_call, name=f"rate-{per_call}").sending() as senders:
            time.sleep(seconds)
        rate = len(senders.confirmed) / seconds
        p50, p99 = np.percentile(np.array(senders.seconds) * 1000, (50, 99))
        table.add_row(f"{per_call:,}", f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}")
        sent += senders.confirmed
    out.print(f"Accepted, on the disk: {CLIENTS} clients; goal {GOAL_RATE:,}/s")
    out.print(table)
    return sent


def measure_visibility(client: MakeClient, seconds: float, rate: float, users: int, out: Console) -> list[str]:
    """Print how long it takes from sending an event until the answer has changed, while others are sent."""
    waits, random = list[float](), Random(0)
    asked: dict[str, Any] = {"model_id": MODEL, "target_type": "video", "max_recommendations": 20}
    with (
        Senders(client, 20, name="beside", clients=4, rate=rate).sending() as senders,
        client() as asking,
    ):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            source = f"user_{1 + random.randrange(users)}"
            rows = asking.get("/recommended_items", params={**asked, "source_id": source}).json()["recommendations"]
            target = rows[0]["target_id"]
            began = time.monotonic()
            event = {"type": KIND, "source_id": source, "target_id": target}
            asking.post("/events", json=event).raise_for_status()
            while any(row["target_id"] == target for row in rows):
                time.sleep(0.005)
                answer = asking.get("/recommended_items", params={**asked, "source_id": source})
                rows = answer.raise_for_status().json()["recommendations"]
                assert time.monotonic() < began + PATIENCE_SECONDS, "the event does not count"
            waits.append(time.monotonic() - began)
    p50, p99 = np.percentile(waits, (50, 99))
    out.print(
        f"Until an event counts in an answer, with {len(senders.confirmed) / seconds:,.0f} events/s beside: "
        f"p50 {p50:.3f} s, p99 {p99:.3f} s, most {max(waits):.3f} s of {len(waits)}; goal p99 {GOAL_SECONDS} s"
    )
    return senders.confirmed


def kill_again_and_again(home: Path, rounds: int, seed: int, out: Console) -> list[str]:
    """Kill the API at a random moment of each round while events are sent; returns the ids of those accepted.

    The API runs without the service around it, which gives up on a part that dies five times in a minute.
    """
    random, api = Random(seed), Api(home)

    def client() -> httpx.Client:
        return httpx.Client(base_url=api.base + BASE, headers={"apikey": api.secret}, trust_env=False)

    with Senders(client, 5, name="killed", clients=4, rate=500).sending() as senders:
        for number in range(rounds + 1):
            with api.running():
                senders.wait_for(1)
                if number < rounds:
                    time.sleep(random.uniform(0, 0.5))
                    api.process.kill()
                else:
                    senders.stop()  # each is told what became of its last call
    out.print(f"{rounds} kills of the API while events are sent")
    return senders.confirmed


def count(home: Path, confirmed: Sequence[str], out: Console) -> int:
    """Compact all events, print how many are lost or there twice, and return that."""
    catalog = Catalog(home)
    compact_events(Settings(home=home), catalog)
    batches = [batch for batch in catalog.batches.find(tags=["events"]) if batch.interaction_count]
    files = [str(Home(home).batch(batch.batch_id) / ROWS) for batch in batches]
    with duckdb.connect() as connection:
        query = "SELECT metadata ->> '$.n' FROM read_parquet(?) WHERE metadata IS NOT NULL"
        found = [name for (name,) in connection.execute(query, [files]).fetchall()]
    lost, doubled = len(set(confirmed) - set(found)), len(found) - len(set(found))
    out.print(f"{len(confirmed):,} events accepted, {len(batches)} batches: {lost} lost, {doubled} twice")
    return lost + doubled


def main() -> None:
    """Print all figures of a service on a home of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--rate", type=float, default=GOAL_RATE, help="events a second while visibility is measured")
    parser.add_argument("--rounds", type=int, default=100, help="how often the API is killed")
    parser.add_argument("--users", type=int, default=1000, help="size of the model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder) / "home")
        data = generate(Path(folder), users=options.users)
        try:
            service.start()
            service.key = service.first_key()
            with service.client(service.key) as client:
                files = [("files", (file.name, file.read_bytes())) for file in (data.entities, data.interactions)]
                client.post("/data_batch", files=files).raise_for_status()
                client.post("/train", json={"model_id": MODEL}).raise_for_status()
                assert wait_for_training(client, MODEL)["status"] == "completed"
            confirmed = measure_rates(lambda: service.client(service.key), options.seconds, out)
            confirmed += measure_visibility(
                lambda: service.client(service.key), options.seconds, options.rate, options.users, out
            )
        finally:
            service.stop()
        confirmed += kill_again_and_again(service.home, options.rounds, options.seed, out)
        sys.exit(1 if count(service.home, confirmed, out) else 0)


if __name__ == "__main__":
    main()
