"""Trainings and their status; models and their versions."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from lucid import auto_train, lineage, models, reports, schedules
from lucid.api import jobs
from lucid.api.auth import Guarded
from lucid.api.idempotency import Given
from lucid.api.openapi import problems
from lucid.api.services import Services, ServicesDep
from lucid.api.waiting import deadline_in, wait_until
from lucid.errors import CallbackRefused
from lucid.schema.auto_train import AutoTrain, AutoTrainRequest
from lucid.schema.comparison import Comparison
from lucid.schema.deliveries import Delivery
from lucid.schema.fields import ModelId
from lucid.schema.gate import Gate, GateRequest
from lucid.schema.lineage import Lineage
from lucid.schema.schedules import Schedule, ScheduleRequest
from lucid.schema.training import (
    Model,
    ModelStatus,
    Pin,
    Rejection,
    Rollback,
    TrainingCall,
    TrainingEstimate,
    TrainingRequest,
)
from lucid.store.tables.requests import RequestKey
from lucid.store.tables.trainings import TrainingRow
from lucid.training import run, versions_compared
from lucid.webhooks.callbacks import check_callback

router = APIRouter(route_class=Guarded)

Named = Annotated[ModelId, Path(description="Name of the model.", examples=["videos"])]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="Its number.", examples=[1])]


@router.post(
    "/train",
    status_code=202,
    tags=["training"],
    response_model=ModelStatus,
    responses={200: {"model": TrainingEstimate, "description": "What a dry run found."}, **problems(404, 409)},
)
async def train(
    services: ServicesDep, given: Given, asked: Annotated[TrainingCall | None, Body()] = None
) -> ModelStatus | Response:
    """Start a training, to be followed with `status`. A model of that name answers as before until it is done.

    Without a body, a new model is trained on everything. Where others wait for their turn, so does this one, with the
    stage `queued` and no `flow_run_url` yet. A repeat with the same `Idempotency-Key` answers the status of
    the training that the first call started.

    With `dry_run` nothing is started: within seconds the answer says what would be selected, about how long the
    training would take and how much memory it would need.
    """
    wanted = asked.request() if asked else TrainingRequest()
    if asked and asked.dry_run:
        return Response((await services.dry_runs.ask(wanted)).model_dump_json(), media_type="application/json")
    return await begin_training(services, wanted, given.of("POST /train", _asked(wanted)) if given else None)


async def begin_training(services: Services, wanted: TrainingRequest, key: RequestKey | None = None) -> ModelStatus:
    """Enter a training and let it have its turn; of a repeat with a key, what has become of the first."""
    await run_in_threadpool(_check_callback, services, wanted, key)
    await run_in_threadpool(_check_room, services, wanted, key)
    entered = await run_in_threadpool(run.enter, services.settings, wanted, "queued", key)
    if entered.status != "running" or entered.flow_run_url:
        return entered  # a repeat, and nothing is left to do
    started = await services.queue.begin(jobs.training(services.settings, entered))
    return entered.model_copy(update={"flow_run_url": started.url}) if started else entered


def _asked(wanted: TrainingRequest) -> dict[str, Any]:
    """All that a request asks for, the same however it is written."""
    asked = wanted.model_dump(mode="json", exclude_defaults=True)
    return {**asked, "data_tags": sorted(set(wanted.data_tags))} if wanted.data_tags else asked


def _check_callback(services: Services, wanted: TrainingRequest, key: RequestKey | None) -> None:
    """Raise CallbackRefused, but not for a repeat: its training has begun, whatever became of the receiver."""
    try:
        if wanted.callback_url:
            check_callback(services.settings, wanted.callback_url)
    except CallbackRefused:
        if key is None or not services.catalog.requests.knows(key):
            raise


def _check_room(services: Services, wanted: TrainingRequest, key: RequestKey | None) -> None:
    """Raise NotEnoughMemory where it is known that the training cannot fit, but not for a repeat."""
    if key is None or not services.catalog.requests.knows(key):
        services.training_room.expect(wanted)


@router.get("/status", tags=["training"], responses=problems(404))
def status(
    services: ServicesDep, model_id: Annotated[ModelId, Query(description="Name of the model.", examples=["videos"])]
) -> ModelStatus:
    """Tell how far the latest training of a model has come."""
    return services.catalog.trainings.get(model_id).status


@router.get("/models", tags=["models"])
def list_models(services: ServicesDep) -> list[Model]:
    """List all models with their versions, by name. Reports stand in the answer for one model."""
    return models.list_models(services.settings)


@router.get("/models/{model_id}", tags=["models"], responses=problems(404))
def show_model(services: ServicesDep, model_id: Named) -> Model:
    """Show a model, its latest training and refresh, and its finished versions with their training reports."""
    return models.show_model(services.settings, model_id)


@router.delete("/models/{model_id}", tags=["models"], responses=problems(404, 409))
def delete_model(services: ServicesDep, model_id: Named) -> Model:
    """Delete a model with all its versions, and answer what it was. While it is being trained: 409."""
    return models.delete_model(services.settings, model_id)


@router.post("/models/{model_id}/rollback", tags=["models"], responses=problems(404, 409))
def roll_back(
    services: ServicesDep,
    model_id: Named,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="The same as in the body, which wins.")
    ] = None,
    wanted: Annotated[Rollback | None, Body()] = None,
) -> Model:
    """Let a finished version answer: the one named, or the newest from before the training that answers now.

    It answers until a training or a refresh makes a newer one. While a process works on the model: 409.
    """
    named = wanted.version if wanted else None
    return models.roll_back(services.settings, model_id, version if named is None else named)


@router.put("/models/{model_id}/pin", tags=["models"], responses=problems(404, 409))
def pin(services: ServicesDep, model_id: Named, wanted: Annotated[Pin | None, Body()] = None) -> Model:
    """Let a version answer until it is unpinned, by default the one that answers.

    Trainings are finished meanwhile and wait; a refresh makes nothing. A rollback or a promotion takes the pin along.
    """
    return models.pin(services.settings, model_id, wanted.version if wanted else None)


@router.delete("/models/{model_id}/pin", tags=["models"], responses=problems(404, 409))
def unpin(services: ServicesDep, model_id: Named) -> Model:
    """Let trainings go live again. The version that was pinned answers until one does, or until one is promoted."""
    return models.unpin(services.settings, model_id)


@router.post("/models/{model_id}/versions/{version}/promote", tags=["models"], responses=problems(404, 409))
def promote(services: ServicesDep, model_id: Named, version: VersionNumber) -> Model:
    """Let a version answer that is held, or any other that is finished. While a process works on the model: 409."""
    return models.promote(services.settings, model_id, version)


@router.post("/models/{model_id}/versions/{version}/reject", tags=["models"], responses=problems(404, 409))
def reject(
    services: ServicesDep, model_id: Named, version: VersionNumber, wanted: Annotated[Rejection | None, Body()] = None
) -> Model:
    """Decide that a version shall not answer, for a reason if you give one. The one that answers cannot be: 409."""
    return models.reject(services.settings, model_id, version, wanted.reason if wanted else "")


@router.get("/models/{model_id}/compare", tags=["models"], responses=problems(404, 409))
def compare(
    services: ServicesDep,
    model_id: Named,
    a: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Absent: the version that answers.")] = None,
    b: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Absent: the newest other one.")] = None,
) -> Comparison:
    """Compare two versions: the quality of each pair, and how the first ten of a sample of its sources moved."""
    return versions_compared.compare(services.settings, model_id, a, b)


@router.get("/models/{model_id}/gate", tags=["models"], responses=problems(404))
def show_gate(services: ServicesDep, model_id: Named) -> Gate:
    """Show what a new training has to hold to go live by itself."""
    return models.gate(services.settings, model_id)


@router.put("/models/{model_id}/gate", tags=["models"], responses=problems(404))
def set_gate(services: ServicesDep, model_id: Named, wanted: GateRequest) -> Gate:
    """Set it for trainings that end from now on; what is left out is as by default."""
    return models.set_gate(services.settings, model_id, wanted)


@router.delete("/models/{model_id}/gate", tags=["models"], responses=problems(404))
def reset_gate(services: ServicesDep, model_id: Named) -> Gate:
    """Let the defaults hold again, and answer them."""
    return models.set_gate(services.settings, model_id, None)


@router.post(
    "/models/{model_id}/cancel",
    tags=["models"],
    responses={202: {"model": ModelStatus, "description": "It has not ended yet."}, **problems(404, 409)},
)
async def cancel(
    services: ServicesDep,
    response: Response,
    model_id: Named,
    wait_seconds: Annotated[float, Query(ge=0, le=600, description="Answer after this time at the latest.")] = 30,
) -> ModelStatus:
    """End the running training or refresh of a model. Its status becomes `error`, "cancelled".

    One that is being published completes. Where neither runs: 409.
    """
    status = await end_training(services, model_id, wait_seconds)
    response.status_code = 202 if status.status == "running" else 200
    return status


async def end_training(services: Services, model_id: str, wait_seconds: float) -> ModelStatus:
    """Let the running training or refresh of a model end, and wait for that so long; its status then."""
    deadline = deadline_in(wait_seconds)
    row = await run_in_threadpool(run.cancel, services.settings, model_id)
    # A refresh looks up often, and its flow run may work on other models too.
    if row.flow_run_id and row.refresh_of is None:
        await services.runs.cancel(row.flow_run_id)
    look = partial(services.catalog.trainings.get, model_id, row.status.version)
    return (await wait_until(_has_ended, look, deadline)).status


@router.post("/models/{model_id}/refresh", status_code=202, tags=["models"], responses=problems(404, 409))
async def refresh(services: ServicesDep, model_id: Named) -> ModelStatus:
    """Precompute a model's recommendations again, with the interactions that were uploaded since, as each night.

    To be followed with `GET`. The vectors stay as they were trained. It makes a version of its own; the old one answers
    until then.
    """
    entered = await run_in_threadpool(run.enter_refresh, services.settings, model_id, "queued")
    started = await services.queue.begin(jobs.refresh(services.settings, entered))
    return entered.model_copy(update={"flow_run_url": started.url}) if started else entered


@router.get("/models/{model_id}/refresh", tags=["models"], responses=problems(404))
def show_refresh(services: ServicesDep, model_id: Named) -> ModelStatus:
    """Tell how far the latest refresh of a model has come, whoever began it; 404 where it has had none."""
    return models.refresh_status(services.settings, model_id)


@router.get("/models/{model_id}/deliveries", tags=["models"], responses=problems(404))
def list_deliveries(services: ServicesDep, model_id: Named) -> list[Delivery]:
    """List the callbacks of a model and what became of them, the newest first."""
    return models.deliveries(services.settings, model_id)


@router.post(
    "/models/{model_id}/deliveries/{event_id}/resend", status_code=202, tags=["models"], responses=problems(404)
)
def resend(
    services: ServicesDep, model_id: Named, event_id: Annotated[str, Path(description="As `deliveries` shows it.")]
) -> Delivery:
    """Send a callback once more, with the same id and content, within some seconds."""
    return models.resend(services.settings, model_id, event_id)


@router.get("/models/{model_id}/versions/{version}/lineage", tags=["models"], responses=problems(404, 409))
def show_lineage(
    services: ServicesDep,
    model_id: Named,
    version: VersionNumber,
) -> Lineage:
    """Show what a version was made of, by what, and what it gives: batches, choice of data, ancestors, answers, files.

    It has counts and names of files only, no values of rows. Of a version that is no longer kept, the records stay.
    """
    return lineage.lineage(services.settings, model_id, version)


_REPORT = {
    "model_id": "videos",
    "version": 1,
    "pairs": [
        {
            "source_type": "user",
            "target_type": "video",
            "figures": {"ranking": {"model": {"ndcg@10": {"mean": 0.192, "low": 0.164, "high": 0.22}}}},
        }
    ],
}


@router.get(
    "/models/{model_id}/versions/{version}/report",
    tags=["models"],
    responses={
        200: {"description": "The report; a part is shown.", "content": {"application/json": {"example": _REPORT}}},
        **problems(404, 409),
    },
)
def show_report(services: ServicesDep, model_id: Named, version: VersionNumber) -> dict[str, Any]:
    """Show how good a version is: figures on held-out interactions beside baselines, with intervals; and what it used.

    Each figure is explained under "Reading a report" in the documentation.
    """
    return reports.report_of(services.settings, model_id, version)


@router.get(
    "/models/{model_id}/versions/{version}/report/held_out",
    tags=["models"],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "JSON lines, gzipped, streamed.",
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}, "example": "…"}},
        },
        **problems(404, 409),
    },
)
def export_held_out(services: ServicesDep, model_id: Named, version: VersionNumber) -> StreamingResponse:
    """Give what the figures of a report are computed from: withheld interactions, and the lists that sources got.

    `lucid verify` computes every figure from it again.
    """
    pieces = reports.held_out_of(services.settings, model_id, version)
    name = f"held-out-{model_id.replace(':', '_')}-{version}.jsonl.gz"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="application/gzip", headers=headers)


@router.get("/models/{model_id}/schedules", tags=["models"], responses=problems(404))
def list_schedules(services: ServicesDep, model_id: Named) -> list[Schedule]:
    """List when a model is trained or refreshed by itself, also what people have scheduled in Prefect."""
    return schedules.of_model(services.settings, model_id)


@router.post("/models/{model_id}/schedules", status_code=201, tags=["models"], responses=problems(404))
def add_schedule(services: ServicesDep, model_id: Named, wanted: ScheduleRequest) -> Schedule:
    """Train or refresh a model by itself, at the times of a cron expression; answers the next three.

    A training does what the latest one of the model was asked to do.
    """
    return schedules.add(services.settings, model_id, wanted)


@router.delete("/models/{model_id}/schedules/{schedule_id}", tags=["models"], responses=problems(404))
def remove_schedule(
    services: ServicesDep, model_id: Named, schedule_id: Annotated[str, Path(description="As `schedules` shows it.")]
) -> Schedule:
    """Delete a schedule, and answer what it was."""
    return schedules.remove(services.settings, model_id, schedule_id)


@router.get("/models/{model_id}/auto_train", tags=["models"], responses=problems(404))
def show_auto_train(services: ServicesDep, model_id: Named) -> AutoTrain:
    """Show how a model is trained by itself after uploads, and when that is due next."""
    return auto_train.of_model(services.settings, model_id)


@router.put("/models/{model_id}/auto_train", tags=["models"], responses=problems(404))
def switch_auto_train_on(
    services: ServicesDep, model_id: Named, wanted: Annotated[AutoTrainRequest | None, Body()] = None
) -> AutoTrain:
    """Train a model by itself once uploads that its latest training would use have come to rest.

    Each further one starts the quiet time anew. What comes sooner after a training than the interval allows, or while
    one runs, is trained after it. A training does what the latest one of the model was asked to do.
    """
    return auto_train.switch_on(services.settings, model_id, wanted or AutoTrainRequest())


@router.delete("/models/{model_id}/auto_train", tags=["models"], responses=problems(404))
def switch_auto_train_off(services: ServicesDep, model_id: Named) -> AutoTrain:
    """Train a model after uploads no more, and answer how it was."""
    return auto_train.switch_off(services.settings, model_id)


def _has_ended(row: TrainingRow) -> bool:
    return row.status.status != "running"
