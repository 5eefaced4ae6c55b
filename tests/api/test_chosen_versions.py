"""Choosing the version that answers, over real HTTP: rolled back to the byte, pinned, compared, promoted, rejected."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.errors import UnknownVersion, VersionAnswers
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Api

ASKED: tuple[dict[str, Any], ...] = (
    {"source_id": "u05", "target_type": "item"},
    {"source_id": ["u01", "u02", "nobody"], "target_type": "item", "explain": True},
    {"source_type": "user", "target_type": "item"},
    {"source_type": "user", "target_type": "item", "output_format": "csv"},
    {"source_id": "i03", "use": "similar"},
    {"source_id": "u08", "target_type": ["item", "user"], "exclude_interacted": False},
)
OTHERS = {"interactions": [{"field": "source_id", "op": "gte", "value": "u10"}]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two versions whose answers differ, of which the second is held."""
    folder = tmp_path_factory.mktemp("chosen")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    assert workspace.train("board", data_filters=OTHERS).held
    return folder / "home"


@pytest.fixture
def api(home: Path, tmp_path: Path) -> Iterator[Api]:
    shutil.copytree(home, tmp_path / "home")
    with Api(tmp_path / "home").running() as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.base, apikey=api.secret) as client:
        yield client


def answers(api: Api) -> list[bytes]:
    """The bytes of the answers to all questions."""
    asked = (api.own_client.post(f"{BASE}/recommended_items", json={"model_id": "board", **one}) for one in ASKED)
    return [answer.raise_for_status().content for answer in asked]


def test_a_rollback_brings_back_every_byte(api: Api, client: Client) -> None:
    """Of all kinds of answers, computed ahead or not, as JSON and CSV; so does a promotion forth and back."""
    first = answers(api)
    client.promote("board")
    second = answers(api)

    assert all(one != other for one, other in zip(first, second, strict=True))
    client.roll_back("board")
    assert first == answers(api)
    client.promote("board", 2)
    assert second == answers(api)


def test_a_pin_changes_no_byte(api: Api, client: Client) -> None:
    """Nor does unpinning; a pin of another version lets that one answer."""
    before = answers(api)

    assert [True, False] == [version.pinned for version in client.pin("board").versions]
    assert before == answers(api)
    assert [False, False] == [version.pinned for version in client.unpin("board").versions]
    assert before == answers(api)
    assert 2 == client.pin("board", 2).live_version
    assert before != answers(api)


def test_two_versions_are_compared(api: Api, client: Client) -> None:
    """By default the newest with the live one; either may be named, and what is unknown is said."""
    found = client.compare("board")

    assert (1, 2, (270, 180)) == (found.a, found.b, found.interactions)
    (pair,) = found.answers
    assert ("user", "item", 30, 30) == (pair.source_type, pair.target_type, pair.sources_in_both, pair.looked_at)
    assert 1 / 3 == pytest.approx(pair.lost)
    assert client.compare("board", 2, 1).answers[0].changed == pair.changed
    assert 0 == client.compare("board", 1, 1).answers[0].changed
    with pytest.raises(UnknownVersion):
        client.compare("board", 1, 9)
    assert found == Workspace(api.home).compare("board")


def test_everybody_decides_the_same(client: Client) -> None:
    """The states in lists, the status, and what cannot be."""
    assert ["live", "held"] == [version.state for version in client.models()[0].versions]
    assert client.status("board").held

    rejected = client.reject("board", reason="too few")

    assert ["live", "rejected"] == [version.state for version in rejected.versions]
    assert not client.status("board").held
    with pytest.raises(VersionAnswers):
        client.reject("board", 1)
    with pytest.raises(UnknownVersion):
        client.promote("board")


def test_the_gate_is_set_over_http(api: Api, client: Client) -> None:
    """What is left out is as by default; the next training, wherever, is compared so."""
    assert client.set_gate("board", max_relative_loss=0.2).max_relative_loss == 0.2
    assert (0.2, 0.1, False) == (
        client.gate("board").max_relative_loss,
        client.gate("board").min_overlap,
        client.gate("board").is_default,
    )
    assert client.reset_gate("board").is_default
    assert not client.set_gate("board", enabled=False).enabled
    assert not Workspace(api.home).train("board", data_filters=OTHERS).held
    Workspace(api.home).delete_model("board")
    assert Catalog(api.home).gates.get("board") is None


def test_the_api_loads_no_torch_to_compare(api: Api, client: Client) -> None:
    """A comparison reads what was computed ahead."""
    client.compare("board")

    assert not any("torch" in mapped.path for mapped in api.process.memory_maps())


def test_unknown_models_and_fields(api: Api) -> None:
    """404 and 422, in the words of the API."""
    for method, path in (("PUT", "pin"), ("DELETE", "pin"), ("GET", "compare"), ("GET", "gate"), ("DELETE", "gate")):
        unknown = api.own_client.request(method, f"{BASE}/models/none/{path}")
        assert (404, "unknown_model") == (unknown.status_code, unknown.json()["code"])
    refused = api.own_client.put(f"{BASE}/models/board/gate", json={"min_overlap": 1.5})
    assert 422 == refused.status_code
    assert "min_overlap" in refused.text
