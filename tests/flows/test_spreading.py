"""Parts of a step are mapped as tasks: in threads or on Dask, with the same files as in one process."""

import asyncio
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import distributed  # noqa: F401 - loads the defaults of what is set here
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from lucid.errors import DamagedVersion, InvalidRequest, LucidError, MachineError, ModelNotReady, UnusableFile
from lucid.flows import import_data as module_of_imports
from lucid.flows import spreading, tasks
from lucid.flows.import_data import import_data
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.spreading import task_runner
from lucid.flows.train_model import train_model
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings, load_settings
from lucid.store.duck import connect
from lucid.training import steps
from lucid.training.run import Training
from lucid.versions.files import COST, MANIFEST, RECOMMENDATIONS, TIMINGS
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.precompute import Partition
from lucid.workspace import Workspace
from tests.flows.conftest import task_states
from tests.support import one_death
from tests.support.checkerboard import write_checkerboard

PARTITION_SCORES = 50_000
"""So few that the sources of the checkerboard are divided into three partitions."""
PARTITIONS = {f"precompute user → item: part {number}" for number in (1, 2, 3)}
CALIBRATIONS = {"calibrate user → item: part 1", "calibrate item → user: part 2"}
TRIES = {f"judge relation weights: part {number}" for number in (1, 2)}
"""Names of tasks; of tries there are several rounds."""
TIMED = {MANIFEST, TIMINGS, COST}
"""Files of a version that say when it was made, and what that took."""

Fails = Callable[[Training, Partition], bool]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data of the checkerboard, to be copied."""
    folder = tmp_path_factory.mktemp("imported")
    workspace = Workspace(folder / "home")
    workspace.import_files(write_checkerboard(folder))
    return workspace.settings.home


@pytest.fixture(scope="module")
def alone(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files that one process makes, which maps nothing."""
    home = tmp_path_factory.mktemp("alone") / "home"
    shutil.copytree(imported, home)
    steps.train(Settings(home=home), TrainingRequest(model_id="board"))
    return files_of(home)


