"""Trainings go side by side as far as memory goes, first come, first served; none waits for what never comes."""

import asyncio
from pathlib import Path

import pytest

from lucid.api.dry_runs import DryRuns
from lucid.api.training_room import TrainingRoom
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.training import run
from lucid.training.estimate import Cost, write_cost
from lucid.training.room import worker
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard

GB = 1_000_000_000


@pytest.fixture
def home(workspace: Workspace, tmp_path: Path) -> Path:
    """One training works, which needs 2 GB, and two wait, of the checkerboard."""
    workspace.import_files(write_checkerboard(tmp_path))
    settings = workspace.settings
    run.enter(settings, TrainingRequest(model_id="large"))
    folder = Home(settings.home).version("large", 1)
    folder.mkdir(parents=True)
    write_cost(folder, Cost(None, needs=2 * GB, is_admitted=True, **worker()))  # type: ignore[arg-type]
    for model_id in ("first", "second"):
        run.enter(settings, TrainingRequest(model_id=model_id), "queued")
    return settings.home


def room_of(home: Path, memory: str | None) -> TrainingRoom:
    """What decides, knowing what the trainings that wait need."""
    settings = Settings(home=home, training_memory=memory)
    dry_runs = DryRuns(settings)
    asyncio.run(dry_runs.ask(TrainingRequest(model_id="first")))
    return TrainingRoom(settings, dry_runs)


async def estimated(room: TrainingRoom) -> None:
    """Wait until something that was not known is."""
    known = asyncio.Event()
    estimating = asyncio.create_task(room.keep_estimating(known.set))
    await known.wait()
    estimating.cancel()


def message(home: Path, model_id: str) -> str:
    return Catalog(home).trainings.get(model_id).status.message


def test_a_training_that_fits_beside_others_is_next(home: Path) -> None:
    """The one that has waited longest."""
    job = room_of(home, "8GB").next()

    assert job
    assert {"model_id": "first", "version": 1} == job.parameters


def test_one_that_does_not_fit_waits_and_says_so(home: Path) -> None:
    """And those behind it with it, until there is room, as here where the large one has ended."""
    room = room_of(home, "2.1GB")

    assert room.next() is None
    assert message(home, "first").startswith("waits for its turn, the next one; waits for memory: about ")
    assert message(home, "first").endswith(" MB, 100 MB free")
    assert "waits for its turn, 1 before it" == message(home, "second")
    Catalog(home).trainings.end("large", 1, "error", "cancelled", utc_now())
    job = room.next()
    assert job
    assert "first" == job.parameters["model_id"]


def test_one_that_would_never_fit_ends_with_figures(home: Path) -> None:
    """It does not wait until others are done; the next one is looked at after it."""
    room = room_of(home, "100MB")

    assert room.next() is None
    status = Catalog(home).trainings.get("first").status
    assert "error" == status.status
    assert "and 100 MB are available" in status.message
    assert "waits for its turn, the next one" == message(home, "second")


def test_without_others_nobody_waits_for_an_estimate(home: Path) -> None:
    """Which the training makes itself; nor where memory is not looked at, here or because trainings run elsewhere."""
    elsewhere = Settings(home=home, prefect_api_url="http://prefect.example/api")
    for settings in (Settings(home=home, training_memory="off"), elsewhere):
        assert TrainingRoom(settings, DryRuns(settings)).next()
    Catalog(home).trainings.end("large", 1, "error", "cancelled", utc_now())
    settings = Settings(home=home, training_memory="100MB")

    assert TrainingRoom(settings, DryRuns(settings)).next()


def test_what_is_not_known_is_estimated_meanwhile(home: Path) -> None:
    """Asked for by looking, once for trainings of the same data; those that begin at this moment count too."""
    Catalog(home).trainings.set_flow_run("first", 1, "r", "u")
    settings = Settings(home=home, training_memory="8GB")
    room = TrainingRoom(settings, DryRuns(settings))

    assert room.next() is None
    asyncio.run(estimated(room))
    job = room.next()
    assert job
    assert "second" == job.parameters["model_id"]


def test_what_cannot_be_estimated_does_not_wait(home: Path) -> None:
    """Its training fails by itself, and says why."""
    run.end_unbegun(Settings(home=home), Catalog(home).trainings.get("first").status, RuntimeError())
    run.end_unbegun(Settings(home=home), Catalog(home).trainings.get("second").status, RuntimeError())
    run.enter(Settings(home=home), TrainingRequest(model_id="empty"), "queued")
    workspace = Workspace(home)
    workspace.update_batches([batch.batch_id for batch in workspace.batches()], archived=True)
    settings = Settings(home=home, training_memory="8GB")
    room = TrainingRoom(settings, DryRuns(settings))

    assert room.next() is None
    asyncio.run(estimated(room))
    assert room.next()
