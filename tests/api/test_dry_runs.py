"""What a training would take is asked over HTTP: nothing is started, and nobody else waits for the answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lucid import Client
from lucid.api.paths import BASE
from lucid.errors import InvalidRequest, LucidError
from lucid.schema.training import TrainingEstimate
from lucid.store.home import Home
from lucid.store.locks import working
from lucid.training.dry_run import LOCK
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, NOTHING_LEFT, USERS, write_checkerboard
from tests.support.service import Api

_PATIENCE = 300.0
"""Seconds: a dry run stands back behind all else on a busy machine."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("dry")
    with Api(folder / "home").running() as api:
        Workspace(api.home).import_files(write_checkerboard(folder))
        yield api


def test_a_dry_run_is_answered_and_starts_nothing(api: Api) -> None:
    """With 200 instead of 202; the model is as unknown as before."""
    answer = api.own_client.post(f"{BASE}/train", json={"model_id": "board", "dry_run": True}, timeout=_PATIENCE)

    assert 200 == answer.status_code, answer.text
    told = TrainingEstimate.model_validate(answer.json())
    assert {"colour": 2, "item": ITEMS, "user": USERS} == told.entity_types
    assert [("user", "item", 270)] == [(pair.source_type, pair.target_type, pair.interactions) for pair in told.pairs]
    assert told.fits
    assert told.message.startswith("about ")
    assert [] == api.own_client.get(f"{BASE}/models").json()


def test_the_client_asks_too(api: Api) -> None:
    """What it is refused is as it would be here."""
    with Client(api.base, apikey=api.secret) as client:
        assert USERS == client.estimate("board").entity_types["user"]
        with pytest.raises(InvalidRequest, match="no batch carries the tag"):
            client.estimate(data_tags=["none"])
        with pytest.raises(LucidError, match="no interactions are left") as refused:
            client.estimate(data_filters=NOTHING_LEFT)

    assert "no_interactions" == refused.value.code


def test_what_a_dry_run_found_too_large_is_not_started(tmp_path: Path) -> None:
    """By then it is known; nothing is entered."""
    with Api(tmp_path / "home", LUCID_TRAINING_MEMORY="100MB").running() as api:
        Workspace(api.home).import_files(write_checkerboard(tmp_path))
        told = api.own_client.post(
            f"{BASE}/train", json={"model_id": "board", "dry_run": True}, timeout=_PATIENCE
        ).json()
        refused = api.own_client.post(f"{BASE}/train", json={"model_id": "other"})

        assert (False, 100_000_000) == (told["fits"], told["memory_available_bytes"])
        assert told["message"].endswith("; it would be refused")
        assert (422, "not_enough_memory") == (refused.status_code, refused.json()["code"])
        assert "and 100 MB are available" in refused.json()["detail"]
        assert [] == api.own_client.get(f"{BASE}/models").json()


def test_nobody_waits_for_a_dry_run(api: Api) -> None:
    """While one does not come to an end, all else is answered."""
    with ThreadPoolExecutor(1) as other, working(api.home, LOCK):
        asked = other.submit(api.own_client.post, f"{BASE}/train", json={"dry_run": True}, timeout=_PATIENCE)
        for _ in range(20):
            assert api.own_client.get(f"{BASE}/models").is_success
        assert not asked.done()

    assert asked.result().is_success
    assert not Home(api.home).dry_run.exists()
