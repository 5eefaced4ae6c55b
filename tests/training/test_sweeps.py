"""Sweeps and look-ups in a home of which something is damaged: the rest goes on, and its owner is told once."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lucid import models
from lucid.data import batches
from lucid.erasure import requests
from lucid.errors import Damaged, LucidError, ModelNotReady, UnknownModel
from lucid.health import HealthWarnings
from lucid.schema.fields import utc_now
from lucid.schema.recommendations import RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.serving.registry import ModelRegistry
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.store.locks import working
from lucid.training import run
from lucid.versions.files import LIVE
from lucid.versions.inspection import Inspection
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard
from tests.support.service import Api, wait_until

Damage = Callable[[Path], object]


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbled": lambda path: path.write_bytes(b"\x00{"),
    "not UTF-8": lambda path: path.write_bytes(b'"\xff\xfe"'),
    "another shape": lambda path: path.write_text("[1]"),
    "too deep": lambda path: path.write_text("[" * 100_000),
    "a folder": _folder,
}
FILES = (LIVE, *(f"1/{name}" for name in ("manifest.json", "config.json", "origin.json", "report.json")))
GRID = [
    *((file, damage) for file in FILES for damage in DAMAGES if (file, damage) != (LIVE, "cut off")),
    (LIVE, "a version that is not there"),
    (LIVE, "no number"),
]
DAMAGES |= {
    "a version that is not there": lambda path: path.write_text("99"),
    "no number": lambda path: path.write_text("-1"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    return train_checkerboard(Workspace(folder / "home"), folder).settings.home


@pytest.fixture
def settings(trained: Path, tmp_path: Path) -> Settings:
    """A copy of a home with one model, to be damaged."""
    shutil.copytree(trained, tmp_path / "home")
    return Settings(home=tmp_path / "home")


def leave_dead_work(settings: Settings) -> tuple[str, str]:
    """Trainings of two models, an import and an erasure whose processes are gone; returns batch and request."""
    catalog = Catalog(settings.home)
    for model_id in ("board", "other"):
        run.enter(settings, TrainingRequest(model_id=model_id), "fit")
    (batch,) = batches.new_batches(["x.csv"], [])
    catalog.batches.enter([batch])
    Home(settings.home).locks.mkdir(exist_ok=True)
    Home(settings.home).lock(f"import-{batch.batch_id}").touch()
    request = requests.enter(settings, ["x"])
    requests.set_flow_run(settings, request, "run of the erasure")
    return batch.batch_id, request


def sweep(settings: Settings, warnings: HealthWarnings) -> list[str | None]:
    """Sweep everything as the API does, and return which flow runs were asked about."""
    asked: list[str | None] = []

    def is_lost(flow_run_id: str | None, _entered: object) -> bool:
        asked.append(flow_run_id)
        return False

    run.sweep(settings, is_lost=is_lost, warnings=warnings)
    batches.sweep(settings, Catalog(settings.home), is_lost=is_lost, warnings=warnings)
    requests.sweep(settings, is_lost=is_lost, warnings=warnings)
    return asked


def assert_all_dead_work_ends(settings: Settings, warnings: HealthWarnings) -> None:
    batch_id, _ = leave_dead_work(settings)

    asked = sweep(settings, warnings)

    catalog = Catalog(settings.home)
    assert [] == catalog.trainings.running()
    assert ["error"] == [batch.status for batch in catalog.batches.find([batch_id])]
    assert ["run of the erasure"] == asked
    assert [] == [lock for lock in Home(settings.home).locks.glob("*.lock") if lock.name != "x.lock"]


def ask_everything(settings: Settings) -> None:
    """Lists and the status answer; every other way to look at a model answers too, or says what is damaged."""
    workspace = Workspace(settings=settings)
    assert ["board"] == [model.model_id for model in workspace.models()]
    assert "board" == workspace.model("board").model_id
    assert "completed" == workspace.status("board").status
    assert 2 == len(workspace.batches())
    query = RecommendationQuery(model_id="board", source_id=["u01"], target_type=["item"])
    calls: list[Callable[[], object]] = [
        lambda: workspace.report("board"),
        lambda: ModelRegistry(settings.home).recommend(query),
        lambda: ModelVersions(settings.home, "board").prune(3),
    ]
    for call in calls:
        with suppress(Damaged):
            call()


@pytest.mark.parametrize(("file", "damage"), GRID)
def test_a_damaged_file_of_a_model_is_told_and_stops_nothing_else(
    settings: Settings, caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    """Dead work next to it ends, lists and status answer, one log line says it; mended, the warning goes."""
    warnings = HealthWarnings()
    inspection, path = Inspection(settings.home, warnings), Home(settings.home).model("board") / file
    shutil.copytree(Home(settings.home).models, settings.home / "sound")
    inspection.look()
    assert [] == warnings.current()

    DAMAGES[damage](path)

    ask_everything(settings)
    assert_all_dead_work_ends(settings, warnings)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            inspection.look()
    (said,) = warnings.current()
    assert said.startswith(f"models/board/{file}: ")
    assert "train the model again" in said
    assert [said] == [message for message in caplog.messages if message.startswith("models/")]
    shutil.rmtree(Home(settings.home).models)
    (settings.home / "sound").rename(Home(settings.home).models)
    inspection.look()
    assert [] == warnings.current()


@pytest.mark.parametrize("damage", ["empty", "garbled", "a folder", "a version that is not there"])
def test_a_rollback_or_a_training_mends_what_names_the_live_version(settings: Settings, damage: str) -> None:
    """Both write it anew; of a folder that stood in its place nothing is lost."""
    folder = Home(settings.home).model("board")
    for mend in (
        lambda: models.roll_back(settings, "board"),
        lambda: models.roll_back(settings, "board", 1),
        lambda: ModelVersions(settings.home, "board").go_live(Version(settings.home, "board", 1)),
    ):
        DAMAGES[damage](folder / LIVE)
        assert not ModelVersions(settings.home, "board").is_live(1)

        mend()

        assert 1 == ModelVersions(settings.home, "board").live().number
    assert 3 * (damage == "a folder") == len(list(folder.glob("live.unreadable*")))


@pytest.mark.parametrize("damage", [*DAMAGES])
def test_a_request_for_erasure_that_cannot_be_read_is_set_aside(
    settings: Settings, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """It is renamed and told once, the other requests are taken up; mended or removed, the warning goes."""
    warnings = HealthWarnings()
    request = requests.enter(settings, ["x"])
    requests.set_flow_run(settings, request, "run")
    path = Home(settings.home).erasure_request(request)
    sound = path.read_bytes()

    DAMAGES[damage](path)
    with caplog.at_level(logging.WARNING):
        assert_all_dead_work_ends(settings, warnings)
        sweep(settings, warnings)

    aside = path.with_name(f"{path.name}.unreadable")
    (said,) = warnings.current()
    assert said.startswith(f"erasures/{aside.name} is a request for erasure that could not be read")
    assert [said] == caplog.messages
    assert aside.exists()
    assert not path.exists()
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    path.write_bytes(sound)
    assert "run" in sweep(settings, warnings)
    assert [] == warnings.current()


def test_counts_of_an_erasure_that_cannot_be_read_are_told(settings: Settings) -> None:
    """The erasure is done, and asking again says what is left: nothing."""
    request = requests.enter(settings, ["x"])
    Home(settings.home).erasure_result(request).write_text("")

    with pytest.raises(Damaged, match="the erasure is done"):
        requests.take_result(settings, request)


@pytest.mark.parametrize("where", ["models", "batches", "erasures", "uploads", "locks"])
@pytest.mark.parametrize("folders", [False, True])
def test_what_is_not_ours_is_left_alone_and_stops_nothing(settings: Settings, where: str, folders: bool) -> None:
    """Stray files and folders stay where they are, however old, and nothing is said of them."""
    warnings = HealthWarnings()
    (settings.home / where).mkdir(exist_ok=True)
    strays = [settings.home / where / name for name in ("stray", "1", ".hidden", "b\udcff", "x.lock", "x.request")]
    for stray in strays:
        if folders:
            stray.mkdir()
            (stray / "inside").touch()
        else:
            stray.touch()
        os.utime(stray, (0, 0))

    ask_everything(settings)
    assert_all_dead_work_ends(settings, warnings)
    Inspection(settings.home, warnings).look()

    assert [True] * len(strays) == [stray.exists() for stray in strays]
    assert [] == warnings.current()
    with pytest.raises(UnknownModel):
        ModelVersions(settings.home, "stray").live()


def test_what_goes_wrong_with_one_thing_is_a_warning_until_it_goes_well(settings: Settings) -> None:
    """Asking about one flow run fails in a way nobody expected: the other is ended, the reason stands once."""
    warnings = HealthWarnings()
    for model_id in ("bad", "good"):
        run.enter(settings, TrainingRequest(model_id=model_id), "queued")
        Catalog(settings.home).trainings.set_flow_run(model_id, 1, f"run of {model_id}", "")

    def is_lost(flow_run_id: str | None, _entered: object) -> bool:
        return flow_run_id != "run of bad" or bool(1 / 0)

    for _ in range(2):
        run.sweep(settings, is_lost=is_lost, warnings=warnings)

    assert ["bad"] == [row.status.model_id for row in Catalog(settings.home).trainings.running()]
    (said,) = warnings.current()
    assert said.startswith("the dead training of model 'bad' is not ended: ZeroDivisionError;")
    run.sweep(settings, is_lost=lambda _run, _entered: True, warnings=warnings)
    assert [] == warnings.current()


def test_a_batch_that_cannot_be_read_costs_no_answer(settings: Settings) -> None:
    """What was uploaded since the training does not count while its batch is damaged; the version answers."""
    workspace, warnings = Workspace(settings=settings), HealthWarnings()
    news = settings.home.parent / "news.csv"
    news.write_text("type,source_id,target_id,timestamp,metadata\nlikes,u01,i00,,\n")
    (batch,) = workspace.import_files([news])
    (Home(settings.home).batch(batch.batch_id) / "rows.parquet").write_bytes(b"no Parquet")
    query = RecommendationQuery(model_id="board", source_id=["u01"], target_type=["item"])
    registry = ModelRegistry(settings.home, warnings=warnings)

    for _ in range(2):
        assert 1 == registry.recommend(query).version

    (said,) = warnings.current()
    assert said.startswith("model 'board': what was uploaded since version 1 was trained cannot be read")
    workspace.delete_batches([batch.batch_id])
    registry.recommend(query)
    assert [] == warnings.current()


def test_nothing_stays_of_a_model_that_never_finished(settings: Settings) -> None:
    """Neither its folder nor its lock; the status and the error of a look-up still tell of its training."""
    workspace, home = Workspace(settings=settings), settings.home
    before = sorted(home.rglob("*"))
    run.enter(settings, TrainingRequest(model_id="killed"), "fit")
    (Version(home, "killed", 1).folder / "work").mkdir(parents=True)
    run.enter(settings, TrainingRequest(model_id="waiting"), "queued")
    run.cancel(settings, "waiting")
    Home(home).model("an-earlier-release").mkdir()
    (Home(home).model("board") / ".removed-7").mkdir()
    Home(home).lock("train-long-gone").touch()
    with pytest.raises(LucidError):
        workspace.train("failed", data_filters=NOTHING_LEFT)

    assert "error" == workspace.status("killed").status

    assert before == sorted(home.rglob("*"))
    for model_id in ("killed", "waiting", "failed"):
        assert "error" == workspace.status(model_id).status
        with pytest.raises(ModelNotReady):
            workspace.recommend(model_id, source_id="u01", target_type="item")
        with pytest.raises(ModelNotReady):
            workspace.roll_back(model_id)
        assert workspace.delete_model(model_id).live_version is None
        with pytest.raises(UnknownModel):
            ModelVersions(home, model_id).live()
    assert before == sorted(home.rglob("*"))


def test_a_training_that_runs_is_left_its_folder_and_its_lock(settings: Settings) -> None:
    """A sweep removes nothing of it, not even a folder that is still empty."""
    run.enter(settings, TrainingRequest(model_id="new"), "fit")
    with working(settings.home, "train-new"):
        folder = Home(settings.home).model("new")
        folder.mkdir()
        sweep(settings, HealthWarnings())

        assert folder.is_dir()
        assert ["new"] == [row.status.model_id for row in Catalog(settings.home).trainings.running()]


def test_the_stage_of_an_ended_training_is_a_final_one(settings: Settings) -> None:
    """A cancelled one is finished, also where an earlier release wrote it; a failed one tells where it failed."""
    catalog = Catalog(settings.home)
    for model_id, stage in (("cancelled", "queued"), ("failed", "fit")):
        run.enter(settings, TrainingRequest(model_id=model_id), stage)  # type: ignore[arg-type]
    assert "cancelling" == run.cancel(settings, "cancelled").status.stage
    sweep(settings, HealthWarnings())
    stages = {model_id: catalog.trainings.get(model_id).status.stage for model_id in ("cancelled", "failed")}
    with catalog._database.transaction() as connection:
        connection.execute("UPDATE trainings SET stage = 'cancelling' WHERE model_id = 'failed'")

    assert {"cancelled": "finished", "failed": "fit"} == stages
    assert "cancelled" == catalog.trainings.get("cancelled").status.message
    assert "finished" == catalog.trainings.get("failed").status.stage


@pytest.fixture(scope="module")
def damaged_home(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, Path]]:
    """A home with a model for each kind of damage; also, for what is damaged, where a sound copy lies."""
    folder = tmp_path_factory.mktemp("damaged")
    home, sound = folder / "home", folder / "sound"
    shutil.copytree(trained, home)
    mended: dict[Path, Path] = {}
    catalog = Catalog(home)
    for number, (file, damage) in enumerate(GRID):
        model_id = f"m{number:02}"
        shutil.copytree(Home(home).model("board"), Home(home).model(model_id))
        catalog.trainings.start(model_id, {}, utc_now(), "fit")
        catalog.trainings.end(model_id, 1, "completed", "", utc_now())
        path = Home(home).model(model_id) / file
        mended[path] = sound / model_id / file
        mended[path].parent.mkdir(parents=True)
        shutil.copyfile(path, mended[path])
        DAMAGES[damage](path)
    return home, mended


@pytest.fixture(scope="module")
def api(damaged_home: tuple[Path, dict[Path, Path]]) -> Iterator[Api]:
    with Api(damaged_home[0]).running() as api:
        yield api


def test_a_running_api_tells_what_is_damaged_and_goes_on(api: Api, damaged_home: tuple[Path, dict[Path, Path]]) -> None:
    """Every damage stands in /health/ready and once in the log; dead work ends; mended, the warnings go."""
    home, mended = damaged_home
    settings, names = Settings(home=home), {"/".join(path.parts[-4:]).partition("models/")[2] for path in mended}
    request = requests.enter(settings, ["x"])
    Home(home).erasure_request(request).write_text("")

    def warned() -> list[str]:
        found: list[str] = api.own_client.get("/health/ready").json()["warnings"]
        return found

    told = wait_until(lambda: len(warned()) > len(mended) and warned(), 60, "all damages to be told")
    assert names == {said.split(": ")[0].partition("models/")[2] for said in told if said.startswith("models/")}
    batch_id, _ = leave_dead_work(settings)
    catalog = Catalog(home)
    wait_until(lambda: not catalog.trainings.running() and not catalog.batches.running(), 60, "dead work to end")
    for call in ("/models", "/models/m00", "/status?model_id=m00", "/data_batch", f"/data_batch?batch_id={batch_id}"):
        assert 200 == api.own_client.get(f"/v1/recommender{call}").status_code
    query = {"source_id": "u01", "target_type": "item"}
    for number in range(len(mended)):
        answer = api.own_client.post("/v1/recommender/recommended_items", json={"model_id": f"m{number:02}", **query})
        assert answer.status_code in (200, 409), answer.text
    assert [1] * len(told) == [api.log.read_text().count(said) for said in told]

    for path, sound in mended.items():
        if path.is_dir():
            path.rmdir()
        shutil.copyfile(sound, path)
        os.utime(path, (time.time() - 1, time.time() - 1))
    (Home(home).erasures / f"{request}.request.unreadable").unlink()

    wait_until(lambda: not warned(), 60, "the warnings to go")
    assert "Traceback" not in api.log.read_text()
