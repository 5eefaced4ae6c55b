"""What Prefect gets to see of the work: small plain values, from which any process can do a task, and no secret."""

import json
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect.task_engine import SyncTaskRunEngine

from lucid.demo.receiver import Receiver
from lucid.erasure import requests
from lucid.flows.erase_entity import erase_entity
from lucid.flows.import_data import import_data
from lucid.flows.maintain_home import maintain_home
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.train_model import train_model
from lucid.settings import Settings
from tests.support.checkerboard import write_checkerboard

SECRETS = {"LUCID_CALLBACK_SECRET": "a secret for callbacks", "LUCID_PREFECT_AUTH_STRING": "lucid:password"}
ERASED = "u03"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """The parameters of all tasks that run meanwhile, by the task's name."""
    seen: dict[str, list[dict[str, Any]]] = {}
    begin = SyncTaskRunEngine.begin_run

    def noting(engine: SyncTaskRunEngine[Any, Any]) -> None:
        seen.setdefault(engine.task.name, []).append(dict(engine.parameters or {}))
        begin(engine)

    monkeypatch.setattr(SyncTaskRunEngine, "begin_run", noting)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LUCID_CALLBACK_ALLOW_PRIVATE", "true")
    return seen


def test_tasks_are_given_plain_values_without_secrets(
    given: dict[str, list[dict[str, Any]]], settings: Settings, tmp_path: Path
) -> None:
    """Of every flow: they survive JSON and pickle, and hold neither a secret nor an id that is to be erased."""
    import_data([str(file) for file in write_checkerboard(tmp_path)])
    with Receiver(SECRETS["LUCID_CALLBACK_SECRET"]).running() as receiver:
        train_model("board", callback_url=receiver.url)
    refresh_recommendations()
    erase_entity(requests.enter(settings, [ERASED]))
    maintain_home()

    expected = "load_file publish select_data build_graph fit_model evaluate_model fold_in precompute send_callback"
    flows = "asset refresh_model erase_from_batches erase_from_model remove"
    assert {*expected.split(), *flows.split()} == given.keys()
    for name, runs in given.items():
        for parameters in runs:
            assert parameters == json.loads(json.dumps(parameters)), name
            assert parameters == cloudpickle.loads(cloudpickle.dumps(parameters)), name
            said = json.dumps(parameters)
            assert [] == [secret for secret in (*SECRETS.values(), receiver.url, ERASED) if secret in said], name
