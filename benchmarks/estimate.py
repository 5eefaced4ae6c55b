"""How well the time and the memory of a training are foreseen, and the rates that say so.

    python -m benchmarks.estimate --data folder [--keep measured.json] [--rates]

Every data set is imported and trained once, in a process of its own. What `lucid.training.cost` says of each is
compared with the processor seconds that its phases took and with its peak memory; so is what rates say that were fitted
to all other data sets, which is what a new data set would be told. Processor seconds are compared, as they hardly
change with what else the machine does. With `--rates` the rates for `cost` are printed; with `--keep` what was measured
is written to a file, or read from it if it is there.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from benchmarks.speed import generate
from lucid.schema.training import TrainingRequest
from lucid.side_by_side import cores
from lucid.training import cost
from lucid.training.estimate import read_cost
from lucid.training.memory import Peak
from lucid.training.run import working_on
from lucid.training.steps import TRAINING
from lucid.training.workload import Workload
from lucid.workspace import Workspace

PUBLIC = ("ml-latest-small", "ml-1m", "dbbook2014", "lastfm-hetrec", "gowalla", "dblp-hin", "ml-100k")
GENERATED = (10_000, 100_000, 300_000)
"""Interactions of generated data sets."""
PHASES = {
    "select_data": "select",
    "build_graph": "build",
    "fit_model/weighing relations": "search",
    "fit_model/decomposing the graph without held-out interactions": "grow",
    "fit_model/choosing filters": "filters",
    "fit_model/choosing the filter": "filters",
    "fit_model/calibrating": "calibrate",
    "fit_model/fitting on everything": "refit",
    "evaluate_model": "evaluate",
    "precompute": "precompute",
}
"""The phase of each step, by the step and by what it says that it does, which it says when a piece of it is done; what
a fit does before is for its search."""
TRUST = 1.0
"""How much the present rates count beside what was measured, so that few data sets make no wild ones."""


@dataclass(frozen=True)
class Measured:
    """A training: its workload, processor seconds of each phase, seconds by the clock, peak memory in bytes."""

    name: str
    workload: Workload
    phases: Mapping[str, float]
    seconds: float
    peak: int

    @property
    def total(self) -> float:
        return sum(self.phases.values())


def measure(home: Path) -> dict[str, Any]:
    """Train in this process, and say what it took."""
    peak, phases, began = Peak(), dict.fromkeys(cost.STARTS, 0.0), time.perf_counter()
    doing, since = "select", _processor_seconds()

    def begin(phase: str) -> None:
        nonlocal doing, since
        now = _processor_seconds()
        phases[doing] += now - since
        doing, since = phase, now

    with working_on(Workspace(home).settings, TrainingRequest(model_id="bench")) as training:
        for step in TRAINING[:-1]:
            begin(PHASES.get(step.name, "search"))
            step.work(training, lambda _, said, name=step.name: begin(_phase(name, said, doing)))  # type: ignore[misc]
        begin("precompute")
        noted = read_cost(training.folder)
    assert noted
    assert noted.workload
    seconds = time.perf_counter() - began
    return {"workload": noted.workload.to_json(), "phases": phases, "seconds": seconds, "peak": peak.bytes()}


def _phase(step: str, said: str, before: str) -> str:
    label = re.sub(r"( of)? \S+ → .*", "", said)
    return PHASES.get(step) or PHASES.get(f"{step}/{label}", before)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def data_sets(data: Path | None) -> Iterator[tuple[str, Path]]:
    """Homes with the batches of one data set each, by their names."""
    sets = {f"generated {rows:,}": rows for rows in GENERATED} | dict.fromkeys(PUBLIC if data else ())
    for name, rows in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            parts = ("entities", "kg_entities", "interactions", "kg")
            named = [data / name / f"{part}.csv.gz" for part in parts] if data and rows is None else []
            files = [file for file in named if file.exists()] if rows is None else generate(Path(folder), rows)
            Workspace(Path(folder) / "home").import_files(files)
            yield name, Path(folder) / "home"


def measured(data: Path | None) -> Iterator[dict[str, Any]]:
    for name, home in data_sets(data):
        command = [sys.executable, "-m", "benchmarks.estimate", "--measure", str(home)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield {"name": name, **json.loads(done.stdout.splitlines()[-1])}


def read(raw: Mapping[str, Any]) -> Measured:
    return Measured(raw["name"], Workload.from_json(raw["workload"]), raw["phases"], raw["seconds"], raw["peak"])


# Rates

KINDS, STARTS = list(cost.RATES), list(cost.STARTS)


def amounts(workload: Workload) -> NDArray[np.float64]:
    """How much of each kind of work, and whether its start, each phase has: (phases, kinds and starts)."""
    work = cost.phases(workload)
    kinds = np.array([[work[phase].get(kind, 0.0) for kind in KINDS] for phase in STARTS])
    return np.asarray(np.hstack([kinds, np.eye(len(STARTS))]), np.float64)


def fit_rates(trainings: Sequence[Measured]) -> NDArray[np.float64]:
    """Rates and starts, not negative, by least squares of relative errors, of whole trainings above all."""
    rows, wanted = [], []
    for one in trainings:
        work = amounts(one.workload)
        found = np.array([one.phases[phase] for phase in STARTS])
        weights = 1 / (found + 0.1 * one.total)
        rows += [*(work * weights[:, None]), 4 * work.sum(axis=0) / one.total]
        wanted += [*(found * weights), 4.0]
    prior = np.array(list(cost.RATES.values()))
    rows += list(np.hstack([np.diag(TRUST / prior), np.zeros((len(KINDS), len(STARTS)))]))
    rates: NDArray[np.float64] = nnls(np.array(rows), np.array([*wanted, *[TRUST] * len(KINDS)]))[0]
    return rates


MEMORY = ("PROGRAM", "EDGE", "VECTORS", "RANK_SQUARED", "TABLES")


def held(workload: Workload) -> NDArray[np.float64]:
    """What each of the five figures of memory is multiplied by."""
    parts = zip(cost.memory(workload, cores()).values(), MEMORY, strict=True)
    return np.array([count / getattr(cost, name) for count, name in parts], np.float64)


def fit_memory(trainings: Sequence[Measured]) -> NDArray[np.float64]:
    """The figures of memory, by least squares of relative errors."""
    figures = np.array([getattr(cost, name) for name in MEMORY])
    rows = [held(one.workload) / one.peak for one in trainings] + list(np.diag(0.1 * TRUST / figures))
    wanted = [1.0] * len(trainings) + [0.1 * TRUST] * len(MEMORY)
    found: NDArray[np.float64] = nnls(np.array(rows), np.array(wanted))[0]
    return found


def report(out: Console, trainings: Sequence[Measured]) -> None:
    columns = "data", "s", "CPU s", "foreseen", "without it", "peak MB", "foreseen", "without it"
    table = Table(*columns, title="Trainings; what was foreseen as a share of what was measured")
    for one in trainings:
        others = [other for other in trainings if other is not one]
        rates, figures = fit_rates(others), fit_memory(others)
        told = np.array([*cost.RATES.values(), *cost.STARTS.values()])
        work = amounts(one.workload).sum(axis=0)
        table.add_row(
            one.name,
            f"{one.seconds:.0f}",
            f"{one.total:.1f}",
            f"{work @ told / one.total:.2f}",
            f"{work @ rates / one.total:.2f}",
            f"{one.peak / 1e6:,.0f}",
            f"{sum(cost.memory(one.workload, cores()).values()) / one.peak:.2f}",
            f"{held(one.workload) @ figures / one.peak:.2f}",
        )
    out.print(table)


def show_rates(out: Console, trainings: Sequence[Measured]) -> None:
    def show(names: Iterable[str], values: Iterable[float]) -> None:
        out.print({name: float(f"{value:.3g}") for name, value in zip(names, values, strict=True)})

    rates = fit_rates(trainings)
    show(KINDS, rates[: len(KINDS)])
    show(STARTS, rates[len(KINDS) :])
    show(MEMORY, fit_memory(trainings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets; without it, generated ones only")
    parser.add_argument("--keep", type=Path, help="file for what was measured")
    parser.add_argument("--rates", action="store_true", help="print rates for lucid/training/cost.py")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    out = Console(width=120)
    kept = given.keep and given.keep.exists()
    found = json.loads(given.keep.read_text()) if kept else list(measured(given.data))
    if given.keep and not kept:
        given.keep.write_text(json.dumps(found))
    trainings = [read(one) for one in found]
    report(out, trainings)
    if given.rates:
        show_rates(out, trainings)


if __name__ == "__main__":
    main()
