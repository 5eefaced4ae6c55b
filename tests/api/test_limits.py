"""What one call may add to the catalog, which is opened by every process again and again and must stay small."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lucid.api.paths import BASE
from lucid.data.batches import new_batches
from lucid.erasure.erase import MAX_IDS_LENGTH
from lucid.errors import InvalidRequest, UnknownModel
from lucid.keys import MAX_NAME, create_key
from lucid.schema.batches import MAX_FILES, LoadedFile, RejectedRow
from lucid.schema.fields import MAX_TAG, MAX_TAGS, utc_now
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.database import MAX_MESSAGE
from lucid.training.run import MAX_REQUEST_BYTES, enter
from lucid.workspace import Workspace
from tests.conftest import WriteCsv
from tests.support.service import Api

WIDE = "\U0001d538"
"""A letter that takes four bytes in UTF-8, and twelve in JSON."""

REQUESTS: dict[str, dict[str, Any]] = {
    "filters": {"data_filters": {"entities": [{"field": "id", "op": "in", "value": ["i" * 100] * 3000}]}},
    "rules": {"metadata_rules": {f"{'k' * 100}{number}": "ignored" for number in range(3000)}},
    "pairs": {"precompute": [{"source_type": "s" * 300, "target_type": str(number)} for number in range(1000)]},
    "tags": {"data_tags": [WIDE * 30_000]},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("limits") / "home").running() as api:
        yield api


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
def test_a_training_that_asks_too_much_is_refused_before_it_is_entered(api: Api, asked: dict[str, Any]) -> None:
    """422 with what was found and what is allowed, and nothing is known of the model; embedded it is the same error."""
    refused = api.own_client.post(f"{BASE}/train", json={"model_id": "large", **asked})

    assert (422, "invalid_request") == (refused.status_code, refused.json()["code"])
    assert "bytes of JSON, at most 100,000 are allowed" in refused.json()["detail"]
    with pytest.raises(InvalidRequest, match="at most 100,000 are allowed"):
        Workspace(api.home).train("large", **asked)
    assert "unknown_model" == api.own_client.get(f"{BASE}/status?model_id=large").json()["code"]
    assert [] == [path.name for path in api.home.glob("models/*")]


def test_too_many_tags_are_refused_in_every_way(api: Api, workspace: Workspace, entities_csv: WriteCsv) -> None:
    """With the upload, as a change, and embedded; nothing is stored."""
    file, many = entities_csv(("u1", "user")), [f"t{number}" for number in range(MAX_TAGS + 1)]

    uploaded = api.own_client.post(
        f"{BASE}/data_batch", files={"files": ("e.csv", file.read_bytes())}, data={"tags": many}
    )
    changed = api.own_client.patch(f"{BASE}/data_batch?tags=none", json={"tags": many})

    assert [(422, "invalid_request")] * 2 == [(one.status_code, one.json()["code"]) for one in (uploaded, changed)]
    with pytest.raises(InvalidRequest, match=f"{MAX_TAGS + 1} tags are more than the {MAX_TAGS}"):
        workspace.import_files([file], tags=many)
    assert ([], []) == (workspace.batches(), api.own_client.get(f"{BASE}/data_batch").json())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda home, file: Workspace(home).import_files([file] * (MAX_FILES + 1)), "101 files are more than 100"),
        (lambda home, file: create_key(Catalog(home), "n" * (MAX_NAME + 1)), "at most 200 characters, this one 201"),
        (lambda home, file: Workspace(home).erase(["i" * 1000] * (MAX_IDS_LENGTH // 1000 + 1)), "1,001,000 characters"),
    ],
    ids=["files", "name", "ids"],
)
def test_other_calls_have_their_bounds_too(
    tmp_path: Path, entities_csv: WriteCsv, call: Callable[[Path, Path], object], said: str
) -> None:
    """What was found, and what is allowed; nothing is stored."""
    home = tmp_path / "home"

    with pytest.raises(InvalidRequest, match=said):
        call(home, entities_csv(("u1", "user")))

    assert ([], []) == (Catalog(home).batches.find(), Catalog(home).keys.all())


def test_long_messages_are_cut(tmp_path: Path) -> None:
    """Of an error that quotes data without end, the beginning is kept."""
    catalog, (batch,) = Catalog(tmp_path), new_batches(["a.csv"], [])
    catalog.batches.enter([batch])
    catalog.batches.fail([batch.batch_id], "x" * 5_000_000, "not_csv")
    catalog.trainings.start("m", {}, utc_now(), "select")
    catalog.trainings.end("m", 1, "error", "y" * 5_000_000, utc_now())

    messages = catalog.batches.find()[0].message, catalog.trainings.get("m").status.message
    assert [("x" * 999 + "…"), ("y" * 999 + "…")] == list(messages)
    assert MAX_MESSAGE == len(messages[0])


def test_the_longest_calls_add_no_more_than_is_documented(tmp_path: Path) -> None:
    """The longest batches and requests that are accepted: 60 kB and 300 kB each, as the file grows by its blocks."""
    settings, number = Settings(home=tmp_path), 12
    catalog = Catalog(tmp_path)
    errors = [RejectedRow(line=1, column="metadata", code="c" * 30, message="m" * 100, value=WIDE * 100)] * 20
    tags = [f"{index:03}" + WIDE * (MAX_TAG - 3) for index in range(MAX_TAGS)]
    before = catalog.path.stat().st_size

    for batch in new_batches([WIDE * 60] * number, tags):
        catalog.batches.enter([batch])
        catalog.batches.complete([(batch.batch_id, LoadedFile("entities", 1, 20, errors))])
    stored = catalog.path.stat().st_size
    for index in range(number):
        longest = {"field": "id", "op": "eq", "value": str(index) + "i" * (MAX_REQUEST_BYTES - 500)}
        enter(
            settings, TrainingRequest.model_validate({"model_id": f"m{index}", "data_filters": {"entities": [longest]}})
        )
    entered = catalog.path.stat().st_size

    assert stored - before < number * 60_000 + 4 * 262_144
    assert entered - stored < number * 300_000 + 4 * 262_144


def test_updates_and_deletions_do_not_swell_the_catalog(tmp_path: Path) -> None:
    """The room of old values is used again: many changes leave a file of a few blocks of 256 kB."""
    catalog = Catalog(tmp_path)
    catalog.trainings.start("m", {}, utc_now(), "select")

    for step in range(60):
        catalog.trainings.set_progress("m", 1, "fit", step, "weighing relations")
        (batch,) = new_batches([f"{step}.csv"], ["2026"])
        catalog.batches.enter([batch])
        catalog.batches.delete([batch.batch_id])

    assert catalog.path.stat().st_size < 2_000_000


def test_nothing_is_known_of_a_model_that_was_refused(settings: Settings) -> None:
    """Neither a row nor a folder."""
    with pytest.raises(InvalidRequest):
        enter(settings, TrainingRequest(model_id="m", data_tags=["t" * MAX_REQUEST_BYTES]))

    with pytest.raises(UnknownModel):
        Catalog(settings.home).trainings.get("m")
    assert [] == list(settings.home.glob("models/*"))
