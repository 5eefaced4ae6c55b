"""Batches: upload, list, delete."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import State

from api.auth import Guarded
from api.idempotency import Given
from api.lists import Listed, split
from api.openapi import problems
from api.runs import IMPORT_DATA
from api.uploads import Upload, receive
from lucid.data.batches import (
    delete_batches,
    new_batches,
    rejected_rows,
    remove_batch_files,
    update_batches,
    upload_folder,
)
from lucid.data.csv_load import read_kind
from lucid.errors import InvalidRequest, LucidError, MachineError, Unavailable, UnknownBatch, UnusableFile, error_of
from lucid.schema.batches import MAX_FILES, Batch, BatchChange
from lucid.schema.fields import OnError, check
from lucid.serving.rendering import rejects_csv
from lucid.settings import Settings
from lucid.store.catalog import Catalog, Entered, RequestKey
from lucid.store.files import make_folder

router = APIRouter(route_class=Guarded, prefix="/data_batch", tags=["data"])
_POLL_SECONDS = 0.25


class UploadForm(BaseModel):
    """The fields of an upload besides its files."""

    model_config = ConfigDict(extra="forbid")

    tags: Listed = Field([], description="Repeated or separated by commas.")
    on_error: OnError = Field("set_aside", description="Set bad rows aside, or refuse the file.")
    wait_seconds: float = Field(30, ge=0, le=600, description="Answer after this time at the latest.")


_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "maxItems": MAX_FILES,
    "description": "CSV files, one batch each.",
}
_FORM = UploadForm.model_json_schema()
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {**_FORM, "properties": {"files": _FILES, **_FORM["properties"]}, "required": ["files"]},
            "example": {"files": ["id,type,name,metadata,media_url\nuser_1,user,Ann,,\n"], "tags": ["2026"]},
        }
    },
}
_REJECTS = "line,column,code,message,value\n17,media_url,invalid_url,not an http(s) URL,ftp://a.org\n"

BatchIds = Annotated[
    Listed | None,
    Query(description="Repeated or separated by commas.", examples=[["0f8fad5bd9cb469fa16570867728950e"]]),
]
Tags = Annotated[
    Listed | None, Query(description="A batch must carry all of them; repeated or by commas.", examples=[["2026"]])
]


@router.post(
    "",
    responses={202: {"model": list[Batch], "description": "The import still runs."}, **problems(404, 413)},
    openapi_extra={"requestBody": _BODY},
)
async def upload(request: Request, response: Response, given: Given) -> list[Batch]:
    """Upload files of entities or interactions, .csv or .csv.gz; all of them are imported, or none.

    A repeat with the same `Idempotency-Key` answers the batches of the first call as they are now.
    """
    state = request.app.state
    # Read here and not as parameters, which FastAPI would read before it asks for the key.
    receiving = upload_folder(state.settings.home, uuid4().hex)
    make_folder(receiving)
    try:
        form = await receive(request, receiving, state.settings.max_file_bytes, digesting=given is not None)
        options = _options(form)
        batches = new_batches(form.names, split(options.tags) or [])
        key = given.of("POST /data_batch", _asked(form, options, batches)) if given else None
        ids = await _begin(state, form.paths, batches, options.on_error, key)
    finally:
        await run_in_threadpool(shutil.rmtree, receiving, ignore_errors=True)
    try:
        finished = await _wait(state.settings, state.catalog, ids, options.wait_seconds)
    except UnknownBatch as error:
        raise await run_in_threadpool(_why_gone, state.catalog, key, error) from None
    await run_in_threadpool(state.shelf.refresh)
    response.status_code = 202 if any(batch.status == "running" for batch in finished) else 200
    return finished


def _options(form: Upload) -> UploadForm:
    """The fields besides the files, of which there must be one; raises InvalidRequest."""
    if not form.paths:
        raise InvalidRequest("files: send one or more CSV files in the form field 'files' (multipart/form-data)")
    single = {name: values[-1] for name, values in form.fields.items() if name != "tags"}
    return check(UploadForm, {**single, "tags": form.fields.get("tags", [])})


def _asked(form: Upload, options: UploadForm, batches: Sequence[Batch]) -> dict[str, Any]:
    """All that an upload asks for, the same however it is sent; how long its client waits is not part of it."""
    files = [[batch.file_name, digest] for batch, digest in zip(batches, form.digests, strict=True)]
    return {"files": files, "tags": sorted(batches[0].tags), "on_error": options.on_error}


async def _begin(
    state: State, received: Sequence[Path], batches: Sequence[Batch], on_error: OnError, key: RequestKey | None
) -> list[str]:
    """Enter an import and start it; returns the ids of its batches, for a repeat those of the first call.

    Whoever finds that no flow run was made for them makes it, so that a call that was cut short is brought to its end.
    """
    ids = [batch.batch_id for batch in batches]
    try:
        entered = await run_in_threadpool(_enter, state.settings, state.catalog, received, batches, key)
        ids = entered.batch_ids
        if not entered.begun:
            # The files of a repeat have the names of the first ones, or it would be another request.
            files = [_path(state.settings, batch_id, batch) for batch_id, batch in zip(ids, batches, strict=True)]
            run_id, _ = await state.runs.create(
                IMPORT_DATA,
                {"files": [str(file) for file in files], "on_error": on_error, "batch_ids": ids},
                work=ids[0],
            )
            await run_in_threadpool(state.catalog.set_batch_flow_run, ids, run_id)
    except BaseException:  # also where the client went away: nothing of a broken upload stays
        await run_in_threadpool(_withdraw, state.settings, state.catalog, ids)
        raise
    return ids


@router.get("", responses=problems(404))
def get_batches(
    request: Request,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """Batches in upload order; all of them without parameters."""
    catalog: Catalog = request.app.state.catalog
    return catalog.batches(split(batch_id), split(tags))


@router.patch("", responses=problems(404))
def change_batches(
    request: Request,
    change: BatchChange,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """Give batches other tags, archive them, or take them back."""
    changed = update_batches(request.app.state.catalog, split(batch_id), split(tags), change)
    request.app.state.shelf.refresh()
    return changed


@router.get(
    "/{batch_id}/errors",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "All of them, streamed.",
            "content": {"text/csv": {"schema": {"type": "string"}, "example": _REJECTS}},
        },
        **problems(404),
    },
)
def get_errors(
    request: Request,
    batch_id: Annotated[str, InPath(description="Id of the batch.", examples=["0f8fad5bd9cb469fa16570867728950e"])],
) -> StreamingResponse:
    """All rows of a batch that were set aside, as CSV: line, column, code, message, value."""
    state = request.app.state
    rows = rejected_rows(state.settings.home, state.catalog, batch_id)
    # The id is one of ours, for it was found.
    headers = {"Content-Disposition": f'attachment; filename="rejected-{batch_id}.csv"'}
    return StreamingResponse(rejects_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.delete("", responses=problems(404))
def remove_batches(
    request: Request,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """Delete batches; an earlier version of an entity that they held counts again from the next training on."""
    state = request.app.state
    deleted = delete_batches(state.settings.home, state.catalog, split(batch_id), split(tags))
    state.shelf.refresh()
    return deleted


def _enter(
    settings: Settings, catalog: Catalog, received: Sequence[Path], batches: Sequence[Batch], key: RequestKey | None
) -> Entered:
    """Store what came in and enter it; what a first call with the key has stored and entered takes its place."""
    entered = None
    try:
        _store(settings, received, batches)
        entered = catalog.enter_batches(batches, key=key)
    except UnusableFile:
        if key:
            catalog.knows(key)  # raises where another file came with it
        raise
    finally:
        for batch in batches:
            if entered is None or batch.batch_id not in entered.batch_ids:
                remove_batch_files(settings.home, batch.batch_id)
    return entered


def _store(settings: Settings, received: Sequence[Path], batches: Sequence[Batch]) -> None:
    """Move uploads to where their imports find them, and refuse at once what a header shows to be unusable."""
    for source, batch in zip(received, batches, strict=True):
        path = _path(settings, batch.batch_id, batch)
        make_folder(path.parent)
        read_kind(source.rename(path))


def _path(settings: Settings, batch_id: str, batch: Batch) -> Path:
    return upload_folder(settings.home, batch_id) / batch.file_name


def _withdraw(settings: Settings, catalog: Catalog, batch_ids: Sequence[str]) -> None:
    """Forget an upload that could not be started, unless a repeat of it has started it."""
    if catalog.withdraw_batches(batch_ids):
        for batch_id in batch_ids:
            remove_batch_files(settings.home, batch_id)


def _forget(settings: Settings, catalog: Catalog, batch_ids: Sequence[str]) -> None:
    """Remove batches that nobody uses; one that cannot be taken out of the catalog now is ended by the sweep."""
    for batch_id in batch_ids:  # first, for that may make room
        remove_batch_files(settings.home, batch_id)
    with suppress(MachineError):
        catalog.delete_batches(batch_ids)


def _why_gone(catalog: Catalog, key: RequestKey | None, error: UnknownBatch) -> LucidError:
    """What to say of batches that a call waits for and that are there no more."""
    if key is None:
        return error
    if not catalog.knows(key):
        return Unavailable("the first call with this key could not start the import, or the import stopped; try again")
    deleted = "deleted since the first call with this Idempotency-Key; to import the files again, send a new key"
    return UnknownBatch(f"{error.message}: {deleted}")


async def _wait(settings: Settings, catalog: Catalog, batch_ids: Sequence[str], seconds: float) -> list[Batch]:
    """The batches once they are imported, or as they are when the time is over.

    Raises what made one fail; UnknownBatch where one was deleted meanwhile.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            batches = await run_in_threadpool(catalog.batches, batch_ids)
        except UnknownBatch:  # a call with the same key may have told why and removed them
            await _raise_failure(settings, catalog, batch_ids)
            raise
        if any(batch.status == "error" for batch in batches):
            await _raise_failure(settings, catalog, batch_ids)
        elif all(batch.status == "completed" for batch in batches) or time.monotonic() >= deadline:
            return batches
        await asyncio.sleep(_POLL_SECONDS)


async def _raise_failure(settings: Settings, catalog: Catalog, batch_ids: Sequence[str]) -> None:
    """Raise what made one of the batches fail, if one did, and forget them."""
    failure = await run_in_threadpool(catalog.failure, batch_ids)
    if failure is not None:
        await run_in_threadpool(_forget, settings, catalog, batch_ids)
        message, code = failure
        raise error_of(code, message)
