"""Events: single interactions and entities as an application sends them, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from lucid.errors import InvalidRequest
from lucid.schema.fields import Id, Text, Time

MAX_EVENTS = 1000
"""How many events one call takes."""
MAX_EVENT_ID = 200
"""Longest id of an event, in characters."""
EVENTS_TAG = "events"
"""The tag of the batches into which events are compacted."""

_EVENT_ID = Field(
    None,
    min_length=1,
    max_length=MAX_EVENT_ID,
    description="Made by the sender; an event whose id came before is not counted again.",
)
_Metadata = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}, {"type": "null"}]})]


def as_json(events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Any]:
    """Events as Python takes them, one or several, as JSON has them; raises InvalidRequest for what is none there."""
    try:
        found = orjson.loads(orjson.dumps(events))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError) as error:
        raise InvalidRequest(f"an event is a mapping of what JSON has, such as text and numbers: {error}") from error
    return found if isinstance(found, list) else [found]


def with_ids(events: Sequence[Any]) -> list[Any]:
    """Events each with an `event_id`, so that they can be sent again; those that have one keep it."""
    return [
        {"event_id": uuid4().hex, **event} if isinstance(event, Mapping) and event.get("event_id") is None else event
        for event in events
    ]


class EntityEvent(BaseModel):
    """An entity, new or changed, with the columns of an entity file."""

    model_config = ConfigDict(extra="forbid")

    event_id: str | None = _EVENT_ID
    id: Id
    type: Text
    name: str | None = None
    metadata: _Metadata = Field(None, description="An object, or the same as text.")
    media_url: str | None = None


class InteractionEvent(BaseModel):
    """An interaction, with the columns of an interaction file."""

    model_config = ConfigDict(extra="forbid")

    event_id: str | None = _EVENT_ID
    type: Text
    source_id: Id
    target_id: Id
    timestamp: str | float | None = Field(
        None, description="ISO 8601 or Unix seconds; when the event was received, where it does not say."
    )
    metadata: _Metadata = Field(None, description="An object, or the same as text.")
    source_type: str | None = None
    target_type: str | None = None
    recommendation_id: str | None = Field(
        None, pattern="^[0-9a-f]{32}$", description="The answer that it came of, as `recommended_items` gave its id."
    )


class EventError(BaseModel):
    """Why one event was rejected."""

    index: int = Field(description="Which event of the call it is, from 0.")
    event_id: str | None = Field(None, description="Its id, if it has one.")
    column: str | None = Field(None, description="Field that is wrong; null where the event as a whole is.")
    code: str
    message: str
    value: str | None = Field(None, description="The bad value, cut at 100 characters.")


class EventsAccepted(BaseModel):
    """What became of the events of one call: `accepted + rejected` is how many were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 2,
                    "duplicates": 1,
                    "rejected": 1,
                    "errors": [
                        {
                            "index": 2,
                            "event_id": "9f1b",
                            "column": "media_url",
                            "code": "invalid_url",
                            "message": "expected nothing or an http(s) URL",
                            "value": "ftp://a.org",
                        }
                    ],
                }
            ]
        }
    )

    accepted: int = Field(description="They are on the disk.")
    duplicates: int = Field(description="How many of these were known by their `event_id`, and do not count again.")
    rejected: int = Field(description="They are not stored; `errors` says why, in the order of the call.")
    errors: list[EventError] = []


def joined(answers: Sequence[EventsAccepted]) -> EventsAccepted:
    """What became of the events of several calls, as if they had been one."""
    errors, sent = list[EventError](), 0
    for answer in answers:
        errors += [error.model_copy(update={"index": error.index + sent}) for error in answer.errors]
        sent += answer.accepted + answer.rejected
    return EventsAccepted(
        accepted=sent - len(errors),
        duplicates=sum(answer.duplicates for answer in answers),
        rejected=len(errors),
        errors=errors,
    )


class WaitingEvent(BaseModel):
    """An event that was accepted and waits to be compacted into a batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "number": 4711,
                    "received": "2026-05-04T12:30:00.000Z",
                    "event_id": "9f1b",
                    "type": "watched",
                    "source_id": "user_1",
                    "target_id": "video_1",
                    "timestamp": "2026-05-04T12:29:58.000Z",
                }
            ]
        }
    )

    number: int = Field(description="Its place in the log; numbers rise.")
    received: Time
    event_id: str | None = None
    type: str
    source_id: str | None = Field(None, description="Of an interaction; null for an entity.")
    target_id: str | None = None
    timestamp: Time | None = None
    id: str | None = Field(None, description="Of an entity; null for an interaction.")
    name: str | None = None
    metadata: str | None = None
    media_url: str | None = None
    source_type: str | None = None
    target_type: str | None = None
