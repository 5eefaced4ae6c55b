"""The flow that imports: a task for each file, then one that shows all of them; all or none."""

from pathlib import Path

import pytest

from lucid.data.batches import new_batches
from lucid.errors import InvalidRequest, UnusableFile
from lucid.flows.import_data import import_data
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from tests.flows.conftest import task_states
from tests.support.checkerboard import write_checkerboard


def test_each_file_is_a_task_and_all_become_visible_together(settings: Settings, tmp_path: Path) -> None:
    """Prefect shows the name and the state of each file, then the task that publishes them."""
    files = [str(file) for file in write_checkerboard(tmp_path)]

    state = import_data(files, tags=["a"], return_state=True)

    assert state.is_completed()
    batches = Catalog(settings.home).batches.find()
    assert [batch.model_dump(mode="json") for batch in batches] == state.result()
    assert [("entities.csv", 50, "completed"), ("interactions.csv", 0, "completed")] == [
        (batch.file_name, batch.entity_count, batch.status) for batch in batches
    ]
    expected = dict.fromkeys(("load entities.csv", "load interactions.csv", "publish"), "Completed")
    assert expected == task_states(state, expected)
    folders = [sorted(file.name for file in folder.iterdir()) for folder in Home(settings.home).batches.iterdir()]
    assert [["rejects.parquet", "rows.parquet"]] * 2 == folders
    assert [] == list(Home(settings.home).locks.iterdir())


def test_one_bad_file_fails_all_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    """The good files are loaded too, but nothing of them is shown or stays; the uploads are removed."""
    good, _ = write_checkerboard(tmp_path)
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    catalog = Catalog(settings.home)
    batches = new_batches(["entities.csv", "bad.csv"], [])
    catalog.batches.enter(batches)
    ids = [batch.batch_id for batch in batches]
    for batch_id in ids:
        Home(settings.home).upload(batch_id).mkdir(parents=True)

    state = import_data([str(good), str(bad)], batch_ids=ids, return_state=True)

    with pytest.raises(UnusableFile, match=r"^bad\.csv: "):
        state.result()
    found = catalog.batches.find(ids)
    assert ["error", "error"] == [batch.status for batch in found]
    assert all(batch.message.startswith("bad.csv: ") for batch in found)
    expected = {"load entities.csv": "Completed", "load bad.csv": "Failed"}
    assert expected == task_states(state, expected)
    for place in ("batches", "uploads", "locks"):
        assert [] == list((settings.home / place).iterdir())


def test_an_import_that_has_ended_is_not_done_again(settings: Settings, tmp_path: Path) -> None:
    """Its batches stay as they are."""
    files = [str(file) for file in write_checkerboard(tmp_path)]
    before = import_data(files)

    with pytest.raises(InvalidRequest):
        import_data(files, batch_ids=[batch["batch_id"] for batch in before])

    assert before == [batch.model_dump(mode="json") for batch in Catalog(settings.home).batches.find()]
