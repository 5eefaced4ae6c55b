"""How soon each page of the console answers, with a model of a million entities.

The model `big` is written by the product's own writers, with vectors and edges of chance: how soon a page answers does
not depend on how good they are. The model `demo` is trained on the demo's catalogue, for pages that show what trainings
find; it has been trained twice. Pages are asked of a whole service, over HTTP, in random order, one after the other, as
people do. What people type to find an entity are beginnings and parts of names, of two letters to nine. Beside the time
of each page stands what of it the API's process computed, for on a busy machine pages wait.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, quantiles

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from lucid.demo.catalogue import generate
from lucid.graph.adjacency import Adjacency
from lucid.graph.entity_index import write_entity_index
from lucid.graph.entity_types import read_entity_types
from lucid.graph.histories import InteractionHistory
from lucid.graph.relation_weights import RelationWeights
from lucid.model.embedding import Embedding
from lucid.model.pair_model import PairModel
from lucid.model.spectral_filter import SpectralFilter
from lucid.model.top_n import TopN
from lucid.schema.fields import utc_now
from lucid.schema.training import PrecomputePair
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.typing import INTERACTION
from lucid.versions.config import Origin, VersionConfig, write_config, write_origin
from lucid.versions.files import (
    ENTITIES,
    INDEX,
    RECOMMENDATIONS,
    REPORT,
    VALUES,
    write_adjacency,
    write_embeddings,
    write_history,
)
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.precomputed import record_file, records, write_pairs
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.service import Service

ENTITIES_IN_ALL, VIDEOS, RANK, WATCHED, COUNT = 1_000_000, 100_000, 64, 8, 10
GOAL_MS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=ENTITIES_IN_ALL)
    parser.add_argument("--rounds", type=int, default=60, help="how often each page is asked")
    arguments = parser.parse_args()
    console, rng = Console(width=110), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        console.print("training the model demo")
        workspace = Workspace(settings=Settings(home=home))
        data = Path(folder) / "data"
        data.mkdir()
        catalogue = generate(data)
        workspace.import_files([catalogue.entities, catalogue.interactions])
        workspace.train("demo")
        workspace.train("demo")
        workspace.save_placement({"name": "front", "quotas": [{"each": "metadata.genre", "at_most": 3, "of": 10}]})
        workspace.begin_experiment(
            "front",
            "demo",
            [{"name": "now", "share": 0.5}, {"name": "rules", "share": 0.5, "placement": "front"}],
        )
        console.print(f"writing a model of {arguments.entities:,} entities")
        names = write_model(home, arguments.entities, rng)
        batch = Catalog(home).batches.find()[0].batch_id
        service = Service(home)
        service.start()
        try:
            url, api = f"http://127.0.0.1:{service.api_port}", service.part("uvicorn")
            with httpx.Client(base_url=url, timeout=60) as client:
                own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
                client.post("/console/sign-in", data={"key": service.first_key()}, headers=own)
                asked = list(pages(names, batch, arguments.rounds, arguments.entities, rng))
                show(console, measure(client, api, asked, rng))
        finally:
            service.stop()


def pages(names: list[str], batch: str, rounds: int, entities: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """What is asked: the page, and its whole address."""
    still = (
        "home",
        "data",
        "train",
        "runs",
        "deliveries",
        "keys",
        "erasures",
        "disk",
        "explore",
        "tonight",
        "data/drift",
        "data/events",
        "placements",
        "placements/front/rules",
        "placements/edit?reference=front",
        "experiments",
        "experiments/front/results",
    )
    of_model = ("report", "graph", "versions", "lineage", "progress", "gate", "schedules", "attribution")
    for _ in range(rounds):
        for page in still:
            yield page.replace(batch, "a batch"), f"/console/{page}"
        for page in of_model:
            yield f"model/{page}", f"/console/models/demo/{page}"
        yield "model/pair", "/console/models/demo/pair?source_type=user&target_type=video"
        yield "model/compare", "/console/models/big/compare"
        user = f"user_{rng.randrange(entities - VIDEOS)}"
        others = "&".join(f"plus=user_{rng.randrange(entities - VIDEOS)}" for _ in range(2))
        name = rng.choice(names)
        begin = rng.randrange(len(name))
        typed = (name[begin : begin + rng.randint(2, 9)].strip() or name[:2]).lower()
        yield "find, as one types", f"/console/explore/found?model_id=big&q={typed}"
        yield "find what is not there", f"/console/explore/found?model_id=big&q={typed}qqxz"
        yield "explore/entity", f"/console/explore/entity?model_id=big&id={user}&target_type=video"
        yield "explore/beside", f"/console/explore/beside?model_id=big&id={user}&target_type=video"
        yield "placements/preview", f"/console/placements/front/preview?model_id=big&source_id={user}&target_type=video"
        yield "explore/mix", f"/console/explore/mix?model_id=big&{others}&minus={user}&target_type=video"


def measure(
    client: httpx.Client, api: psutil.Process, asked: list[tuple[str, str]], rng: random.Random
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds that each page took, and that the service computed, by its name.

    The first time of each is not counted, for it opens the model.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for address in dict(asked).values():
        client.get(address)
    rng.shuffle(asked)
    for page, address in asked:
        began, computed = time.perf_counter(), sum(api.cpu_times()[:2])
        client.get(address).raise_for_status()
        took = time.perf_counter() - began, sum(api.cpu_times()[:2]) - computed
        found.setdefault(page, []).append((1000 * took[0], 1000 * took[1]))
    return found


def show(console: Console, found: dict[str, list[tuple[float, float]]]) -> None:
    """The figures as a table."""
    table = Table("page", "p50 ms", "p95 ms", f"under {GOAL_MS} ms", "computed, mean ms", title="Pages of the console")
    for page, took in sorted(found.items()):
        times, computed = ([one[part] for one in took] for part in (0, 1))
        p50, p95 = (quantiles(times, n=100)[percent - 1] for percent in (50, 95))
        table.add_row(page, f"{p50:.0f}", f"{p95:.0f}", "yes" if p95 < GOAL_MS else "NO", f"{mean(computed):.0f}")
    console.print(table)


def write_model(home: Path, entities: int, rng: random.Random) -> list[str]:
    """A version with names, vectors, edges, answers and metadata; returns some of the names."""
    version = Version(home, "big", 1)
    folder, users = version.folder, entities - VIDEOS
    folder.mkdir(parents=True)
    words = ["".join(rng.choice("abcdefghijklmnoprstuvwyz") for _ in range(rng.randint(3, 9))) for _ in range(20_000)]
    names = [" ".join(rng.choices(words, k=rng.randint(2, 4))).title() for _ in range(entities)]
    ids = [f"user_{number}" for number in range(users)] + [f"video_{number}" for number in range(VIDEOS)]
    rows = sorted(range(entities), key=lambda row: (row >= users, ids[row]))
    kinds = ["user"] * users + ["video"] * VIDEOS
    table = {"row": range(entities), "id": [ids[row] for row in rows], "type": kinds, "name": names}
    pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), folder / ENTITIES)
    values = {"row": range(0, entities, 2), "key": ["genre"] * len(range(0, entities, 2)), "value": names[::2]}
    pq.write_table(pa.table({name: pa.array(column) for name, column in values.items()}), folder / VALUES)
    write_entity_index(folder / INDEX, folder / ENTITIES)
    entity_types = read_entity_types(folder / ENTITIES)
    chance, targets = np.random.default_rng(0), entity_types.rows("video")
    spectral = SpectralFilter("positive", RANK, 0.1, 0.5)
    pair = PairModel("user", "video", 0, spectral, 0, spectral)
    weightings = (RelationWeights({}, 1.0),)
    write_config(folder, VersionConfig(entity_types, {pair.pair: pair}, pair, weightings, (pair.pair,), 0))
    sources = np.repeat(np.arange(users, dtype=np.int64), WATCHED)
    watched = targets.start + (VIDEOS * chance.random(len(sources)) ** 2).astype(np.int64)
    degrees = np.bincount(np.concatenate([sources, watched]), minlength=entities).astype(np.float32)
    vectors = np.asarray(chance.standard_normal((entities, RANK), dtype=np.float32) / 8, np.float32)
    values_of = np.linspace(1, 0.1, RANK, dtype=np.float32)
    write_embeddings(folder, [Embedding(values_of, vectors, degrees, 1.0)])
    history = InteractionHistory.from_edges(entities, sources, watched)
    write_history(folder, history, InteractionHistory.none(entities))
    edges = np.stack([sources, watched])
    relations, weights = np.zeros(len(sources), np.int16), np.ones((1, len(sources)), np.float32)
    write_adjacency(folder, Adjacency.build(entities, edges, relations, weights))
    known = [batch.batch_id for batch in Catalog(home).batches.find()]
    write_origin(folder, Origin(known, [], {}, [f"{INTERACTION}watched"], None))
    with (folder / record_file(0)).open("wb") as file:
        for start in range(0, users, 10_000):
            count = min(10_000, users - start)
            best = np.sort(chance.random((count, COUNT)) * 100, axis=1)[:, ::-1]
            chosen = targets.start + chance.integers(VIDEOS, size=(count, COUNT))
            answers = TopN(np.repeat(np.arange(count), COUNT), chosen.ravel(), best.ravel())
            file.write(records(answers, count, COUNT).tobytes())
    asked = PrecomputePair(source_type="user", target_type="video", max_recommendations=COUNT)
    write_pairs(folder, [(asked, COUNT)])
    trained = ModelVersions(home, "demo").live().folder
    for name in (REPORT, RECOMMENDATIONS):
        (folder / name).write_bytes((trained / name).read_bytes())
    shutil.copytree(folder, Version(home, "big", 2).folder, copy_function=os.link)  # to compare it with
    for number in (1, 2):
        Catalog(home).trainings.start("big", {}, utc_now(), "finished")
        Catalog(home).trainings.end("big", number, "completed", "", utc_now())
        made = Version(home, "big", number)
        made.complete(None, utc_now())
        ModelVersions(home, "big").go_live(made)
    return names[:10_000]


if __name__ == "__main__":
    main()
