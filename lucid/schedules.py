"""Schedules of models: kept by Prefect, so that its UI shows them and people may change them there.

Prefect 3.8.8 forgets the parameters of a schedule that is paused, resumed or changed, in its UI too: it would go on for
all models, or train a new one. So the slug of each names its model, and `mend` gives it back what it lost.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from secrets import token_hex
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

from lucid.errors import UnknownModel, UnknownSchedule
from lucid.schema.fields import utc_now
from lucid.schema.names import unknown
from lucid.schema.schedules import Planned, Schedule, ScheduleRequest, Work
from lucid.service.prefect_api import MAINTAIN_HOME, REFRESH, TRAIN_MODEL, PrefectApi
from lucid.service.run import prefect_calls
from lucid.settings import Settings
from lucid.store.catalog import Catalog

_DEPLOYMENTS: dict[Work, str] = {"train": TRAIN_MODEL, "refresh": REFRESH}
_SHOWN = 3
_SLUG = "lucid "


def add(settings: Settings, model_id: str, wanted: ScheduleRequest) -> Schedule:
    """Train or refresh a model by itself from now on; a training is asked what the latest one of the model was.

    Raises UnknownModel, and Unavailable where Prefect does not answer.
    """
    schedule = {
        "active": True,
        "schedule": {"cron": wanted.cron, "timezone": wanted.timezone},
        "parameters": _parameters(settings, model_id, wanted.work),
        "slug": f"{_SLUG}{model_id} {token_hex(4)}",
    }
    with prefect_calls(settings) as prefect:
        deployment = prefect.deployment_id(_DEPLOYMENTS[wanted.work])
        (made,) = prefect.call("POST", f"/deployments/{deployment}/schedules", json=[schedule])
    return _told(made, wanted.work)


def of_model(settings: Settings, model_id: str) -> list[Schedule]:
    """The schedules of a model by their next runs, whoever made them; raises UnknownModel, Unavailable."""
    Catalog(settings.home).trainings.get(model_id)
    with prefect_calls(settings) as prefect:
        found = [_told(one, work) for work, _, one in _of_model(prefect, model_id)]
    return sorted(found, key=lambda schedule: schedule.next_runs)


def planned(settings: Settings) -> list[Planned]:
    """What begins by itself, of all models and of the home, by its next time; raises Unavailable.

    What is trained after uploads is told by `lucid.auto_train.planned`.
    """
    names = {name: work for work, name in _DEPLOYMENTS.items()} | {MAINTAIN_HOME: "maintain"}
    asked = {"deployments": {"name": {"any_": [name.partition("/")[2] for name in names]}}}
    by_deployment = {name.partition("/")[2]: work for name, work in names.items()}
    with prefect_calls(settings) as prefect:
        found = prefect.call("POST", "/deployments/filter", json=asked)
    told = [
        _planned(by_deployment[deployment["name"]], one)
        for deployment in found
        for one in deployment["schedules"]
        if one["schedule"].get("cron")
    ]
    return sorted(told, key=lambda one: (one.next_run is None, one.next_run))


def remove(settings: Settings, model_id: str, schedule_id: str) -> Schedule:
    """Delete a schedule of a model, and return it; raises UnknownModel, UnknownSchedule, Unavailable."""
    Catalog(settings.home).trainings.get(model_id)
    with prefect_calls(settings) as prefect:
        known = {one["id"]: (work, deployment, one) for work, deployment, one in _of_model(prefect, model_id)}
        if schedule_id not in known:
            raise UnknownSchedule(unknown("schedule of this model", schedule_id, known))
        work, deployment, one = known[schedule_id]
        prefect.call("DELETE", f"/deployments/{deployment}/schedules/{schedule_id}")
    return _told(one, work)


def mend(settings: Settings) -> None:
    """Give schedules their parameters back that Prefect has forgotten; raises Unavailable.

    One of a model that is gone is deleted.
    """
    with prefect_calls(settings) as prefect:
        for work, deployment, one in _all(prefect):
            model_id = _model_of(one)
            if model_id is None or one["parameters"].get("model_id"):
                continue
            path = f"/deployments/{deployment}/schedules/{one['id']}"
            try:
                prefect.call("PATCH", path, json={"parameters": _parameters(settings, model_id, work)})
            except UnknownModel:
                prefect.call("DELETE", path)


def next_runs(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times after one (aware) at which a cron expression is due, in UTC, as Prefect counts them.

    A time that a clock leaves out is meant as if it had been changed already, one that it has twice is the first.
    """
    zone = ZoneInfo(timezone)
    for due in CronSim(cron, after.astimezone(zone).replace(tzinfo=None)):
        first = due.replace(tzinfo=zone, fold=0)
        exists = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == due
        moment = (first if exists else due.replace(tzinfo=zone, fold=1)).astimezone(UTC)
        if moment > after:
            yield moment


def _parameters(settings: Settings, model_id: str, work: Work) -> dict[str, Any]:
    """What the flow is told: for a training, what the latest one was asked. Raises UnknownModel."""
    request = Catalog(settings.home).trainings.get(model_id).request
    asked = {name: value for name, value in request.items() if value} if work == "train" else {}
    return {**asked, "model_id": model_id}


def _all(prefect: PrefectApi) -> Iterator[tuple[Work, str, dict[str, Any]]]:
    """All schedules of trainings and refreshes: the work, the deployment, and the schedule as Prefect has it.

    Of those that people made, only the ones by cron expressions; Prefect has others, which its UI shows.
    """
    for work, name in _DEPLOYMENTS.items():
        deployment = prefect.deployment_id(name)
        for one in prefect.call("GET", f"/deployments/{deployment}/schedules"):
            if one["schedule"].get("cron"):
                yield work, deployment, one


def _of_model(prefect: PrefectApi, model_id: str) -> Iterator[tuple[Work, str, dict[str, Any]]]:
    for work, deployment, one in _all(prefect):
        if model_id in (one["parameters"].get("model_id"), _model_of(one)):
            yield work, deployment, one


def _model_of(one: dict[str, Any]) -> str | None:
    """The model of a schedule that we have made."""
    slug = one["slug"] or ""
    return slug.removeprefix(_SLUG).split()[0] if slug.startswith(_SLUG) else None


def _planned(work: str, one: dict[str, Any]) -> Planned:
    cron, timezone = one["schedule"]["cron"], one["schedule"]["timezone"] or "UTC"
    return Planned(
        work=work,
        model_id=one["parameters"].get("model_id") or _model_of(one),
        when=f"{cron} {timezone}",
        active=one["active"],
        next_run=next(next_runs(cron, timezone, utc_now()), None) if one["active"] else None,
    )


def _told(one: dict[str, Any], work: Work) -> Schedule:
    cron, timezone = one["schedule"]["cron"], one["schedule"]["timezone"] or "UTC"
    return Schedule(
        work=work,
        cron=cron,
        timezone=timezone,
        schedule_id=one["id"],
        active=one["active"],
        next_runs=list(islice(next_runs(cron, timezone, utc_now()), _SHOWN)),
    )
