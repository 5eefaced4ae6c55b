"""A home that is left alone does not grow: what a maintenance removes, and what it leaves."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lucid import maintenance
from lucid.data.batches import batches_of, import_files, importing, load_batch, publish_batches
from lucid.errors import InvalidRequest, UnknownModel, UnusableFile
from lucid.maintenance import STEPS, Removed, maintain, upkeep_now
from lucid.schema.fields import utc_now
from lucid.schema.training import ModelStatus
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.store.locks import working
from lucid.store.tables.deliveries import Event
from lucid.store.tables.requests import RequestKey
from lucid.training import run, steps
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.conftest import WriteCsv
from tests.support.checkerboard import train_checkerboard

NOTHING_KEPT = 1e-9
"""Days of history."""
HISTORY = "trainings and refreshes"
OLD = time.time() - 2 * 3600


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose model `board` has two trainings and, of the second, a refresh of a refresh, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    workspace.train("board")
    for number in range(2):
        extra = folder / f"{number}.csv"
        extra.write_text(f"type,source_id,target_id,timestamp,metadata\nlikes,u00,i{2 * number + 1:02},,\n")
        workspace.import_files(extra)
        steps.refresh(workspace.settings, "board")
    return workspace.settings.home


@pytest.fixture
def board(trained: Path, settings: Settings) -> Workspace:
    shutil.copytree(trained, settings.home)
    return Workspace(settings=settings)


def numbers(workspace: Workspace) -> list[int]:
    return [version.version for version in workspace.model("board").versions]


def known(workspace: Workspace) -> dict[int, int | None]:
    """Versions of the model that the catalog knows, and what each is a refresh of."""
    catalog, found = Catalog(workspace.settings.home), dict[int, int | None]()
    for number in range(1, 10):
        with suppress(UnknownModel):
            found[number] = catalog.trainings.get("board", number).refresh_of
    return found


def everything(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_dry_run_says_the_same_and_changes_nothing(board: Workspace) -> None:
    """Not a byte of the home, whatever there is to be removed."""
    lucid = Workspace(settings=board.settings.model_copy(update={"keep_versions": 1}))
    left = board.settings.home / "live.new"
    left.write_text("1")
    os.utime(left, (OLD, OLD))
    before = everything(board.settings.home)

    said = lucid.maintain(NOTHING_KEPT, dry_run=True)

    assert before == everything(board.settings.home)
    done = lucid.maintain(NOTHING_KEPT)
    assert {**done, HISTORY: said[HISTORY]} == said  # of the version that goes, the history does so later
    assert (1, 1) == (said["old versions"].count, said["half-done files"].count)
    assert {Removed()} == {*lucid.maintain(NOTHING_KEPT).values()}


def test_versions_beyond_those_that_are_kept_go(board: Workspace) -> None:
    """Where fewer are kept than before; the one that answers stays, and answers the same."""
    before, answer = numbers(board), board.recommend("board", source_id="u00", target_type="item")
    lucid = Workspace(settings=board.settings.model_copy(update={"keep_versions": 1}))
    size = next(model for model in board.disk().by_model).versions[0].bytes

    assert Removed(1, size) == lucid.maintain()["old versions"]

    assert ([1, 2, 4], [2, 4]) == (before, numbers(board))
    assert answer.equals(board.recommend("board", source_id="u00", target_type="item"))


def test_a_model_that_is_being_trained_is_left_alone(board: Workspace) -> None:
    """Its training removes old versions when it is done."""
    lucid = Workspace(settings=board.settings.model_copy(update={"keep_versions": 1}))

    with run.alone_with(board.settings, "board"):
        lucid.maintain()

    assert [1, 2, 4] == numbers(board)


def test_history_goes_and_what_is_there_stays_explained(board: Workspace) -> None:
    """A refresh of a refresh that is forgotten is one of its training, so that the version before it is found."""
    assert {1: None, 2: None, 3: 2, 4: 3} == known(board)

    assert 1 == board.maintain(NOTHING_KEPT)["trainings and refreshes"].count

    assert {1: None, 2: None, 4: 2} == known(board)
    assert 1 == board.roll_back("board").live_version
    assert "completed" == board.train("board").status
    assert [1, 2, 5] == numbers(board)


@pytest.mark.parametrize("days", [-1, 4000, float("nan")])
def test_days_that_are_none_are_refused(workspace: Workspace, days: float) -> None:
    """Before anything is removed."""
    with pytest.raises(InvalidRequest, match="expected 0 to 3,650"):
        workspace.maintain(days)


def test_history_of_less_than_the_time_that_it_is_kept_stays(board: Workspace) -> None:
    """With the default settings nothing is old that was done now."""
    assert {Removed()} == {*board.maintain().values()}
    assert [1, 2, 3, 4] == [*known(board)]


def test_what_requests_and_callbacks_tell_of_is_known(board: Workspace) -> None:
    """While a key of a request lasts, and while a callback is owed."""
    catalog, now = Catalog(board.settings.home), utc_now()
    failed = catalog.trainings.start("board", {}, now, "select", key=RequestKey("digest", "fingerprint", now))
    catalog.trainings.end("board", failed.version, "error", "no", now, lambda status: event(status, now))
    board.train("board")

    board.maintain(NOTHING_KEPT)

    assert {1, 2, 5, 6} == {*known(board)}
    assert [("owed", 5)] == [(one.event_id, one.version) for one in board.deliveries("board")]
    catalog.deliveries.record(event(failed, now), None, now, lambda _attempts: None)
    with catalog.requests._database.transaction() as connection:
        connection.execute("UPDATE request_keys SET entered = ?", [now - timedelta(days=1)])
    removed = board.maintain(NOTHING_KEPT)
    assert (1, 1, 1) == tuple(
        removed[what].count for what in ("callbacks", "keys of repeated requests", "trainings and refreshes")
    )
    assert {1, 2, 6} == {*known(board)}


def event(status: ModelStatus, now: datetime) -> Event:
    return Event("owed", "training.error", "https://shop.example.com", status, b"{}", now)


def test_the_number_of_a_version_is_never_given_again(settings: Settings) -> None:
    """Also where the last training failed, of which nothing else is left."""
    catalog, now = Catalog(settings.home), utc_now()
    for _ in range(3):
        version = catalog.trainings.start("m", {}, now, "select").version
        catalog.trainings.end("m", version, "error", "no", now)

    assert 2 == Workspace(settings=settings).maintain(NOTHING_KEPT)["trainings and refreshes"].count

    assert 4 == catalog.trainings.start("m", {}, now, "select").version


def test_failed_imports_go_and_data_stay(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """However old: what was imported is nobody's history."""
    catalog = Catalog(workspace.settings.home)
    (good,) = workspace.import_files(entities_csv(("a", "user")))
    bad = entities_csv(("a", "user"), name="bad.csv")
    bad.write_text("what\n")
    with pytest.raises(UnusableFile):
        import_files(workspace.settings, catalog, [bad], batches_of([bad], []))

    assert 1 == workspace.maintain(NOTHING_KEPT)["failed imports"].count

    assert [good] == workspace.batches()
    assert Home(workspace.settings.home).batch(good.batch_id).is_dir()


