"""What becomes of a training that the gate holds back, of pinned versions, and of those that people choose."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from lucid import models
from lucid.errors import CallbackRefused, InvalidRequest, UnknownModel, UnknownVersion, VersionAnswers
from lucid.schema.fields import utc_now
from lucid.schema.training import Version
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.versions.lifecycle import ModelVersions
from lucid.webhooks.callbacks import deliver, make_event
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard

FEW = {"interactions": [{"field": "source_id", "op": "lt", "value": "u10"}]}
"""A third of the users: all others lose their answers."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose second training is held."""
    folder = tmp_path_factory.mktemp("gate")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    assert not workspace.status("board").held  # the first has nothing to be compared with
    assert workspace.train("board", data_filters=FEW).held
    return folder / "home"


@pytest.fixture
def held(home: Path, tmp_path: Path) -> Workspace:
    """A copy of it, to be changed."""
    shutil.copytree(home, tmp_path / "home")
    return Workspace(tmp_path / "home")


def states(workspace: Workspace) -> dict[int, str]:
    return {version.version: version.state for version in workspace.model("board").versions}


def shown(workspace: Workspace, number: int) -> Version:
    return next(version for version in workspace.model("board").versions if version.version == number)


def test_a_held_version_waits_and_says_why(held: Workspace) -> None:
    """With figures and what to do; the one before answers on, the held one can be asked by its number."""
    status = held.status("board")

    assert {1: "live", 2: "held"} == states(held)
    assert ("completed", True) == (status.status, status.held)
    assert "it learned from 90 interactions, version 1 from 270 (33.3%; at least 50% are wanted)" in status.message
    assert "version 1 answers on; promote or reject version 2" in status.message
    assert "user → item 66.7% (at most 10% may)" in (shown(held, 2).reason or "")
    assert 3 == len(held.recommend("board", source_id="u01", target_type="item", max_recommendations=3, version=2))
    assert 1 == held.model("board").live_version


def test_what_is_held_is_not_removed(held: Workspace) -> None:
    """However few versions are kept, and however many refreshes come; nothing that was held goes live with them."""
    few = Workspace(settings=Settings(home=held.settings.home, keep_versions=1))

    few.refresh("board")
    few.refresh("board")
    few.maintain()

    assert {1: "kept", 2: "held", 4: "live"} == states(few)


@pytest.mark.parametrize("decide", ["promote", "reject"])
def test_people_decide(held: Workspace, decide: str) -> None:
    """Promoted it answers at once, rejected it stays to be promoted after all; the status says what became of it."""
    model = getattr(held, decide)("board")

    status = held.status("board")
    assert not status.held
    if decide == "promote":
        assert {1: "kept", 2: "live"} == {version.version: version.state for version in model.versions}
        assert status.message.startswith("promoted; it was held: it learned from 90")
        assert 1 == held.roll_back("board").live_version
    else:
        assert {1: "live", 2: "rejected"} == {version.version: version.state for version in model.versions}
        assert status.message.startswith("rejected: it learned from 90")
        assert 2 == held.promote("board", 2).live_version
        assert {1: "kept", 2: "live"} == states(held)


def test_decisions_that_cannot_be(held: Workspace) -> None:
    """The live version is not rejected, and what is not there is neither; nothing is held any more then."""
    with pytest.raises(VersionAnswers, match="version 1 answers; roll back"):
        held.reject("board", 1)
    for call in (held.promote, held.reject):
        with pytest.raises(UnknownVersion):
            call("board", 7)
    with pytest.raises(InvalidRequest, match="reason"):
        held.reject("board", 2, "x" * 501)
    held.reject("board", reason="last month is missing")
    assert (shown(held, 2).reason or "").startswith("last month is missing; it learned from 90")
    with pytest.raises(UnknownVersion, match="no version of model 'board' is held"):
        held.promote("board")
    for unknown in (held.promote, held.reject, held.pin, held.unpin, held.compare, held.gate, held.reset_gate):
        with pytest.raises(UnknownModel):
            unknown("none")


def test_a_newer_training_supersedes_what_is_held(held: Workspace) -> None:
    """Whether it goes live or is held itself: one version waits at most, and the older one says why it does not."""
    held.train("board", data_filters=FEW)

    assert {1: "live", 2: "rejected", 3: "held"} == states(held)
    assert "version 3 was trained before anybody had decided" in (shown(held, 2).reason or "")

    held.train("board")

    assert {1: "kept", 2: "rejected", 3: "rejected", 4: "live"} == states(held)


