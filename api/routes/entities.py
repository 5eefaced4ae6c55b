"""Entities: erase them for good."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from lucid.api import jobs
from lucid.api.auth import Guarded
from lucid.api.lists import listed
from lucid.api.services import Services, ServicesDep
from lucid.api.waiting import deadline_in, wait_until
from lucid.erasure import requests
from lucid.schema.batches import Erased

router = APIRouter(route_class=Guarded, prefix="/entities", tags=["data"])

_WAITS = "the erasure waits for other work and will be done after it; repeat the call to see what it erased"


class ErasureWaits(BaseModel):
    """An erasure that has not ended yet."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "running", "message": _WAITS}]})

    status: Literal["running"] = "running"
    message: str = _WAITS


@router.delete(
    "",
    response_model=Erased,
    responses={202: {"model": ErasureWaits, "description": "The erasure still runs."}},
)
async def erase_entities(
    services: ServicesDep,
    id: Annotated[  # noqa: A002 - the contract's name
        list[Annotated[str, Field(min_length=1)]],
        WithJsonSchema({**listed(minLength=1), "examples": [["user_1"]]}),
        Query(description="Id of the entity; may be repeated. Commas do not separate, they may be part of an id."),
    ],
    wait_seconds: Annotated[float, Query(ge=0, le=600, description="Answer after this time at the latest.")] = 30,
) -> Erased | JSONResponse:
    """Erase entities from batches, set-aside rows, models and cached recommendations, and count what went.

    May be repeated: what is gone already counts zero.
    """
    return await begin_erasure(services, id, wait_seconds) or JSONResponse(ErasureWaits().model_dump(), 202)


async def begin_erasure(services: Services, ids: list[str], wait_seconds: float) -> Erased | None:
    """Have entities erased, and wait for that so long; what was erased, None where it waits for other work."""
    settings = services.settings
    name = await run_in_threadpool(requests.enter, settings, ids)
    await services.queue.begin(jobs.erasure(settings, name))
    return await wait_until(bool, partial(requests.take_result, settings, name), deadline_in(wait_seconds))
