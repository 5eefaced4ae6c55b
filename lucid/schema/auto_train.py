"""Training after uploads: what is asked, and what is told of it."""

import re

from pydantic import BaseModel, ConfigDict, Field

from lucid.errors import InvalidRequest
from lucid.schema.fields import Time

QUIET_SECONDS, MIN_INTERVAL_SECONDS = 600, 3600
"""How long uploads rest, and how often a training begins at most, where the request does not say."""
_DAY_SECONDS = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY_SECONDS}


class AutoTrainRequest(BaseModel):
    """When a model shall be trained by itself after uploads."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"quiet_seconds": 600, "min_interval_seconds": 21_600}]}
    )

    quiet_seconds: int = Field(
        QUIET_SECONDS,
        ge=10,
        le=7 * _DAY_SECONDS,
        description="How long no further batch of the model may come in before it is trained.",
    )
    min_interval_seconds: int = Field(
        MIN_INTERVAL_SECONDS,
        ge=0,
        le=31 * _DAY_SECONDS,
        description="How long after the latest training began, whoever asked for it, the next one begins at least.",
    )


class AutoTrain(AutoTrainRequest):
    """How a model is trained by itself after uploads, as Prefect has it, where people may change and pause it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "quiet_seconds": 600,
                    "min_interval_seconds": 21_600,
                    "automation_id": "3f1c7c3e-52b5-4c8e-9a0e-1f6f0f7d2c11",
                    "active": True,
                    "due": "2026-11-30T01:30:00.000Z",
                }
            ]
        },
    )

    automation_id: str
    active: bool = Field(description="Whether it starts anything; it can be paused in Prefect.")
    due: Time | None = Field(
        None,
        description="When a training is due for batches that none has used yet, should no further ones come in; null "
        "where there are none, or a training waits or runs.",
    )


def seconds_of(duration: str) -> int:
    """Seconds of a duration such as 90s, 10m, 6h or 2d; raises InvalidRequest."""
    found = re.fullmatch(r"([0-9]{1,7})([smhd])", duration.strip())
    if not found:
        raise InvalidRequest(f"{duration!r} is no duration; expected a number with its unit, as 90s, 10m, 6h or 2d")
    return int(found[1]) * _UNITS[found[2]]


def duration_of(seconds: int) -> str:
    """A duration as `seconds_of` reads it, in the largest unit that it is a whole number of."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"