def test_rejected_versions_take_no_place_of_others(held: Workspace) -> None:
    """As many of them are kept beside those that could answer."""
    few = Workspace(settings=Settings(home=held.settings.home, keep_versions=1))

    few.train("board", data_filters=FEW)
    few.train("board")

    assert {3: "rejected", 4: "live"} == states(few)


def test_a_rollback_passes_over_what_is_held_or_rejected(held: Workspace) -> None:
    """Unless it is named: then somebody wants it."""
    held.train("board")

    assert 1 == held.roll_back("board").live_version
    assert 2 == held.roll_back("board", 2).live_version
    assert "live" == states(held)[2]


def test_a_damaged_version_is_not_replaced_by_one_that_is_held(held: Workspace) -> None:
    """By answers neither, nor by a repair, which leaves it where it is."""
    held.roll_back("board", 1)
    before = held.recommend("board", source_id="u01", target_type="item")
    held.refresh("board")
    (Home(held.settings.home).version("board", 3) / "config.json").write_text("{")

    assert 1 == held.model("board").live_version
    assert before.equals(held.recommend("board", source_id="u01", target_type="item"))
    assert any(finding.state == "repaired" for finding in held.check("board", repair=True))
    assert {1: "live", 2: "held"} == states(held)


def test_a_review_that_cannot_be_read_is_no_approval(held: Workspace) -> None:
    """The version stays held, and the reason says what is wrong."""
    (Home(held.settings.home).model("board") / "2.review").write_text("{}")

    assert "held" == states(held)[2]
    assert "2.review cannot be read" in (shown(held, 2).reason or "")
    assert 2 == held.promote("board").live_version


def test_a_backup_knows_what_is_held(held: Workspace, tmp_path: Path) -> None:
    """What waited for a person waits on after a restore, pinned versions stay so."""
    held.pin("board")
    held.back_up(tmp_path / "copy")

    restored = Workspace.restore(tmp_path / "copy", tmp_path / "restored")

    assert {1: "live", 2: "held"} == states(restored)
    assert shown(restored, 1).pinned
    assert 2 == restored.promote("board").live_version


def test_erasing_removes_a_held_version_that_holds_the_entity(held: Workspace) -> None:
    """Nobody can let it answer any more, and the status does not say that somebody should."""
    held.erase("u01")

    assert {3: "live"} == states(held)
    assert not held.status("board").held
    assert "it was removed before anybody had decided" == held.status("board").message


def test_the_callback_says_that_a_version_is_held(held: Workspace) -> None:
    """With an event of its own, which is sent again under the same name whatever has become of the version."""
    catalog = Catalog(held.settings.home)
    event = make_event(held.status("board"), "http://127.0.0.1/refused")
    with suppress(CallbackRefused):
        deliver(held.settings, catalog, event)
    held.promote("board")

    models.resend(held.settings, "board", event.event_id)

    body = json.loads(event.body)
    assert ("training.held", "completed", True) == (body["event"], body["status"], body["held"])
    assert body["message"].startswith("held: it learned from")
    (again,) = catalog.deliveries.claim(utc_now(), utc_now() + timedelta(minutes=1), 1)
    assert "training.held" == again.name == json.loads(again.body)["event"]


# Pins


def test_a_pinned_version_answers_until_it_is_unpinned(held: Workspace) -> None:
    """A training is finished and waits, a refresh makes nothing; then the next training answers."""
    held.pin("board")
    before = held.recommend("board", source_id="u01", target_type="item")

    refreshed, trained = held.refresh("board"), held.train("board")

    assert "version 1 is pinned and stays as it is until it is unpinned" == refreshed.message
    assert ("completed", False) == (trained.status, trained.held)
    assert "version 1 was pinned and answers on; promote version 4 to let it answer" == trained.message
    assert {1: "live", 2: "rejected", 4: "kept"} == states(held)
    assert shown(held, 1).pinned
    assert before.equals(held.recommend("board", source_id="u01", target_type="item"))
    assert 1 == held.unpin("board").live_version
    assert 5 == held.train("board").version == held.model("board").live_version