@pytest.fixture(autouse=True)
def home(imported: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(imported, settings.home)
    monkeypatch.setenv("LUCID_PARTITION_SCORES", str(PARTITION_SCORES))
    monkeypatch.setattr(tasks.PART_TASKS[steps.PRECOMPUTE_PARTITION.name], "retry_delay_seconds", [0.0])
    return settings.home


def files_of(home: Path) -> dict[str, Any]:
    """What the model's live version is made of, but for when and how fast; of a database, its rows in their order.

    DuckDB leaves a few bytes between columns as they were in memory.
    """
    folder = ModelVersions(home, "board").live().folder
    return {path.name: content(path) for path in folder.iterdir() if path.name not in TIMED}


def content(path: Path) -> Any:
    if path.name != RECOMMENDATIONS:
        return path.read_bytes()
    with connect(path, read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        return {name: connection.execute(f"FROM {name}").fetchall() for name in tables}


def train() -> State[Any]:
    return train_model("board", return_state=True)


def times_begun(state: State[Any]) -> dict[str, int]:
    """How often each partition of a flow run that has ended was begun, as Prefect shows it once it knows of all."""
    run_id = state.state_details.flow_run_id
    assert run_id
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

    async def ask() -> dict[str, list[State[Any]]]:
        async with get_client() as client:
            runs = await client.read_task_runs(flow_run_filter=this_run)
            return {run.name: await client.read_task_run_states(run.id) for run in runs if run.name in PARTITIONS}

    deadline = time.monotonic() + 20  # tasks are told to the server as events, which take a while
    while True:
        found = asyncio.run(ask())
        if set(found) == PARTITIONS and all(any(one.is_final() for one in states) for states in found.values()):
            return {name: sum(one.is_running() for one in states) for name, states in found.items()}
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, fails: Callable[[int, int], bool]) -> list[int]:
    """Let partitions fail, given their number from 0 and how often it was begun; returns all that are begun."""
    kind, begun = steps.PRECOMPUTE_PARTITION, list[int]()

    def work(training: Training, part: Partition) -> None:
        begun.append(part.number)
        if fails(part.number, begun.count(part.number)):
            raise error
        kind.work(training, part)

    monkeypatch.setitem(steps.PARTS, kind.name, replace(kind, work=work))
    return begun


def test_threads_make_the_files_that_one_process_makes(home: Path, alone: dict[str, Any]) -> None:
    """Byte for byte, and each partition, pair and try of relation weights is a task of its own."""
    state = train()

    assert state.is_completed(), state.message
    assert alone == files_of(home)
    assert dict.fromkeys(PARTITIONS, 1) == times_begun(state)
    assert task_states(state, PARTITIONS | CALIBRATIONS | TRIES)


def test_a_partition_that_the_machine_failed_is_done_again_alone(
    home: Path, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not, and the files are the same."""
    begun = failing(monkeypatch, MachineError("no memory"), lambda number, time: number == 1 and time == 1)

    state = train()

    assert state.is_completed(), state.message
    assert [0, 1, 1, 2] == sorted(begun)
    assert alone == files_of(home)


@pytest.mark.parametrize(("error", "tries"), [(MachineError("no memory"), 3), (ValueError("a fault of ours"), 1)])
def test_what_stays_broken_fails_the_training(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
) -> None:
    """A fault that would come again is not tried again, and what the machine failed only so often."""
    begun = failing(monkeypatch, error, lambda number, _: number == 0)

    state = train()

    assert state.is_failed()
    assert tries == begun.count(0)
    assert not ModelVersions(home, "board").complete()


@pytest.fixture
def on_dask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks are mapped on Dask; its workers look for modules where the tests do."""
    monkeypatch.setenv("LUCID_TASK_RUNNER", "dask")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    monkeypatch.setenv(one_death.SIGNAL, "SIGKILL")
    with dask.config.set({"distributed.worker.preload": [one_death.__name__]}):
        yield


@pytest.mark.usefixtures("on_dask")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_dask_makes_the_files_that_one_process_makes_though_a_worker_dies(
    home: Path, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Or hangs; byte for byte, and only the partition that the worker did then is begun again."""
    monkeypatch.setenv(one_death.SIGNAL, how)
    monkeypatch.setattr(spreading, "_SILENT", "10s")

    state = train()

    assert state.is_completed(), state.message
    assert (home / one_death.DIED).exists()
    assert alone == files_of(home)
    assert [1, 1, 2] == sorted(times_begun(state).values())


@pytest.mark.usefixtures("on_dask")
def test_files_and_models_are_mapped_on_dask(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files of an import, however it ends, and several models of a refresh."""
    monkeypatch.setattr(module_of_imports, "_DASK_BYTES", 0)
    (tmp_path / "bad.csv").write_text("no,such,columns\n1,2,3\n")
    files = [str(path) for path in write_checkerboard(tmp_path)]
    for model_id in ("one", "two"):
        steps.train(load_settings(), TrainingRequest(model_id=model_id))
    with task_runner(load_settings()) as runner:
        cluster = runner()  # one for all of them, which takes less time than one for each
        monkeypatch.setattr(spreading, "_on_dask", lambda *_: nullcontext(cluster))

        imported = import_data(files, return_state=True)
        refused = import_data([*files, str(tmp_path / "bad.csv")], return_state=True)
        refreshed = refresh_recommendations(return_state=True)

    assert imported.is_completed(), imported.message
    assert ["completed"] * 4 + ["error"] * 3 == [batch.status for batch in Workspace(home).batches()]
    assert refused.is_failed()
    assert "bad.csv" in str(refused.message)
    assert refreshed.is_completed(), refreshed.message
    assert ["one", "two"] == refreshed.result()
    assert [2, 2] == [len(ModelVersions(home, model_id).complete()) for model_id in ("one", "two")]


@pytest.mark.parametrize(
    "error",
    [DamagedVersion("version 3", "config.json"), ModelNotReady("board"), UnusableFile("no rows", code="no_rows")],
)
def test_errors_come_as_they_are_from_another_process(error: LucidError) -> None:
    """Whatever the constructor of their class asks for."""
    again = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))


def test_no_dask_worker_looks_at_the_stacks_of_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does to draw where time goes: Python before 3.11.9 may wait for itself there, and the training for it."""
    monkeypatch.setenv("LUCID_TASK_RUNNER", "dask")

    with task_runner(load_settings(), 1) as runner:
        on_dask: Any = runner()
        of_workers = on_dask.client.run(lambda dask_worker: set(dask_worker.periodic_callbacks))

    for periodic in of_workers.values():
        assert "heartbeat" in periodic
        assert not {name for name in periodic if "profile" in name}


def test_dask_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    monkeypatch.setenv("LUCID_TASK_RUNNER", "dask")

    with pytest.raises(InvalidRequest, match=r"task_runner: .* pip install 'lucid-recommender\[dask\]'"):
        load_settings()
