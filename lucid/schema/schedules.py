"""Schedules: when a model is trained or refreshed by itself."""

from datetime import datetime
from typing import Annotated, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lucid.schema.fields import Time, check_zone

Work = Literal["train", "refresh"]


def _check_cron(cron: str) -> str:
    try:
        CronSim(cron, datetime(2026, 1, 1))
    except CronSimError as error:
        raise ValueError(
            f"{cron!r} is no cron expression ({error}); expected five fields, minute, hour, day of the month, month "
            "and day of the week, as 30 2 * * 1 for Mondays at 02:30"
        ) from error
    if len(cron.split()) != 5:
        raise ValueError(f"{cron!r} has {len(cron.split())} fields, expected five, as 30 2 * * 1 for Mondays at 02:30")
    return cron


Cron = Annotated[str, AfterValidator(_check_cron)]
Zone = Annotated[str, AfterValidator(check_zone)]


class ScheduleRequest(BaseModel):
    """When a model shall be trained or refreshed by itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"work": "train", "cron": "30 2 * * 1", "timezone": "Europe/Berlin"}]},
    )

    work: Work = Field(description="Train it as its latest training was asked to, or refresh its recommendations.")
    cron: Cron = Field(
        description="Minute, hour, day of the month, month and day of the week.", examples=["30 2 * * 1"]
    )
    timezone: Zone = Field(
        "UTC",
        description="Where that time is meant; on the day that a clock changes it runs once as on all others.",
        examples=["Europe/Berlin"],
    )


class Schedule(ScheduleRequest):
    """A schedule of a model as Prefect has it, where people may change and pause it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "work": "train",
                    "cron": "30 2 * * 1",
                    "timezone": "Europe/Berlin",
                    "schedule_id": "3f1c7c3e-52b5-4c8e-9a0e-1f6f0f7d2c11",
                    "active": True,
                    "next_runs": ["2026-11-30T01:30:00.000Z", "2026-12-07T01:30:00.000Z", "2026-12-14T01:30:00.000Z"],
                }
            ]
        },
    )

    schedule_id: str
    active: bool = Field(description="Whether it starts anything; it can be paused in Prefect.")
    next_runs: list[Time] = Field(description="The next three times.")


class Planned(BaseModel):
    """Work that begins by itself, of whatever model."""

    work: str = Field(description="train, refresh, maintain, or `train after uploads`.")
    model_id: str | None = Field(description="Null for work on all models, or on none.")
    when: str = Field(description="As it was said: a cron expression with its time zone, or what it waits for.")
    active: bool
    next_run: Time | None = Field(description="Null where it is paused, or waits for uploads.")
