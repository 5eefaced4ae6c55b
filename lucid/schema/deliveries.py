"""Deliveries: what became of the callbacks of a model."""

from pydantic import BaseModel, ConfigDict, Field

from lucid.schema.fields import Time


class Delivery(BaseModel):
    """An event that a customer was to be told, and what became of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "1d6a8dd2c4c046a0b4fe7c2f4f0e7a11",
                    "event": "training.completed",
                    "version": 1,
                    "url": "https://shop.example.com/lucid",
                    "attempts": 3,
                    "delivered": False,
                    "message": "the callback receiver at shop.example.com answered 503, expected 2xx",
                    "created": "2026-05-03T09:00:00.000Z",
                    "updated": "2026-05-03T09:00:03.120Z",
                    "next_attempt": "2026-05-03T09:00:07.120Z",
                }
            ]
        }
    )

    event_id: str = Field(description="The same in every attempt to deliver it.")
    event: str = Field(description="`training.completed`, `training.held` or `training.error`.")
    version: int
    url: str
    attempts: int = Field(description="So far, or since it was last sent again.")
    delivered: bool
    message: str = Field(description="Why the last attempt failed.")
    created: Time = Field(description="When the event was made.")
    updated: Time = Field(description="When it was last tried, or entered.")
    next_attempt: Time | None = Field(description="When it is tried next; null where it is not tried any more.")
