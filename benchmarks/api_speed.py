"""How many look-ups a second the API answers and how long they take, next to a bare route of the same framework.

The model has a million sources with a hundred recommendations each, written by the product's own writers: what a
look-up costs does not depend on how the scores came about. wrk asks `recommended_items` for random sources and, in turn
with it, a bare FastAPI route behind the same server that returns a fixed body of the same size. Look-ups are measured
again while a training and an import run beside, and all sources are asked for in one call while the memory of the API
is watched. Needs wrk (Debian and Ubuntu: apt install wrk).
"""

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
import httpx
import numpy as np
import psutil
from fastapi import FastAPI, Response
from rich.console import Console
from rich.table import Table

from lucid.data.selection import Step
from lucid.evaluation.pair_quality import Bootstrap
from lucid.graph.adjacency import Adjacency
from lucid.graph.entity_index import write_entity_index
from lucid.graph.entity_types import read_entity_types
from lucid.graph.histories import InteractionHistory
from lucid.graph.relation_weights import RelationWeights
from lucid.keys import create_key
from lucid.model.embedding import Embedding
from lucid.model.pair_model import PairModel
from lucid.model.spectral_filter import SpectralFilter
from lucid.model.top_n import TopN
from lucid.schema.fields import utc_now
from lucid.schema.training import PrecomputePair
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training.chosen import ChosenSettings
from lucid.training.report import GraphCounts, TrainingReport, write_report
from lucid.versions.config import Origin, VersionConfig, write_config, write_origin
from lucid.versions.files import ENTITIES, INDEX, write_adjacency, write_embeddings, write_history
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.precomputed import record_file, records, write_pairs
from lucid.versions.version import Version

SOURCES, TARGETS, COUNT = 1_000_000, 50_000, 100
CONNECTIONS = (1, 16, 64)
MODEL, VERSION = "big", 1
_RANDOM_SOURCES = """
local path, key, sources = os.getenv("ASKED"), os.getenv("APIKEY"), tonumber(os.getenv("SOURCES"))
local id = 0
function setup(thread) thread:set("seed", os.time() + id); id = id + 1 end
function init() math.randomseed(seed) end
function request()
  return wrk.format("GET", (path:gsub("@", math.random(0, sources - 1))), {apikey = key})
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"calls": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured; milliseconds. Of several rounds the sums, and the median of each percentile."""

    calls: int
    seconds: float
    p50: float
    p99: float
    errors: int

    @classmethod
    def of_rounds(cls, rounds: Sequence["Load"]) -> "Load":
        """What several rounds say together."""
        return cls(
            sum(load.calls for load in rounds),
            sum(load.seconds for load in rounds),
            median(load.p50 for load in rounds),
            median(load.p99 for load in rounds),
            sum(load.errors for load in rounds),
        )

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds


def bare_app() -> FastAPI:
    """One route that returns a body of as many bytes as the environment says."""
    app = FastAPI()
    body = b"x" * int(os.environ["BODY_BYTES"])

    @app.get("/bare")
    async def bare() -> Response:
        return Response(body, media_type="application/json")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--rounds", type=int, default=5, help="of look-ups and the bare route in turn")
    parser.add_argument("--sources", type=int, default=SOURCES)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian and Ubuntu: apt install wrk")
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        console.print(f"writing a model of {arguments.sources:,} sources")
        write_model(home, arguments.sources)
        _, key = create_key(Catalog(home))
        path = f"/v1/recommender/recommended_items?model_id={MODEL}&source_id=user_@&target_type=video"
        environment = {"LUCID_HOME": str(home)}
        began = time.perf_counter()
        with serving("lucid.api.app:create_service", environment) as (url, api), httpx.Client(base_url=url) as client:
            first = wait_for(client, path.replace("@", "7"), key)
            console.print(f"first answer {first - began:.2f} s after the start of the process (goal: under 2 s)")
            size = len(client.get(path.replace("@", "7"), headers={"apikey": key}).content)
            with serving("benchmarks.api_speed:bare_app", {"BODY_BYTES": str(size)}) as (bare_url, _):
                wait_for(httpx.Client(base_url=bare_url), "/bare", key)
                asked = {"lookup": url + path, "bare": f"{bare_url}/bare"}
                quiet = measured(asked, key, arguments, CONNECTIONS)
                show(console, f"Look-ups of {COUNT} rows ({size:,} bytes) next to a bare route", quiet)
                with working(Path(folder)) as work:
                    beside = measured(asked, key, arguments, [16])
                    still = [name for name, process in work.items() if process.poll() is None]
                show(console, f"The same beside: {', '.join(still) or 'nothing, it had ended'}", beside)
                ratio = beside["lookup", 16].p99 / quiet["bare", 16].p99
                console.print(f"p99 beside a training and an import: {ratio:.1f} x the bare route's when all is quiet")
            stream_all(console, client, api, key, arguments.sources)


