"""Damaged versions behind real HTTP: readers notice nothing but another version number, operators are warned."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lucid.api.paths import BASE
from lucid.serving.registry import ModelRegistry
from lucid.versions.files import MANIFEST
from tests.support.service import Api, wait_until
from tests.versions.test_damage import ASKED, Damage, answers, empty, file_of, flip, halve, name_of

ITEMS = f"{BASE}/recommended_items"


@pytest.fixture
def home(trained_hostile: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_hostile, tmp_path / "home")
    return tmp_path / "home"


def ask(api: Api, **more: Any) -> list[bytes]:
    responses = [api.own_client.post(ITEMS, json={"model_id": "board", **one, **more}) for one in ASKED]
    assert {200} == {response.status_code for response in responses}, responses[0].text
    return [response.content for response in responses]


def warnings(api: Api) -> list[str]:
    """What is said of the version that should answer; each damaged file also has a warning of its own."""
    found: list[str] = api.own_client.get("/health/ready").json()["warnings"]
    return [warning for warning in found if warning.startswith("model 'board'")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cache.0.bin", flip),
        ("embeddings.safetensors", flip),
        ("texts.safetensors", halve),
        ("edges.safetensors", empty),
        (MANIFEST, Path.unlink),
    ],
    ids=name_of,
)
def test_damage_while_it_runs_hands_over_to_the_version_before(home: Path, name: str, kind: Damage) -> None:
    """Nobody asks anything meanwhile: the background finds it, warns, and settles the warning when another is live."""
    before = answers(ModelRegistry(home), 1)
    with Api(home).running() as api:
        assert 2 == json.loads(ask(api)[0])["version"]
        kind(file_of(home, 2, name))

        (warning,) = wait_until(lambda: warnings(api), 60, "the warning")
        assert f"model 'board': version 2 is damaged ({name}: " in warning
        assert before == ask(api)
        assert before[0] == api.own_client.get(ITEMS, params={"model_id": "board", **ASKED[0]}).content
        refused = api.own_client.post(ITEMS, json={"model_id": "board", "version": 2, **ASKED[0]})
        assert (409, "damaged_version") == (refused.status_code, refused.json()["code"])
        assert 409 == api.own_client.post(f"{BASE}/models/board/rollback", json={"version": 2}).status_code

        assert 200 == api.own_client.post(f"{BASE}/models/board/rollback", json={"version": 1}).status_code
        wait_until(lambda: not warnings(api), 60, "the end of the warning")
        assert before == ask(api)
        assert 200 == api.own_client.get(f"{BASE}/models/board").status_code
        assert 1 == api.log.read_text().count("version 2 is damaged")
        assert "Traceback" not in api.log.read_text()


def test_where_no_version_is_sound_readers_are_told_to_train(home: Path) -> None:
    """An expected error with the advice, and the service stays ready."""
    for version in (1, 2):
        halve(file_of(home, version, "interacted.safetensors"))
    with Api(home).running() as api:
        refused = api.own_client.post(ITEMS, json={"model_id": "board", **ASKED[0]})

        assert (409, "damaged_version") == (refused.status_code, refused.json()["code"])
        assert refused.json()["detail"].endswith("no sound version is left; train the model again")
        assert str(home) not in refused.text
        assert 1 == len(warnings(api))
        assert "Traceback" not in api.log.read_text()
