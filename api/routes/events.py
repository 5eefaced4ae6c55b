"""Events: single interactions and entities, as they happen."""

from codecs import BOM_UTF8
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from lucid.api.auth import Guarded
from lucid.api.openapi import problems
from lucid.api.services import ServicesDep
from lucid.data.events import check_call, waiting_events
from lucid.errors import InvalidRequest
from lucid.schema.events import MAX_EVENTS, EntityEvent, EventsAccepted, InteractionEvent, WaitingEvent

router = APIRouter(route_class=Guarded, prefix="/events", tags=["data"])

_EVENT = {"anyOf": [InteractionEvent.model_json_schema(), EntityEvent.model_json_schema()]}
_EXAMPLE = [
    {
        "event_id": "9f1b",
        "type": "watched",
        "source_id": "user_1",
        "target_id": "video_1",
        "timestamp": "2026-05-04T12:29:58Z",
        "metadata": {"device": "phone"},
    },
    {"id": "video_99", "type": "video", "name": "New", "metadata": {"genre": ["drama"]}},
]
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [_EVENT, {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MAX_EVENTS}]},
            "example": _EXAMPLE,
        }
    },
}


@router.post("", responses=problems(413), openapi_extra={"requestBody": _BODY})
async def send_events(services: ServicesDep, request: Request) -> EventsAccepted:
    """Take one event or a list of them; they are on the disk when this answers, and soon count in recommendations.

    Good events are accepted whatever is wrong with others of the call. Calls may be repeated where events have an
    `event_id`: it counts once.
    """
    # Read here and not as a parameter, where one bad event would refuse all.
    return await services.intake.accept(check_call(_read(await request.body())))


@router.get("")
async def get_events(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, description="Those after this number; else the last ones.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
) -> list[WaitingEvent]:
    """List events that were accepted and are not in a batch yet, in their order."""
    return await run_in_threadpool(waiting_events, services.settings, after, limit)


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"not JSON: {error}; send an event as a JSON object, or a list of them") from error
