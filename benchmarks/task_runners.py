"""What it costs to map parts of a training as tasks: the same training by one process, and as a flow that maps.

    python -m benchmarks.task_runners [--data folder] [--rounds 3] [--before commit] [--scores 200000000]

On the checkerboard of the tests and, with the folder of the data sets, on its ml-latest-small. Each training is a
process of its own on a copy of the same home, all with one Prefect server, in turn. Prints seconds of the whole and of
the stages that map, those of the processors, and the peak memory, both without Dask's workers. Exits with 1 where the
files of two ways differ. `--before` adds the flow of an earlier commit, `--scores` sets how large partitions are.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from rich.console import Console
from rich.table import Table

from benchmarks.quality import import_task
from benchmarks.speed import checked_out, ml_latest_small
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard

# What the process of one training runs; the same for every commit.
_ALONE = """
from lucid.schema.training import TrainingRequest
from lucid.settings import load_settings
from lucid.training.steps import train
train(load_settings(), TrainingRequest(model_id="bench"))"""
_FLOW = """
from lucid.flows.train_model import train_model
train_model("bench")"""
_TOLD = """
import json, resource
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"cpu": sum(one.ru_utime + one.ru_stime for one in used), "peak": used[0].ru_maxrss / 1024}))"""
_STAGES = ("fit", "precompute")
Way = tuple[Path, str, dict[str, str]]
"""The files of a commit, what its process runs, and what that finds in its environment."""


def trained(home: Path, checkout: Path, program: str, environment: dict[str, str]) -> tuple[dict[str, float], str]:
    """Figures of a training on a copy of a home, and a checksum of what it left, but for times."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        given = {**os.environ, "PYTHONPATH": str(checkout), "LUCID_HOME": str(copy), **environment}
        began = time.perf_counter()
        # Dask starts its workers from a file that they can run once more.
        script = Path(folder) / "training.py"
        script.write_text(f"if __name__ == '__main__':\n    exec({program + _TOLD!r})\n")
        done = subprocess.run(
            [sys.executable, str(script)], env=given, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True
        )
        figures: dict[str, float] = {"whole": time.perf_counter() - began, **json.loads(done.stdout.splitlines()[-1])}
        (version,) = copy.glob("models/*/1")
        timings = json.loads((version / "timings.json").read_text())
        sums = hashlib.sha256()
        for path in sorted(version.iterdir()):
            if path.name not in ("timings.json", "cost.json", "manifest.json"):
                sums.update(path.read_bytes())
        return {**figures, **{stage: timings[stage] for stage in _STAGES}}, sums.hexdigest()


def compare(out: Console, name: str, home: Path, ways: dict[str, Way], rounds: int) -> bool:
    """Train in all ways in turn, and show the medians; whether the ways of this commit leave the same files."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    sums: dict[str, str] = {}
    for _ in range(rounds):
        for way, how in ways.items():
            figures, sums[way] = trained(home, *how)
            found[way].append(figures)
    columns = ("whole", "cpu", *_STAGES, "peak")
    table = Table("way", *columns, "same files", title=f"{name}: seconds, MB; medians of {rounds}")
    same = len({sums[way] for way in ways if way != "before"}) == 1
    for way, each in found.items():
        medians = [f"{np.median([figures[column] for figures in each]):.1f}" for column in columns]
        table.add_row(way, *medians, "" if way == "before" else "yes" if same else sums[way][:8])
    out.print(table)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", help="commit whose flow is compared, too")
    parser.add_argument("--scores", type=int, default=200_000_000)
    given = parser.parse_args()
    here, same, out = Path(__file__).parents[1], [], Console(width=120)
    with (
        tempfile.TemporaryDirectory() as folder,
        checked_out(given.before) if given.before else nullcontext() as earlier,
        prefect_test_harness(server_startup_timeout=300),
    ):
        server = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
        sized = {**server, "LUCID_PARTITION_SCORES": str(given.scores)}
        ways: dict[str, Way] = {"before": (earlier, _FLOW, server)} if earlier else {}
        ways["one process"] = here, _ALONE, sized
        ways["threads"] = here, _FLOW, sized
        ways["dask"] = here, _FLOW, {**sized, "LUCID_TASK_RUNNER": "dask"}
        board = Workspace(Path(folder) / "board")
        board.import_files(write_checkerboard(Path(folder)))
        same.append(compare(out, "checkerboard", board.settings.home, ways, given.rounds))
        if given.data:
            movies = import_task(ml_latest_small(given.data), Path(folder))
            same.append(compare(out, "ml-latest-small", movies.settings.home, ways, given.rounds))
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
