"""What the catalog knows of requests that may be repeated: for how long, after which errors, and how much of it."""

from datetime import timedelta

import pytest

from lucid.data.batches import new_batches
from lucid.errors import IdempotencyKeyReused, LucidError
from lucid.schema.batches import Batch
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.tables.batches import Failure
from lucid.store.tables.database import MAX_MESSAGE
from lucid.store.tables.requests import REQUEST_KEYS_LAST, RequestKey
from lucid.training import run
from lucid.workspace import Workspace

NOW = utc_now()
KEY = RequestKey("digest", "fingerprint", NOW)


@pytest.fixture
def catalog(workspace: Workspace) -> Catalog:
    return Catalog(workspace.settings.home)


def batches() -> list[Batch]:
    return new_batches(["a.csv", "b.csv"], [])


def enter(catalog: Catalog, key: RequestKey) -> list[str]:
    return catalog.batches.enter(batches(), key=key).batch_ids


def later(hours: float) -> RequestKey:
    return RequestKey(KEY.digest, KEY.fingerprint, NOW + timedelta(hours=hours))


def test_a_key_is_known_for_a_day(catalog: Catalog) -> None:
    """Just before it is the same request, after that a new one, which begins a day of its own."""
    first = enter(catalog, KEY)

    assert timedelta(hours=24) == REQUEST_KEYS_LAST
    assert first == enter(catalog, later(23.99))
    assert catalog.requests.knows(later(23.99))
    assert not catalog.requests.knows(later(24))
    second = enter(catalog, later(24))
    assert first != second
    assert second == enter(catalog, later(47.9))


def test_old_keys_are_forgotten_when_new_ones_come(catalog: Catalog) -> None:
    """Asked as of its own time a forgotten key is unknown: its row is gone, not only passed over."""
    enter(catalog, KEY)

    enter(catalog, RequestKey("another", "fingerprint", NOW + REQUEST_KEYS_LAST))

    assert not catalog.requests.knows(KEY)


def test_another_request_is_refused_and_enters_nothing(catalog: Catalog) -> None:
    """Of the same kind or not."""
    enter(catalog, KEY)
    other = RequestKey(KEY.digest, "other", NOW)

    with pytest.raises(IdempotencyKeyReused):
        enter(catalog, other)
    with pytest.raises(IdempotencyKeyReused):
        catalog.trainings.start("m", {}, NOW, "queued", key=other)
    with pytest.raises(IdempotencyKeyReused):
        catalog.requests.knows(other)
    assert 2 == len(catalog.batches.find())
    assert [] == catalog.trainings.models()


def test_a_failure_outlives_its_batches(catalog: Catalog) -> None:
    """What one call told and removed, another can tell; a very long message is kept in part."""
    ids = enter(catalog, KEY)

    catalog.batches.fail(ids, "x" * 1_000_000, "bad_row")
    told = Failure("x" * (MAX_MESSAGE - 1) + "…", "bad_row")
    assert told == catalog.batches.failure(ids)
    catalog.batches.delete(ids)

    assert told == catalog.batches.failure(ids)
    assert ids == enter(catalog, KEY)
    assert catalog.batches.failure([batch.batch_id for batch in batches()]) is None


def test_a_stopped_import_is_done_again(catalog: Catalog) -> None:
    """Nothing of it was stored, so the same key may do it; one batch that was stopped is enough."""
    ids = enter(catalog, KEY)

    catalog.batches.fail(ids[1:], "stopped", "import_stopped")

    assert not catalog.requests.knows(KEY)
    assert set(ids).isdisjoint(enter(catalog, KEY))


def test_only_what_has_no_flow_run_can_be_withdrawn(catalog: Catalog) -> None:
    """With it goes its key; what a repeat has started meanwhile stays."""
    ids = enter(catalog, KEY)
    assert not catalog.batches.enter(batches(), key=KEY).begun

    assert catalog.batches.withdraw(ids)
    assert not catalog.batches.withdraw(ids)
    assert not catalog.requests.knows(KEY)

    started = enter(catalog, KEY)
    catalog.batches.set_flow_run(started, "run")
    assert not catalog.batches.withdraw(started)
    assert catalog.batches.enter(batches(), key=KEY).begun
    assert started == enter(catalog, KEY)


def test_a_training_without_a_flow_run_waits_for_one(workspace: Workspace) -> None:
    """A repeat of its call gets the same; once its run has died, that is what a repeat is told."""
    for flow_run, status in ((None, "running"), ("run", "error")):
        entered = run.enter(workspace.settings, TrainingRequest(model_id="m"), "queued", KEY)
        if flow_run:
            Catalog(workspace.settings.home).trainings.set_flow_run("m", 1, flow_run, "url")
        run.sweep(workspace.settings, is_lost=lambda _run, _entered: True)

        repeated = run.enter(workspace.settings, TrainingRequest(model_id="m"), "queued", KEY)
        assert ("running", 1) == (entered.status, entered.version)
        assert (status, 1) == (repeated.status, repeated.version)


def test_a_training_that_a_repeat_has_started_goes_on(workspace: Workspace) -> None:
    """Also where the first call could not start it."""
    entered = run.enter(workspace.settings, TrainingRequest(model_id="m"), "queued", KEY)
    catalog = Catalog(workspace.settings.home)
    catalog.trainings.set_flow_run("m", 1, "run", "url")

    assert not run.end_unbegun(workspace.settings, entered, LucidError("away"))
    assert "running" == catalog.trainings.get("m").status.status
    assert catalog.requests.knows(KEY)


def test_an_erased_entity_is_not_in_a_failure(catalog: Catalog) -> None:
    """Messages that are kept for repeats are blanked like all others."""
    ids = enter(catalog, KEY)
    catalog.batches.fail(ids, "a.csv, line 2: u1 is no type", "bad_row")
    catalog.batches.delete(ids)

    catalog.blank(lambda text: "u1" in text)

    assert Failure("erased", "bad_row") == catalog.batches.failure(ids)
