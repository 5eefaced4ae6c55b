"""For a Dask worker to load: the first time that a partition is precomputed there, its process gets a signal.

It loads what parts need too, before the scheduler knows it: on a busy machine a worker is silent for as long.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lucid.flows.tasks
import lucid.training.apart  # noqa: F401
from lucid.training import steps
from lucid.training.run import Training
from lucid.versions.precompute import Partition

DIED = "one_worker_died"
"""A file in the home that says so."""
SIGNAL = "ONE_DEATH_SIGNAL"
"""Environment variable with the signal's name."""


def dask_setup(_worker: Any) -> None:
    """Called by the worker before it does anything."""
    kind = steps.PRECOMPUTE_PARTITION

    def die_once(training: Training, part: Partition) -> None:
        died: Path = training.settings.home / DIED
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.Signals[os.environ[SIGNAL]])
        kind.work(training, part)

    steps.PARTS[kind.name] = replace(kind, work=die_once)