def test_half_done_files_go(board: Workspace) -> None:
    """What a killed process left an hour ago, and what was being loaded for a batch that does not run any more."""
    home = Home(board.settings.home)
    left = [home.path / "service.json.new", home.model("board") / "live.new", home.path / "catalog.duckdb.new.wal"]
    fresh = home.path / "callback_secret.1.new"
    for path in (*left, fresh):
        path.write_text("x")
    for path in left:
        os.utime(path, (OLD, OLD))
    dead = home.staging("0" * 32)
    dead.mkdir()
    (dead / "rows.parquet").write_text("xx")

    assert Removed(4, 5) == board.maintain()["half-done files"]

    assert [] == [path for path in (*left, dead) if path.exists()]
    assert fresh.exists()


def test_what_is_being_imported_stays(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """Its files belong to a batch that runs."""
    file, catalog, settings = entities_csv(("a", "user")), Catalog(workspace.settings.home), workspace.settings
    batches = batches_of([file], [])
    with importing(settings, catalog, batches):
        load_batch(settings, file, batches[0].batch_id)
        assert {Removed()} == {*workspace.maintain(NOTHING_KEPT).values()}
        publish_batches(settings.home, catalog, [batches[0].batch_id])

    assert ["completed"] == [batch.status for batch in workspace.batches()]


def test_batches_that_the_catalog_does_not_know_are_told_and_left(workspace: Workspace) -> None:
    """As where a catalog was restored that is older than they are: only a person can know."""
    folder = Home(workspace.settings.home).batch("0" * 32)
    folder.mkdir(parents=True)

    said = workspace.maintain(NOTHING_KEPT)["half-done files"]

    assert (0, True) == (said.count, f"batches/{folder.name}" in said.left)
    assert folder.is_dir()


def test_old_logs_and_events_that_prefect_could_not_record_go(workspace: Workspace) -> None:
    """A log that is written to stays, however quiet it is."""
    home = Home(workspace.settings.home)
    logs = [home.logs / name for name in ("api.log", "api.log.1", "flows.log.1")]
    events = [home.prefect / "dlq" / name for name in ("a", "b")]
    for path in (*logs, *events):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    long_ago = time.time() - 200 * 86400
    for path in (logs[0], logs[1], events[0]):
        os.utime(path, (long_ago, long_ago))

    removed = workspace.maintain()

    assert (Removed(1, 1), Removed(1, 1)) == (removed["old logs"], removed["undelivered events of Prefect"])
    assert [logs[0], logs[2], events[1]] == [path for path in (*logs, *events) if path.exists()]


def test_databases_with_much_that_is_free_become_short(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog and Prefect's; what stands in them stays."""
    monkeypatch.setattr(maintenance, "_CATALOG_BYTES", 1_000_000)
    monkeypatch.setattr(maintenance, "_PREFECT_BYTES", 1_000_000)
    home, catalog = Home(workspace.settings.home), Catalog(workspace.settings.home)
    with catalog.trainings._database.transaction() as connection:
        connection.execute(
            "INSERT INTO trainings (model_id, version, status, stage, message, started, request, batch_ids, progress) "
            "SELECT 'm', range, 'error', 'finished', repeat(md5(range::VARCHAR), 30), now(), '{}', [], 0 "
            "FROM range(20000)"
        )
    home.prefect.mkdir()
    with sqlite3.connect(home.prefect / "prefect.db") as prefect:
        prefect.executescript("PRAGMA journal_mode = WAL; CREATE TABLE log (text); INSERT INTO log VALUES ('kept')")
        prefect.executemany("INSERT INTO log VALUES (?)", [["x" * 1000]] * 5000)
        prefect.execute("DELETE FROM log WHERE text <> 'kept'")

    removed = workspace.maintain(NOTHING_KEPT)

    for what in ("the catalog, written anew", "Prefect's database, written anew"):
        assert (1, True) == (removed[what].count, removed[what].bytes > 3_000_000), what
    assert 20_000 == catalog.trainings.start("m", {}, utc_now(), "select").version
    assert [("kept",)] == prefect.execute("SELECT * FROM log").fetchall()
    prefect.close()


KILLED = """
    import os, shutil, sys
    from lucid.workspace import Workspace

    def killed(path, ignore_errors=False):
        os.kill(os.getpid(), 9)

    workspace = Workspace(sys.argv[1])
    shutil.rmtree = killed
    workspace.maintain(1e-9)
"""


def test_one_that_is_killed_is_gone_on_with_by_the_next(board: Workspace) -> None:
    """It dies in the middle of removing a version: nobody sees a half of it, and the next one does all the rest."""
    settings = board.settings.model_copy(update={"keep_versions": 1})
    environment: dict[str, Any] = {**os.environ, "LUCID_KEEP_VERSIONS": "1"}

    died = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(settings.home)], env=environment)

    assert -9 == died.returncode
    assert [2, 4] == [version.number for version in ModelVersions(settings.home, "board").begun()] or [1, 2, 4] == [
        version.number for version in ModelVersions(settings.home, "board").complete()
    ]
    Workspace(settings=settings).maintain(NOTHING_KEPT)
    assert ["2", "4", "live"] == sorted(path.name for path in Home(settings.home).model("board").iterdir())
    assert {2: None, 4: 2} == known(board)


def test_each_step_may_be_done_alone_and_beside_a_training(board: Workspace) -> None:
    """In whatever order: none needs another one."""
    with working(board.settings.home, "train-board"):
        for step in reversed(STEPS):
            step(upkeep_now(board.settings, NOTHING_KEPT))

    assert {1: None, 2: None, 4: 2} == known(board)
    assert [step.what for step in STEPS] == [step.what for step, _ in maintain(upkeep_now(board.settings))]
