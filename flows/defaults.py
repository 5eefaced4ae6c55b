"""What of a deployment is only a default: made where it is absent, followed while nobody has changed it.

A Prefect variable remembers what was made. Where a deployment is still like that, it follows the table and the
settings; what people have made of it stays.
"""

from typing import TypeVar

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, VariableCreate, VariableUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

VARIABLE = "lucid_defaults"
"""Prefect's variable that holds by deployment what was made last."""

T = TypeVar("T")


class Daily(BaseModel):
    """When a deployment starts by itself: a cron expression and the time zone in which it is meant."""

    model_config = ConfigDict(frozen=True)

    cron: str
    timezone: str

    @property
    def schedule(self) -> CronSchedule:
        return CronSchedule(cron=self.cron, timezone=self.timezone)


class Defaults(BaseModel):
    """What people may change of a deployment; `daily` is None where it has no schedule of ours."""

    model_config = ConfigDict(frozen=True)

    description: str
    tags: frozenset[str]
    limit: int
    daily: Daily | None


_BY_NAME = TypeAdapter(dict[str, Defaults])


async def read_made(client: PrefectClient) -> dict[str, Defaults]:
    """What was made last, by name of the deployment; empty where nothing readable is remembered."""
    variable = await client.read_variable_by_name(VARIABLE)
    try:
        return _BY_NAME.validate_python(variable.value if variable else {})
    except ValidationError:  # of another release, or not ours
        return {}


async def remember(client: PrefectClient, made: dict[str, Defaults]) -> None:
    """Remember what is made now, by name of the deployment."""
    value = _BY_NAME.dump_python(made, mode="json")
    if await client.read_variable_by_name(VARIABLE):
        await client.update_variable(VariableUpdate(name=VARIABLE, value=value))
    else:
        await client.create_variable(VariableCreate(name=VARIABLE, value=value, tags=["lucid"]))


def kept(known: DeploymentResponse, made: Defaults, ours: Defaults) -> Defaults:
    """What a deployment shall have, schedule apart: ours where it is as it was made, else what people made of it.

    A limit that limits nothing is no choice: runs of that deployment would take the places of all others.
    """
    limit = known.global_concurrency_limit
    return ours.model_copy(
        update={
            "description": _unless_changed(known.description or "", made.description, ours.description),
            "tags": _unless_changed(frozenset(known.tags), made.tags, ours.tags),
            "limit": _unless_changed(limit.limit, made.limit, ours.limit) if limit and limit.active else ours.limit,
        }
    )


def followed(known: DeploymentResponse, made: Defaults, ours: Defaults) -> Defaults:
    """What is to be remembered as made: ours where it is ours, else what was made before people changed it."""
    stays = kept(known, made, ours)
    return Defaults(
        description=ours.description if stays.description == ours.description else made.description,
        tags=ours.tags if stays.tags == ours.tags else made.tags,
        limit=ours.limit if stays.limit == ours.limit else made.limit,
        daily=ours.daily
        if not made.daily or any(_one(known, daily) for daily in (made.daily, ours.daily))
        else made.daily,
    )


async def follow_schedule(client: PrefectClient, known: DeploymentResponse, made: Defaults, ours: Defaults) -> None:
    """Give the schedule that was made the time that the settings say; others, and one that people changed, stay."""
    if made.daily == ours.daily or _one(known, ours.daily):  # the second where this was done but not remembered
        return
    if made.daily is None:
        await client.create_deployment_schedules(known.id, first_schedules(ours))
    elif one := _one(known, made.daily):
        if ours.daily:
            await client.update_deployment_schedule(known.id, one.id, schedule=ours.daily.schedule)
        else:
            await client.delete_deployment_schedule(known.id, one.id)


def first_schedules(ours: Defaults) -> list[DeploymentScheduleCreate]:
    """The schedules with which a deployment is made."""
    return [DeploymentScheduleCreate(schedule=ours.daily.schedule)] if ours.daily else []


def _one(known: DeploymentResponse, daily: Daily | None) -> DeploymentSchedule | None:
    """The schedule of a deployment that is as we make it; None where people have changed, stopped or deleted it."""
    if daily is None:
        return None
    as_made = (one for one in known.schedules if one.schedule == daily.schedule and one.active and not one.parameters)
    return next(as_made, None)


def _unless_changed(found: T, made: T, ours: T) -> T:
    return ours if found == made else found
