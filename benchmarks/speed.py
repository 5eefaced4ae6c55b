"""How long a fit takes and how much memory it needs, and how fast recommendations are computed ahead.

    python -m benchmarks.speed [--rows 1000000] [--data folder [--before commit]]

Generated interactions, a tenth as many entities: people with a taste for a few groups, videos with their group as
metadata. Every fit is a whole training without precomputation, in a process of its own so that its peak memory is its
own; the exponent says how time grows from a tenth of the rows. With the folder of the data sets, precomputation on
gowalla is compared with the bare matrix product and top-k of torch on the same shapes in the same run, and whole
trainings of data sets with the command of an earlier commit.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.quality import Task, dbbook, gowalla, import_task, lastfm, read, write_task
from lucid.schema.training import PrecomputePair, TrainingRequest
from lucid.training.run import working_on
from lucid.training.steps import TRAINING
from lucid.versions.files import TIMINGS
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.precompute import precompute
from lucid.workspace import Workspace

MOST = 100
"""Recommendations per source that are computed ahead."""
SOURCES = 1024
"""Sources per matrix product of the baseline."""

# Two interactions of three are with videos of one of the person's three groups; some videos are far more popular.
_INTERACTIONS = """
    WITH drawn AS (
        SELECT i, (hash(i * 7) % $people)::BIGINT AS person, pow((hash(i * 11) % 1000000) / 1e6, 2) AS luck,
            hash(i * 13) % 3 > 0 AS to_taste, hash(i * 17) % 3 AS taste
        FROM range($rows) t(i))
    SELECT 'watched' AS type, 'person_' || person AS source_id,
        'video_' || CASE WHEN to_taste
            THEN hash(person * 3 + taste) % $groups + $groups * floor(luck * ($videos // $groups))::BIGINT
            ELSE floor(luck * $videos)::BIGINT END AS target_id,
        NULL AS timestamp, NULL AS metadata
    FROM drawn"""
_ENTITIES = """
    SELECT 'person_' || i AS id, 'person' AS type, 'Person ' || i AS name, NULL AS metadata, NULL AS media_url
    FROM range($people) t(i)
    UNION ALL
    SELECT 'video_' || i, 'video', 'Video ' || i, '{"group": "group_' || i % $groups || '"}', NULL
    FROM range($videos) t(i)"""


def generate(folder: Path, rows: int) -> list[Path]:
    """Write `entities.csv` and `interactions.csv` with this many interactions and a tenth as many entities."""
    people, videos = rows * 7 // 100, rows * 3 // 100
    sizes = {"people": people, "videos": videos, "groups": max(20, videos // 300)}
    files = []
    for name, query in (("entities", _ENTITIES), ("interactions", _INTERACTIONS)):
        files.append(folder / f"{name}.csv")
        named = {key: value for key, value in {**sizes, "rows": rows}.items() if f"${key}" in query}
        duckdb.execute(f"COPY ({query}) TO '{files[-1]}' (HEADER)", named)
    return files


def fit(home: Path) -> dict[str, Any]:
    """Train without precomputation in this process: seconds of all and of each stage, peak memory in MB."""
    workspace = Workspace(home)
    began = time.perf_counter()
    with working_on(workspace.settings, TrainingRequest(model_id="bench")) as training:
        for step in TRAINING:
            if step.stage not in ("precompute", "publish"):
                step(training)
        seconds = time.perf_counter() - began
        stages = json.loads((training.folder / TIMINGS).read_text())
        report = json.loads((training.folder / "report.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    quality = {f"{pair['source_type']} → {pair['target_type']}": pair["model"]["ndcg"] for pair in report["pairs"]}
    return {"seconds": seconds, "peak": peak, "stages": stages, "quality": quality}


def report_fits(out: Console, sizes: list[int]) -> None:
    table = Table("interactions", "entities", "fit s", "peak MB", "exponent", "stages", "NDCG@10", title="Fit")
    before: tuple[int, float] | None = None
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder) / "home")
            workspace.import_files(generate(Path(folder), rows))
            command = [sys.executable, "-m", "benchmarks.speed", "--fit", str(workspace.settings.home)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        growth = "" if before is None else f"{math.log(found['seconds'] / before[1], rows / before[0]):.2f}"
        before = rows, found["seconds"]
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found["stages"].items())
        quality = ", ".join(f"{pair} {ndcg:.3f}" for pair, ndcg in found["quality"].items())
        table.add_row(
            f"{rows:,}",
            f"{rows // 10:,}",
            f"{found['seconds']:.1f}",
            f"{found['peak']:,.0f}",
            growth,
            stages,
            quality,
        )
    out.print(table)


def report_precomputation(out: Console, data: Path) -> None:
    """All users of gowalla, masked, written to the file that answers, against product and top-k alone."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = import_task(gowalla(data), Path(folder))
        workspace.train("bench")
        version = ModelVersions(workspace.settings.home, "bench").live()
        pair = PrecomputePair(source_type="user", target_type="place", max_recommendations=MOST)
        config = version.config
        embedding = version.embeddings[config.pair("user", "place").decomposition]
        ends = [config.entity_types.rows(entity_type) for entity_type in ("user", "place")]
        users, places = (torch.from_numpy(embedding.vectors[rows.start : rows.stop].copy()) for rows in ends)
        ratios = []
        for _ in range(2):
            began = time.perf_counter()
            for start in range(0, len(users), SOURCES):
                torch.topk(users[start : start + SOURCES] @ places.T, MOST, dim=1)
            bare = time.perf_counter() - began
            began = time.perf_counter()
            precompute(version, [pair], lambda _percent, _doing: None)
            ratios.append((time.perf_counter() - began, bare))
    table = Table("users", "places", "rank", "precompute s", "product + top-k s", "ratio", title="Precomputation")
    for ours, bare in ratios:
        shape = [f"{len(users):,}", f"{len(places):,}", str(users.shape[1])]
        table.add_row(*shape, f"{ours:.1f}", f"{bare:.1f}", f"{ours / bare:.2f}")
    out.print(table)


def many_pairs(_data: Path) -> Task:
    """500 interactions of 1,000 entities, each between two other types: hardly any data, and many pairs."""
    rng, kinds = np.random.default_rng(0), 40
    pairs = np.array([(first, second) for first in range(kinds) for second in range(first)])
    ends = rng.permutation(pairs)[:500] + kinds * rng.integers(25, size=(500, 2))
    names = np.char.add("e", np.arange(1000).astype(str))
    entities = pd.DataFrame({"id": names, "type": [f"type{row % kinds}" for row in range(len(names))], "name": names})
    interactions = pd.DataFrame({"type": "linked", "source_id": names[ends[:, 0]], "target_id": names[ends[:, 1]]})
    return Task("500 pairs", entities.assign(metadata="", media_url=""), _untimed(interactions), [])


def _untimed(interactions: pd.DataFrame) -> pd.DataFrame:
    return interactions.assign(timestamp="", metadata="")


def ml_latest_small(data: Path) -> Task:
    folder = data / "ml-latest-small"
    return Task("ml-latest-small", read(folder, "entities"), read(folder, "interactions"), [])


WHOLE: tuple[Callable[[Path], Task], ...] = (many_pairs, dbbook, lastfm, ml_latest_small, gowalla)
"""What whole trainings are timed on."""
BEFORE = "a1567bd"
"""The commit that they are compared with."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive)
        yield Path(folder)


def command(checkout: Path, home: Path, *arguments: str) -> tuple[float, float]:
    """Run the `lucid` command of a checkout: its seconds, and those of the processors."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "LUCID_HOME": str(home)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [sys.executable, "-m", "lucid", *arguments]
    # Python looks for modules where it is started before it looks anywhere else.
    subprocess.run(words, check=True, env=environment, cwd=checkout, stdout=subprocess.DEVNULL)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report_whole_trainings(out: Console, data: Path, before: str) -> None:
    """Import, then train with precomputation, by the command of today and of an earlier commit."""
    table = Table(
        "data", "before s", "CPU s", "now s", "CPU s", "ratio", "NDCG@10", title=f"Trainings; before: {before}"
    )
    with checked_out(before) as old:
        for make in WHOLE:
            figures, quality = [], []
            task = make(data)
            for checkout in (old, Path(__file__).parents[1]):
                with tempfile.TemporaryDirectory() as folder:
                    home, files = Path(folder) / "home", write_task(task, Path(folder))
                    command(checkout, home, "import", *map(str, files))
                    figures.append(command(checkout, home, "train", "--model-id", "bench"))
                    (report,) = home.glob("models/*/1/report.json")
                    pairs = json.loads(report.read_text())["pairs"]
                quality.append(f"{np.mean([pair['model']['ndcg'] for pair in pairs]):.4f}" if pairs else "-")
            told = [f"{figure:.1f}" for each in figures for figure in each]
            table.add_row(task.name, *told, f"{figures[1][0] / figures[0][0]:.2f}", ", ".join(quality))
    out.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--before", default=BEFORE, help="commit that whole trainings are compared with")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        print(json.dumps(fit(given.fit)))
        return
    out = Console(width=150)
    report_fits(out, [given.rows // 10, given.rows])
    if given.data:
        report_precomputation(out, given.data)
        report_whole_trainings(out, given.data, given.before)


if __name__ == "__main__":
    main()
