"""The estimate: seconds and memory that a training will take, from its workload and from what earlier ones took.

`lucid.training.cost` says what a workload costs on the machine that it was measured on. What the same model's last
training took, beside what it should have taken, sets the estimate right; for a new model other models' trainings do,
and in an empty home a short probe of the processor.
"""

import json
import statistics
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lucid.side_by_side import cores
from lucid.store.catalog import Catalog
from lucid.store.files import write_text
from lucid.training.cost import memory, seconds
from lucid.training.remaining import read_timings
from lucid.training.workload import Workload
from lucid.versions.files import COST
from lucid.versions.lifecycle import ModelVersions

_MODELS = 5
"""Other models whose last trainings tell how fast this machine is."""
_FASTER, _SMALLER = (0.1, 10.0), (0.5, 2.0)
"""How far earlier trainings may move the seconds and the memory."""
_PROBE_SIZE, _PROBE_SECONDS = 384, 0.05
_REFERENCE_FLOPS = 1.07e11
"""Of one core in single precision, on the machine that the rates were fitted on."""


@dataclass(frozen=True)
class Cost:
    """What a training had to do, and the most memory that its process held so far.

    A refresh, and a version without an erased entity, has no workload.
    """

    workload: Workload | None
    peak_bytes: int = 0
    needs: int = 0
    """What it was estimated to hold at most."""
    host: str = ""
    pid: int = 0
    """The process that works on it, or has."""
    is_admitted: bool = False
    """Whether there was room in memory for it."""
    waited: float = 0.0
    """Seconds until there was."""
    is_less: bool = False
    """Whether it had no time for all that it would have done, so that it tells nothing of others."""


@dataclass(frozen=True)
class Estimate:
    """Seconds by stage, bytes by part, and what the speed was taken from."""

    seconds_by_stage: Mapping[str, float]
    seconds_by_phase: Mapping[str, float]
    memory_by_part: Mapping[str, int]
    based_on: str

    @property
    def seconds(self) -> float:
        return sum(self.seconds_by_stage.values())

    def with_select(self, seconds: float) -> "Estimate":
        """With what the selection has really taken, just now."""
        return replace(self, seconds_by_stage={**self.seconds_by_stage, "select": seconds})

    @property
    def memory_bytes(self) -> int:
        return sum(self.memory_by_part.values())


def estimate(home: Path, model_id: str | None, workload: Workload) -> Estimate:
    """What a training with a workload will take on this machine."""
    pace, size, based_on = _experience(home, model_id)
    phases = {phase: pace * taken for phase, taken in seconds(workload, cores()).items()}
    stages: dict[str, float] = {}
    for phase, taken in phases.items():
        stage = STAGES.get(phase, phase)
        stages[stage] = stages.get(stage, 0.0) + taken
    return Estimate(
        stages, phases, {part: int(size * held) for part, held in memory(workload, cores()).items()}, based_on
    )


STAGES = dict.fromkeys(("search", "grow", "filters", "calibrate", "refit"), "fit")
"""The stages that several phases make up."""


def write_cost(folder: Path, cost: Cost) -> None:
    workload = cost.workload.to_json() if cost.workload else None
    write_text(folder / COST, json.dumps({**vars(cost), "workload": workload}))


def read_cost(folder: Path) -> Cost | None:
    """What a version's training noted; None where nothing readable is noted."""
    try:
        raw: dict[str, Any] = json.loads((folder / COST).read_text())
        return Cost(**{**raw, "workload": Workload.from_json(raw["workload"]) if raw["workload"] else None})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # damage is for the check of versions to tell
        return None


def note_peak(folder: Path, peak_bytes: int) -> None:
    """Note how much memory a training's process has held, where that is more than before."""
    cost = read_cost(folder) or Cost(None)
    if peak_bytes >= cost.peak_bytes:
        write_cost(folder, replace(cost, peak_bytes=peak_bytes))


def note_less(folder: Path) -> None:
    """Note that a training left out what there was no time for."""
    write_cost(folder, replace(read_cost(folder) or Cost(None), is_less=True))


def _experience(home: Path, model_id: str | None) -> tuple[float, float, str]:
    """By how much trainings here take longer, and need more memory, than the rates say; and which trainings."""
    own = _last(home, model_id) if model_id else None
    if own:
        return *own, "the last training of this model"
    others = [found for name in _models(home) if name != model_id and (found := _last(home, name))][:_MODELS]
    if others:
        paces, sizes = zip(*others, strict=True)
        return statistics.median(paces), statistics.median(sizes), "the last trainings of other models"
    return _REFERENCE_FLOPS / probe(), 1.0, "a probe of this machine"


def _models(home: Path) -> Iterable[str]:
    return Catalog(home).trainings.models()


def _last(home: Path, model_id: str) -> tuple[float, float] | None:
    """Seconds and peak memory of a model's newest training, both as multiples of what the rates say."""
    for version in reversed(ModelVersions(home, model_id).complete()):
        cost, timings = read_cost(version.folder), read_timings(version.folder)
        if cost and cost.workload and not cost.is_less and "fit" in timings:
            with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # counts that are none
                expected = sum(seconds(cost.workload, cores()).values())
                pace = _within(sum(timings.values()) / expected, _FASTER)
                held = sum(memory(cost.workload, cores()).values())
                return pace, _within(cost.peak_bytes / held, _SMALLER) if cost.peak_bytes else 1.0
    return None


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def probe() -> float:
    """Floating-point operations per second of one core, the fastest of some small matrix products."""
    matrix = np.ones((_PROBE_SIZE, _PROBE_SIZE), np.float32)
    tries: list[float] = []
    with threadpool_limits(1, user_api="blas"):
        while len(tries) < 5 or sum(tries) < _PROBE_SECONDS:
            start = time.perf_counter()
            matrix @ matrix
            tries.append(time.perf_counter() - start)
    return 2 * _PROBE_SIZE**3 / min(tries)
