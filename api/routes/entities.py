"""Entities: erase them for good."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, WithJsonSchema

from api.auth import Guarded
from api.lists import listed
from api.runs import ERASE_ENTITY
from lucid.erasure import requests
from lucid.errors import Unavailable
from lucid.schema.batches import Erased
from lucid.settings import Settings

router = APIRouter(route_class=Guarded, prefix="/entities", tags=["data"])
_POLL_SECONDS = 0.25


@router.delete(
    "",
    responses={202: {"model": None, "description": "The erasure still runs; the body is null."}},
)
async def erase_entities(
    request: Request,
    response: Response,
    id: Annotated[  # noqa: A002 - the contract's name
        list[Annotated[str, Field(min_length=1)]],
        WithJsonSchema({**listed(minLength=1), "examples": [["user_1"]]}),
        Query(description="Id of the entity; may be repeated. Commas do not separate, they may be part of an id."),
    ],
    wait_seconds: Annotated[float, Query(ge=0, le=600, description="Answer after this time at the latest.")] = 30,
) -> Erased | None:
    """Erase entities from batches, set-aside rows, models and cached recommendations; counts what went.

    May be repeated: what is gone already counts zero.
    """
    state = request.app.state
    name = await run_in_threadpool(requests.enter, state.settings, id)
    try:
        run_id, _ = await state.runs.create(ERASE_ENTITY, {"request": name})
    except Unavailable:
        await run_in_threadpool(requests.withdraw, state.settings, name)
        raise
    await run_in_threadpool(requests.set_flow_run, state.settings, name, run_id)
    counts = await _wait(state.settings, name, wait_seconds)
    response.status_code = 200 if counts else 202
    return counts


async def _wait(settings: Settings, name: str, seconds: float) -> Erased | None:
    """What was erased, or None when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        counts = await run_in_threadpool(requests.take_result, settings, name)
        if counts or time.monotonic() >= deadline:
            return counts
        await asyncio.sleep(_POLL_SECONDS)