def test_whoever_changes_what_answers_takes_the_pin_along(held: Workspace) -> None:
    """A rollback, a promotion, and a pin of another version."""
    held.pin("board")
    for model in (held.promote("board"), held.roll_back("board", 1), held.pin("board", 2)):
        assert [model.live_version] == [version.version for version in model.versions if version.pinned]
    assert 2 == held.model("board").live_version
    assert not any(version.pinned for version in held.unpin("board").versions)


def test_erasing_goes_live_despite_a_pin(held: Workspace) -> None:
    """Nobody may be answered with what is erased; the version without it is pinned instead."""
    held.pin("board")

    held.erase("u01")

    assert {3: "live"} == states(held)
    assert shown(held, 3).pinned


# Settings


def test_the_gate_of_a_model_can_be_set(held: Workspace) -> None:
    """Off, all trainings go live; limits of their own hold for one model; the defaults come back."""
    assert held.gate("board").is_default
    held.set_gate("board", enabled=False)
    assert not held.train("board", data_filters=FEW).held
    assert "learned from 90 interactions" in held.status("board").message

    held.set_gate("board", min_interactions=0.1, max_sources_lost=1, max_relative_loss=1, min_overlap=0)
    held.roll_back("board", 1)
    assert not held.train("board", data_filters=FEW).held

    assert held.reset_gate("board").enabled
    held.roll_back("board", 1)
    assert held.train("board", data_filters=FEW).held
    with pytest.raises(InvalidRequest, match="min_overlap"):
        held.set_gate("board", min_overlap=2)
    with pytest.raises(InvalidRequest, match="unknown"):
        held.set_gate("board", unknown=2)


def test_pairs_that_vanish_and_lists_that_move_hold_a_training(held: Workspace) -> None:
    """Each bound says what it found and what it wants."""
    held.reject("board")
    held.train("board", precompute=[{"source_type": "user", "target_type": "user"}])
    held.set_gate("board", max_lists_changed=0, min_overlap=1)

    status = held.train("board", data_filters={"interactions": [{"field": "target_id", "op": "ne", "value": "i02"}]})

    assert status.held
    assert "pairs that are not answered any more: user → user" in status.message
    assert "lists that changed: user → item" in status.message
    assert "(at least 100% is wanted)" in status.message


# Killed at any moment


@pytest.mark.parametrize("moment", ["set_review", "complete", "go_live", "end"])
def test_a_training_that_dies_while_it_is_held_leaves_nothing_half(held: Workspace, moment: str) -> None:
    """Either the version is not there, and the training failed; or it is held, and says so."""
    program = f"""
import os
from lucid.store.tables.trainings import Trainings
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
owner = next(kind for kind in (Version, ModelVersions, Trainings) if hasattr(kind, {moment!r}))
work = getattr(owner, {moment!r})
def die(*arguments, **named):
    if {moment!r} in ("complete", "go_live"):
        work(*arguments, **named)
    os._exit(9)
workspace = Workspace({str(held.settings.home)!r})
setattr(owner, {moment!r}, die)
workspace.train("board", data_filters={FEW!r})
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert 9 == done.returncode, done.stderr

    status = held.status("board")  # whoever looks sweeps

    is_there = moment in ("complete", "go_live", "end")
    assert ("completed" if is_there else "error", is_there) == (status.status, status.held), status
    assert ({1: "live", 2: "rejected", 3: "held"} if is_there else {1: "live", 2: "held"}) == states(held)
    assert [] == [path.name for path in Home(held.settings.home).model("board").glob("3.review") if not is_there]


def test_a_decision_that_dies_halfway_is_written_down_by_the_next_who_looks(held: Workspace) -> None:
    """The version that `live` names answers, whatever the catalog still says of it."""
    versions = ModelVersions(held.settings.home, "board")
    versions.switch(versions.version(2))

    assert {1: "kept", 2: "live"} == states(held)
    assert not held.status("board").held
    assert "promoted" == held.status("board").message


def test_pinning_and_publishing_take_turns(held: Workspace) -> None:
    """Of a pin and a version that goes live in the same moment one comes first, and neither is lost."""
    versions = ModelVersions(held.settings.home, "board")
    versions.switch(versions.version(2))  # which nothing is against from then on
    for _ in range(20):
        versions.switch(versions.version(1))
        versions.pin(pinned=False)
        with ThreadPoolExecutor(2) as threads:
            threads.submit(versions.pin, pinned=True)
            went = threads.submit(versions.go_live, versions.version(2))
        assert versions.is_pinned
        assert went.result() == (versions.pointed_at().number == 2)
