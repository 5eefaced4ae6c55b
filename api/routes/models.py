"""Trainings and their status."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from api.auth import Guarded
from api.runs import TRAIN_MODEL
from lucid.catalog import Catalog
from lucid.errors import Unavailable
from lucid.notify import check_callback_url
from lucid.schema import ModelId, ModelStatus, TrainingRequest
from lucid.training import end_unbegun, enter

router = APIRouter(route_class=Guarded)


@router.post("/train", status_code=202, tags=["training"])
async def train(request: Request, wanted: TrainingRequest) -> ModelStatus:
    """Start a training; follow it with `status`. A model of that name answers as before until it is done."""
    state = request.app.state
    if wanted.callback_url:
        await run_in_threadpool(
            check_callback_url, wanted.callback_url, allow_private=state.settings.callback_allow_private
        )
    entered = await run_in_threadpool(enter, state.settings, wanted, "queued")
    named = wanted.model_copy(update={"model_id": entered.model_id})
    try:
        run_id, url = await state.runs.create(
            TRAIN_MODEL, {**named.model_dump(mode="json", exclude_none=True), "version": entered.version}
        )
    except Unavailable as error:
        await run_in_threadpool(end_unbegun, state.settings, entered, error)
        raise
    await run_in_threadpool(state.catalog.set_training_flow_run, entered.model_id, entered.version, run_id, url)
    return entered.model_copy(update={"flow_run_url": url})


@router.get("/status", tags=["training"])
def status(request: Request, model_id: Annotated[ModelId, Query()]) -> ModelStatus:
    """How far the latest training of a model has come."""
    catalog: Catalog = request.app.state.catalog
    return catalog.training(model_id).status
