"""Training after uploads: a model is trained by itself once uploads of its data have come to rest.

Prefect keeps that as an automation of each model, so that its UI shows it and people may change it there. It starts a
run of the deployment `auto-train` once no batch of the model was imported for a while; what is to be done then is
decided here, by the batches that no training of the model has used. So no upload is forgotten: one that comes too
early after a training, or while one runs, waits, and what Prefect has missed while it was down is made up for.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from lucid.errors import AlreadyTraining, AutoTrainOff, UnknownModel
from lucid.events import IMPORTED, KIND, tag_resource
from lucid.schema.auto_train import AutoTrain, AutoTrainRequest, duration_of
from lucid.schema.fields import format_time, utc_now
from lucid.schema.schedules import Planned
from lucid.schema.training import TrainingRequest
from lucid.service.prefect_api import AUTO_TRAIN, PrefectApi
from lucid.service.run import prefect_calls
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.trainings import TrainingRow
from lucid.training import run

_TAG, _MODEL_TAG = "lucid.auto-train", "lucid.model."
_LATE = timedelta(seconds=30)
"""So long after uploads have come to rest, what Prefect's automation has missed is done without it."""
_AGAIN = timedelta(hours=1)
"""How often that is tried where no training comes of it."""
_PAGE = 200


def switch_on(settings: Settings, model_id: str, wanted: AutoTrainRequest) -> AutoTrain:
    """Train a model after uploads from now on, or change when; paused or not, it is active then.

    Raises UnknownModel, and Unavailable where Prefect does not answer.
    """
    row = Catalog(settings.home).trainings.get(model_id)
    with prefect_calls(settings) as prefect:
        found = _find(prefect, model_id) or {}
        ours = _automation(row, wanted, prefect.deployment_id(AUTO_TRAIN), found)
        if found:
            prefect.call("PUT", f"/automations/{found['id']}", json={**ours, "enabled": True})
            found = prefect.call("GET", f"/automations/{found['id']}")
        else:
            found = prefect.call("POST", "/automations/", json=ours)
    return _told(settings, row, found)


def of_model(settings: Settings, model_id: str) -> AutoTrain:
    """How a model is trained after uploads; raises UnknownModel, AutoTrainOff where it is not, Unavailable."""
    row = Catalog(settings.home).trainings.get(model_id)
    with prefect_calls(settings) as prefect:
        return _told(settings, row, _expect(prefect, model_id))


def planned(settings: Settings) -> list[Planned]:
    """The models that are trained after uploads, and when each is due; raises Unavailable."""
    catalog, found = Catalog(settings.home), list[Planned]()
    with prefect_calls(settings) as prefect:
        automations = _all(prefect)
    for automation in automations:
        with suppress(UnknownModel):  # of one that is gone
            auto = _told(settings, catalog.trainings.get(_model_of(automation)), automation)
            quiet = f"after {duration_of(auto.quiet_seconds)} without uploads"
            due = auto.due if auto.active else None
            found.append(
                Planned(
                    work="train after uploads",
                    model_id=_model_of(automation),
                    when=quiet,
                    active=auto.active,
                    next_run=due,
                )
            )
    return found


def switch_off(settings: Settings, model_id: str) -> AutoTrain:
    """Train a model after uploads no more, and return how it was; raises as `of_model` does."""
    row = Catalog(settings.home).trainings.get(model_id)
    with prefect_calls(settings) as prefect:
        found = _expect(prefect, model_id)
        prefect.call("DELETE", f"/automations/{found['id']}")
    return _told(settings, row, found)


def train_if_due(settings: Settings, model_id: str) -> str:
    """Enter a training of a model if one is due, or plan to look again when it is; says which, in a sentence.

    Raises UnknownModel, AutoTrainOff, Unavailable, and what `run.enter` does.
    """
    auto, row = of_model(settings, model_id), Catalog(settings.home).trainings.get(model_id)
    if not auto.active:
        return "it is paused"
    if row.status.status == "running":
        return f"version {row.status.version} is being trained; what it does not use is trained after it"
    if auto.due is None:
        return "a training has used all batches that the model would use"
    if auto.due > utc_now():
        with prefect_calls(settings) as prefect:
            _plan(prefect, model_id, auto)
        return f"it is not due before {format_time(auto.due)}, when it is looked at again"
    try:
        return f"version {run.enter(settings, _request(row), 'queued').version} is to be trained"
    except AlreadyTraining as faster:
        return faster.message


def mend(settings: Settings) -> None:
    """Let automations follow their models, and make up for what Prefect has missed; raises Unavailable.

    One of a model that is gone is deleted. What people have changed of when and whether it trains stays.
    """
    catalog = Catalog(settings.home)
    with prefect_calls(settings) as prefect:
        automations, seen = _all(prefect), set[str]()
        deployment_id = prefect.deployment_id(AUTO_TRAIN) if automations else ""
        for found in automations:
            path, model_id = f"/automations/{found['id']}", _model_of(found)
            try:
                row = catalog.trainings.get(model_id)
            except UnknownModel:
                prefect.call("DELETE", path)
                continue
            if model_id in seen:  # two calls have made one each
                prefect.call("DELETE", path)
                continue
            seen.add(model_id)
            ours = _automation(row, _wanted(found), deployment_id, found)
            if not _same(found, ours):
                prefect.call("PUT", path, json=ours)
            auto = _told(settings, row, found)
            rested = _rested(settings, row, auto)
            if auto.active and rested and utc_now() > rested + _LATE:
                _plan(prefect, model_id, auto)


# When a training is due


def _due(settings: Settings, row: TrainingRow, auto: AutoTrainRequest) -> datetime | None:
    """When the next training is due, by the latest one of the model; see `AutoTrain.due`."""
    rested = _rested(settings, row, auto)
    return max(rested, row.status.start_timestamp + timedelta(seconds=auto.min_interval_seconds)) if rested else None


