"""How long it takes over HTTP to let another version answer, and to compare two.

    python -m benchmarks.rollback [--sources 1000000]

Two versions, each with 100 recommendations for every source, in the format of today but with vectors of one number.
They answer in turn; the first answer after each switch has to be, to the byte, what that version answered before.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.api_speed import COUNT, MODEL, SOURCES, serving, wait_for, write_model
from lucid.keys import create_key
from lucid.store.catalog import Catalog
from lucid.versions.version import Version

SWITCHES = 10
T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=SOURCES)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        for number in (1, 2):
            write_model(home, arguments.sources, number)
        key = create_key(Catalog(home))[1]
        with serving("lucid.api.app:create_service", {"LUCID_HOME": folder}) as (url, _):
            base = f"{url}/v1/recommender"
            client = httpx.Client(base_url=base, headers={"apikey": key}, timeout=600, trust_env=False)
            wait_for(client, "/models", key)
            measure(client, Version(home, MODEL, 1), arguments.sources)


def measure(client: httpx.Client, version: Version, sources: int) -> None:
    def ask() -> bytes:
        asked = {"model_id": MODEL, "source_id": [f"user_{number}" for number in range(0, sources, sources // 100)]}
        return client.post("/recommended_items", json={**asked, "target_type": "video"}).raise_for_status().content

    def switch(number: int) -> object:
        return client.post(f"/models/{MODEL}/rollback", json={"version": number}).raise_for_status()

    expected = {}
    for number in (1, 2):
        switch(number)
        expected[number] = ask()
    switches, answers = [], []
    for turn in range(SWITCHES):
        number = 1 + turn % 2
        switches.append(timed(lambda number=number: switch(number))[0])  # type: ignore[misc]
        waited, answer = timed(ask)
        assert answer == expected[number] != expected[3 - number], "other bytes than before"
        answers.append(waited)
    compared = [timed(lambda: client.get(f"/models/{MODEL}/compare?a=1&b=2").raise_for_status())[0] for _ in range(3)]
    size = sum(version.manifest.files.values())
    table = Table("what", "median s", "most s", title=f"{sources:,} sources x {COUNT}, {size / 1e9:.1f} GB a version")
    for what, seconds in (
        ("rollback", switches),
        ("the first answer after it, 100 sources", answers),
        ("compare", compared),
    ):
        table.add_row(what, f"{median(seconds):.3f}", f"{max(seconds):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
