"""Approvals in Prefect: for each version that is held a suspended run waits, which a person resumes with a decision.

Held versions are the truth, runs their view: what has no run gets one, and a run whose version was decided elsewhere is
ended. That survives every restart of the service and of Prefect, and needs neither for a decision made elsewhere.
"""

from contextlib import suppress
from typing import Any, Literal

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from lucid import models
from lucid.errors import AlreadyTraining, UnknownModel
from lucid.schema.fields import format_time
from lucid.service.prefect_api import APPROVE_VERSION, OUR_TAG, PrefectApi, model_tag
from lucid.service.run import prefect_calls
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.trainings import TrainingRow
from lucid.training.markdown import escaped
from lucid.versions.lifecycle import ModelVersions

ALREADY_DECIDED = "the version is not held any more; somebody has decided elsewhere"
_WAITING = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"]
_PAGE = 200
_PAUSE_SECONDS, _PATIENCE_SECONDS = 2.0, 86_400.0
"""A decision waits for a training that works on the model."""


def mend(settings: Settings) -> None:
    """Let a run wait for each held version, and end those that wait for none; raises Unavailable."""
    with prefect_calls(settings) as prefect:
        waiting = _waiting(prefect)  # first: whoever is held by then and has no run among these gets one
        held = {(row.status.model_id, row.status.version): row for row in Catalog(settings.home).trainings.held()}
        for run in waiting:
            parameters = run["parameters"]
            known = held.pop((parameters.get("model_id"), parameters.get("version")), None)
            if known is None and run["state_type"] == "PAUSED":
                ended = {"type": "COMPLETED", "message": ALREADY_DECIDED}
                prefect.call("POST", f"/flow_runs/{run['id']}/set_state", json={"state": ended})
        for row in held.values():
            _start(prefect, row)


def _waiting(prefect: PrefectApi) -> list[dict[str, Any]]:
    """All runs that wait for a decision, or are about to."""
    found: list[dict[str, Any]] = []
    while True:
        body = {
            "deployments": {"name": {"any_": [APPROVE_VERSION.partition("/")[2]]}},
            "flow_runs": {"state": {"type": {"any_": _WAITING}}},
            "sort": "START_TIME_ASC",
            "limit": _PAGE,
            "offset": len(found),
        }
        page = prefect.call("POST", "/flow_runs/filter", json=body)
        found += page
        if len(page) < _PAGE:
            return found


def _start(prefect: PrefectApi, row: TrainingRow) -> None:
    """Make the run of a held version: the same one, however often; one that somebody has cancelled stays so."""
    model_id, version = row.status.model_id, row.status.version
    body = {
        "parameters": {"model_id": model_id, "version": version},
        # The time, because after a new start from an empty home a version may come again.
        "idempotency_key": f"approve {model_id} {version} {format_time(row.status.start_timestamp)}",
        "tags": [OUR_TAG, model_tag(model_id)],
        "state": {"type": "SCHEDULED"},
    }
    run = prefect.call("POST", f"/deployments/{prefect.deployment_id(APPROVE_VERSION)}/create_flow_run", json=body)
    if run["state_type"] == "CRASHED":  # its process died; what it was told, if anything, it still knows
        prefect.call("POST", f"/flow_runs/{run['id']}/set_state", json={"state": {"type": "SCHEDULED"}, "force": True})


# What the run does


def why_held(settings: Settings, model_id: str, version: int) -> str | None:
    """Why a version waits for a decision; None where it does not."""
    versions = ModelVersions(settings.home, model_id)
    review = versions.review(versions.version(version))
    with suppress(UnknownModel):
        if Catalog(settings.home).trainings.get(model_id, version).status.held and review:
            return review.reason
    return None


def question(model_id: str, version: int, reason: str) -> str:
    """What a person is asked, in Markdown."""
    asked = f"Shall version {version} of {model_id} answer?"
    return f"{escaped(asked)}\n\nIt is held: {escaped(reason)}.\n\nMore is told by: `lucid compare {model_id}`"


def decide(settings: Settings, model_id: str, version: int, decision: Literal["promote", "reject"], reason: str) -> str:
    """Promote or reject a held version, once no process works on the model; says what became of it.

    Raises as these do.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(AlreadyTraining),
        wait=wait_fixed(_PAUSE_SECONDS),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        reraise=True,
    )
    said: str = attempts(_decide_now, settings, model_id, version, decision, reason)
    return said


def _decide_now(settings: Settings, model_id: str, version: int, decision: str, reason: str) -> str:
    if why_held(settings, model_id, version) is None:
        return ALREADY_DECIDED
    if decision == "reject":
        models.reject(settings, model_id, version, reason)
        return f"version {version} is rejected"
    models.promote(settings, model_id, version)
    return f"version {version} answers"