def _rested(settings: Settings, row: TrainingRow, auto: AutoTrainRequest) -> datetime | None:
    """When batches that no training has used have come to rest; None where there are none, or one runs."""
    if row.status.status == "running":
        return None
    catalog = Catalog(settings.home)
    used = catalog.trainings.used_batches(row.status.model_id, but=run.INTERRUPTED)
    last = catalog.batches.last_import(row.request.get("data_tags"), but=used)
    return last + timedelta(seconds=auto.quiet_seconds) if last else None


def _request(row: TrainingRow) -> TrainingRequest:
    """What the latest training of the model was asked."""
    return TrainingRequest.model_validate({**row.request, "model_id": row.status.model_id})


def _plan(prefect: PrefectApi, model_id: str, auto: AutoTrain) -> None:
    """Let Prefect look when a training is due; planned for the same time again, it is the same run."""
    assert auto.due is not None
    tries = max(utc_now() - auto.due, timedelta(0)) // _AGAIN
    look = {
        "parameters": _parameters(model_id, auto),
        "idempotency_key": f"{AUTO_TRAIN} {model_id} {format_time(auto.due)} {tries}",
        "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": auto.due.isoformat()}},
    }
    prefect.call("POST", f"/deployments/{prefect.deployment_id(AUTO_TRAIN)}/create_flow_run", json=look)


# The automation


def _automation(
    row: TrainingRow, wanted: AutoTrainRequest, deployment_id: str, found: dict[str, Any]
) -> dict[str, Any]:
    """The automation of a model; of one that was found, its words and what others have added to it stay.

    It waits for an import after an import, and fires where none comes in time: each further one lets it wait anew.
    """
    model_id, tags = row.status.model_id, row.request.get("data_tags")
    tagged = {"prefect.resource.id": [tag_resource(tag) for tag in tags or ()], "prefect.resource.role": "data-tag"}
    defaults = {
        "name": f"lucid: train {model_id} after uploads",
        "description": f"Trains {model_id} once no batch of it was imported for a while; set by: lucid auto-train.",
        "enabled": True,
        "tags": ["lucid", _TAG, f"{_MODEL_TAG}{model_id}"],
    }
    others = [action for action in found.get("actions", ()) if action["type"] != "run-deployment"]
    return {
        **defaults,
        **{name: found[name] for name in defaults if name in found},
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": "lucid.batch.*"},
            "match_related": tagged if tags else {},
            "after": [IMPORTED],
            "expect": [IMPORTED],
            "for_each": [KIND],  # the same for all batches; without any, Prefect would begin to wait before an import
            "posture": "Proactive",
            "threshold": 1,
            "within": wanted.quiet_seconds,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": deployment_id,
                "parameters": _parameters(model_id, wanted),
            },
            *others,
        ],
    }


def _parameters(model_id: str, wanted: AutoTrainRequest) -> dict[str, Any]:
    return {"model_id": model_id, "min_interval_seconds": wanted.min_interval_seconds}


def _same(found: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether an automation that was found does what ours does."""
    trigger, (action, *_) = ours["trigger"], ours["actions"]
    has = _run_deployment(found)
    return all(_plain(found["trigger"].get(name)) == _plain(value) for name, value in trigger.items()) and all(
        has.get(name) == value for name, value in action.items()
    )


def _run_deployment(found: dict[str, Any]) -> dict[str, Any]:
    """The action of an automation that is ours."""
    return next((action for action in found["actions"] if action["type"] == "run-deployment"), {})


def _plain(value: Any) -> Any:
    """A value without the order of what has none."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return sorted(value) if isinstance(value, list) else value


def _wanted(found: dict[str, Any]) -> AutoTrainRequest:
    """When an automation trains, as people may have changed it; what cannot be read is the default."""
    wanted = AutoTrainRequest()
    with suppress(KeyError, TypeError, ValueError):
        wanted.quiet_seconds = int(found["trigger"]["within"])
        wanted.min_interval_seconds = int(_run_deployment(found)["parameters"]["min_interval_seconds"])
    return wanted


def _told(settings: Settings, row: TrainingRow, found: dict[str, Any]) -> AutoTrain:
    wanted = _wanted(found)
    return AutoTrain.model_construct(
        **wanted.model_dump(),
        automation_id=found["id"],
        active=found["enabled"],
        due=_due(settings, row, wanted),
    )


def _expect(prefect: PrefectApi, model_id: str) -> dict[str, Any]:
    found = _find(prefect, model_id)
    if found is None:
        raise AutoTrainOff(f"model {model_id!r} is not trained after uploads")
    return found


def _find(prefect: PrefectApi, model_id: str) -> dict[str, Any] | None:
    return next((found for found in _all(prefect) if _model_of(found) == model_id), None)


def _all(prefect: PrefectApi) -> list[dict[str, Any]]:
    """All automations of models, by name."""
    found: list[dict[str, Any]] = []
    while True:
        body = {"limit": _PAGE, "offset": len(found), "automations": {"tags": {"all_": [_TAG]}}}
        page = prefect.call("POST", "/automations/filter", json=body)
        found += page
        if len(page) < _PAGE:
            return [one for one in found if _model_of(one)]


def _model_of(found: dict[str, Any]) -> str:
    """The model of an automation, as its tags or its parameters tell; empty where people have taken both away."""
    parameters = _run_deployment(found).get("parameters") or {}
    tagged = (tag.removeprefix(_MODEL_TAG) for tag in found["tags"] if tag.startswith(_MODEL_TAG))
    return next(tagged, str(parameters.get("model_id", "")))