def write_model(home: Path, sources: int, number: int = VERSION) -> None:
    """A version as a training leaves it, but for what look-ups do not read: vectors of one number, and no edges."""
    version = Version(home, MODEL, number)
    folder = version.folder
    folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT row_number() OVER (ORDER BY type, id) - 1 AS row, * FROM ("
            f"SELECT 'user_' || range AS id, 'user' AS type, '' AS name FROM range({sources}) UNION ALL "
            f"SELECT 'video_' || range, 'video', 'The video number ' || range FROM range({TARGETS})) ORDER BY row) "
            f"TO '{folder / ENTITIES}' (FORMAT parquet)"
        )
    write_entity_index(folder / INDEX, folder / ENTITIES)
    entity_types = read_entity_types(folder / ENTITIES)
    spectral = SpectralFilter("positive", 64, 0.1, 0.5)
    pair = PairModel("user", "video", 0, spectral, 0, spectral)
    weightings = (RelationWeights({}, 1.0),)
    write_config(folder, VersionConfig(entity_types, {pair.pair: pair}, pair, weightings, (pair.pair,), 0))
    size = entity_types.size
    embedding = Embedding(np.ones(1, np.float32), np.ones((size, 1), np.float32), np.ones(size, np.float32), 1.0)
    write_embeddings(folder, [embedding])
    write_history(folder, InteractionHistory.none(size), InteractionHistory.none(size))
    edges = np.empty((2, 0), np.int64), np.empty(0, np.int16), np.empty((1, 0), np.float32)
    write_adjacency(folder, Adjacency.build(size, *edges))
    write_origin(folder, Origin([], [], {}, [], None))
    counts = GraphCounts(size, list(entity_types.types), [], [pair.pair])
    chosen = ChosenSettings(list(weightings), spectral, [], [])
    kept = [Step("all", size, 0, [])]
    write_report(folder, TrainingReport(MODEL, number, kept, [], [], counts, chosen, [], Bootstrap(0)))
    rng = np.random.default_rng(number)
    with (folder / record_file(0)).open("wb") as file:
        for start in range(0, sources, 10_000):
            count = min(10_000, sources - start)
            first, step = rng.integers(TARGETS, size=(count, 1)), rng.integers(1, 400, size=(count, 1))
            targets = (first + step * np.arange(COUNT)) % TARGETS + entity_types.rows("video").start
            scores = np.sort(rng.random((count, COUNT)) * 100, axis=1)[:, ::-1]
            best = TopN(np.repeat(np.arange(count), COUNT), targets.ravel(), scores.ravel())
            file.write(records(best, count, COUNT).tobytes())
    asked = PrecomputePair(source_type="user", target_type="video", max_recommendations=COUNT)
    write_pairs(folder, [(asked, COUNT)])
    Catalog(home).trainings.start(MODEL, {}, utc_now(), "finished")
    Catalog(home).trainings.end(MODEL, number, "completed", "", utc_now())
    version.complete(None, utc_now())
    ModelVersions(home, MODEL).go_live(version)


