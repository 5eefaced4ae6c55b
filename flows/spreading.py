"""Where mapped tasks run, as `LUCID_TASK_RUNNER` says: in threads of the run's own process, or on Dask.

Dask is an extra, `pip install lucid-recommender[dask]`. Without `LUCID_DASK_ADDRESS` a run that maps tasks starts a
cluster of its own on this machine, one process for each processor, which ends with it.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from lucid.errors import LucidError, MachineError
from lucid.settings import Settings
from lucid.side_by_side import MOST, Together, cores
from lucid.training.run import Spread

Runner = TaskRunner[Any]
_RUNNER: ContextVar[Callable[[], Runner]] = ContextVar("runner")
IN_THREADS = Together()
"""The threads of this process that do tasks: a process does one run."""
_DEATHS = 3
"""How many Dask workers may end over one task."""
_SILENT = "120s"
"""After how long without a sign of life a worker hangs: it is ended within as long again, and its task done anew."""


@contextmanager
def task_runner(settings: Settings, most: int | None = None, *, dask: bool = True) -> Iterator[Callable[[], Runner]]:
    """What maps the tasks of a run; it starts when it is first asked for, and ends, its tasks too, with this.

    At most `most` tasks run at a time on this machine, by default as `at_once` says. `dask` says whether it may be on
    Dask, where the settings want it.
    """
    most = most or at_once()
    with ExitStack() as opened:
        if dask and settings.task_runner == "dask":
            yield cache(lambda: opened.enter_context(_on_dask(settings, most)))
        else:
            yield cache(lambda: opened.enter_context(_in_threads(most)))


@contextmanager
def _in_threads(most: int) -> Iterator[Runner]:
    """Threads of this process; they end with the run where that is cancelled, and not when their tasks are done."""
    threads: Runner = ThreadPoolTaskRunner(max_workers=most)
    with threads as runner, IN_THREADS:
        yield runner


@contextmanager
def _on_dask(settings: Settings, most: int) -> Iterator[Runner]:
    """Processes of a Dask cluster: that of the settings, or one of this run's own."""
    import dask.config  # an extra
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of each connection
    if settings.dask_address:
        with DaskTaskRunner(address=settings.dask_address) as runner:
            yield runner
        return
    own = {
        # Workers end when their pipe to us closes.
        "distributed.worker.multiprocessing-method": "forkserver",
        # Looking at the stacks of its threads ends a worker of Python before 3.11.9 in a deadlock (CPython 106883).
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.allowed-failures": _DEATHS - 1,
        "distributed.scheduler.worker-ttl": _SILENT,
        "distributed.scheduler.no-workers-timeout": "60s",
    }
    cluster = {
        "n_workers": most,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "security": True,  # whoever else is on this machine may not use them
        "dashboard_address": None,
        "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},  # it listens all the same: each on another port
        "memory_limit": 0,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
    }
    with dask.config.set(own), DaskTaskRunner(cluster_kwargs=cluster) as runner:
        yield runner


@contextmanager
def spreading(settings: Settings) -> Iterator[None]:
    """Meanwhile `runner` gives what maps tasks here, and in the tasks that this calls; see `task_runner`."""
    with task_runner(settings) as runner:
        before = _RUNNER.set(runner)
        try:
            yield
        finally:
            _RUNNER.reset(before)


def spread(settings: Settings, do: Callable[..., Iterator[Any]]) -> Spread | None:
    """How a step has its parts done, `do` mapping them, while `spreading`; None else."""
    if _RUNNER.get(None) is None:
        return None
    in_threads = settings.task_runner == "threads"
    return Spread(do, in_threads, least=max(at_once(), 2) if in_threads else 2)


def at_once() -> int:
    """Tasks that run at a time on this machine: one for each processor."""
    return min(cores(), MOST)


def runner() -> Runner:
    """What maps tasks, while `spreading`."""
    return _RUNNER.get()()


def results(futures: Iterable[Any]) -> Iterator[Any]:
    """The results of mapped tasks, in their order, as they come; raises what made the first of them fail."""
    for future in futures:
        try:
            yield future.result()
        except LucidError:
            raise
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "distributed":
                raise
            raise MachineError(
                f"Dask could not do a task ({type(error).__name__}): its workers ended, perhaps for want of memory; "
                "see their log, or set LUCID_TASK_RUNNER=threads",
                code="out_of_resources",
            ) from error