@contextmanager
def serving(app: str, environment: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    """An application behind uvicorn, as the product runs it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--factory", "--no-access-log", "--http", "lucid.api.connections:Connection", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", app, *options, "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(client: httpx.Client, path: str, key: str) -> float:
    """When a call was answered for the first time."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        try:
            client.get(path, headers={"apikey": key}).raise_for_status()
            return time.perf_counter()
        except httpx.ConnectError:
            time.sleep(0.01)
    raise TimeoutError(path)


Loads = dict[tuple[str, int], Load]


def measured(asked: dict[str, str], key: str, arguments: argparse.Namespace, connections: Sequence[int]) -> Loads:
    """What each URL bears, by name and number of connections; measured in turns, as machines do not run evenly."""
    rounds: dict[tuple[str, int], list[Load]] = {(name, count): [] for count in connections for name in asked}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_RANDOM_SOURCES)
        script.flush()
        for count in connections:
            for name, url in [*asked.items()] * arguments.rounds:
                base, path = url[: url.index("/", 8)], url[url.index("/", 8) :]
                output = subprocess.run(
                    ["wrk", "-t1", f"-c{count}", f"-d{arguments.seconds}s", "-s", script.name, base],
                    env={**os.environ, "ASKED": path, "APIKEY": key, "SOURCES": str(arguments.sources)},
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
                rounds[name, count].append(Load(**json.loads(output.splitlines()[-1])))
    return {which: Load.of_rounds(loads) for which, loads in rounds.items()}


def show(console: Console, title: str, loads: Loads) -> None:
    table = Table(
        "connections", "who", "calls/s", "p50 ms", "p99 ms", "errors", "calls, ratio", "p99, ratio", title=title
    )
    for (name, count), load in loads.items():
        bare = loads["bare", count]
        ratios = (f"{load.rate / bare.rate:.2f}", f"{load.p99 / bare.p99:.2f}") if name != "bare" else ("", "")
        figures = f"{load.rate:,.0f}", f"{load.p50:.2f}", f"{load.p99:.2f}", f"{load.errors}"
        table.add_row(str(count), name, *figures, *ratios)
    console.print(table)


@contextmanager
def working(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A training and an import in processes of their own, on data of their own, as nice as the flows of a service."""
    data, home = folder / "data", folder / "other"
    data.mkdir()
    with duckdb.connect() as connection:
        for name, query in (
            (
                "entities",
                "SELECT 'user_' || range AS id, 'user' AS type, '' AS name, '' AS metadata, '' AS media_url "
                "FROM range(50000) UNION ALL SELECT 'video_' || range, 'video', '', '', '' FROM range(20000)",
            ),
            (
                "interactions",
                "SELECT 'watched' AS type, 'user_' || (hash(range) % 50000) AS source_id, "
                "'video_' || floor(20000 * pow((hash(-range) % 10000) / 10000, 2))::INT AS target_id, "
                "'' AS timestamp, '' AS metadata FROM range(2000000)",
            ),
        ):
            connection.execute(f"COPY ({query}) TO '{data / name}.csv' (HEADER)")
    environment = {**os.environ, "LUCID_HOME": str(home)}
    nice = ["nice", f"-n{Settings().flow_niceness}"]
    lucid = [*nice, sys.executable, "-m", "lucid"]
    files = [str(data / "entities.csv"), str(data / "interactions.csv")]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*lucid, "import", *files], check=True, **quiet)  # type: ignore[call-overload]
    again = f"while {shlex.join(lucid)} import --tags other {files[1]}; do :; done"
    processes = {
        "training": subprocess.Popen([*lucid, "train", "--model-id", "other"], **quiet),  # type: ignore[call-overload]
        "imports": subprocess.Popen(["sh", "-c", again], start_new_session=True, **quiet),  # type: ignore[call-overload]
    }
    time.sleep(5)  # until both are at work
    try:
        yield processes
    finally:
        for process in processes.values():
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()


def stream_all(console: Console, client: httpx.Client, api: psutil.Process, key: str, sources: int) -> None:
    """Ask for all sources in one call, in both formats, and watch the memory of the API."""
    for output_format in ("json", "csv"):
        most, ended = [0], threading.Event()

        def watch(most: list[int] = most, ended: threading.Event = ended) -> None:
            while not ended.wait(0.05):
                most[0] = max(most[0], api.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        began, received = time.perf_counter(), 0
        body = {"model_id": MODEL, "source_type": "user", "target_type": "video", "output_format": output_format}
        with client.stream("POST", "/v1/recommender/recommended_items", json=body, headers={"apikey": key}) as answer:
            answer.raise_for_status()
            for piece in answer.iter_raw():
                received += len(piece)
        ended.set()
        watcher.join()
        seconds = time.perf_counter() - began
        console.print(
            f"all {sources:,} sources x {COUNT} as {output_format}: {received / 1e9:.1f} GB in {seconds:.0f} s, "
            f"{sources * COUNT / seconds:,.0f} rows/s, the API held {most[0] / 1e6:,.0f} MB at most (goal: under 300)"
        )


if __name__ == "__main__":
    main()
