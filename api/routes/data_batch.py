"""Batches: upload, list, delete."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Guarded
from api.lists import Listed, split
from api.openapi import problems
from api.runs import IMPORT_DATA
from api.uploads import MAX_FILES, Upload, receive
from lucid.catalog import Catalog
from lucid.errors import InvalidRequest, UnusableFile
from lucid.ingest import (
    delete_batches,
    new_batches,
    rejected_rows,
    remove_batch_files,
    update_batches,
    upload_folder,
)
from lucid.load import read_kind
from lucid.rendering import rejects_csv
from lucid.schema import Batch, BatchChange, OnError, check
from lucid.settings import Settings

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
    responses={202: {"model": list[Batch], "description": "The import still runs."}, **problems(413)},
    openapi_extra={"requestBody": _BODY},
)
async def upload(request: Request, response: Response) -> list[Batch]:
    """Upload files of entities or interactions, .csv or .csv.gz; all of them are imported, or none."""
    state = request.app.state
    # Read here and not as parameters, which FastAPI would read before it asks for the key.
    receiving = upload_folder(state.settings.home, uuid4().hex)
    receiving.mkdir(parents=True)
    try:
        form = await receive(request, receiving, state.settings.max_file_bytes)
        options = _options(form)
        batches = new_batches(form.names, split(options.tags) or [])
        ids = [batch.batch_id for batch in batches]
        try:
            paths = await run_in_threadpool(_store, state.settings, form.paths, batches)
            await run_in_threadpool(state.catalog.enter_batches, batches)
            run_id, _ = await state.runs.create(
                IMPORT_DATA,
                {"files": [str(path) for path in paths], "on_error": options.on_error, "batch_ids": ids},
            )
            await run_in_threadpool(state.catalog.set_batch_flow_run, ids, run_id)
        except BaseException:  # also where the client went away: nothing of a broken upload stays
            await run_in_threadpool(_forget, state.settings, state.catalog, ids)
            raise
    finally:
        await run_in_threadpool(shutil.rmtree, receiving, ignore_errors=True)
    finished = await _wait(state.settings, state.catalog, ids, options.wait_seconds)
    await run_in_threadpool(state.shelf.keep_up)
    response.status_code = 202 if any(batch.status == "running" for batch in finished) else 200
    return finished


def _options(form: Upload) -> UploadForm:
    """The fields besides the files, of which there must be one; raises InvalidRequest."""
    if not form.paths:
        raise InvalidRequest("files: send one or more CSV files in the form field 'files' (multipart/form-data)")
    single = {name: values[-1] for name, values in form.fields.items() if name != "tags"}
    return check(UploadForm, {**single, "tags": form.fields.get("tags", [])})


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
    request.app.state.shelf.keep_up()
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
    state.shelf.keep_up()
    return deleted


def _store(settings: Settings, received: Sequence[Path], batches: Sequence[Batch]) -> list[Path]:
    """Move uploads to where their imports find them, and refuse at once what a header shows to be unusable."""
    paths = []
    for source, batch in zip(received, batches, strict=True):
        path = upload_folder(settings.home, batch.batch_id) / batch.file_name
        path.parent.mkdir(parents=True)
        paths.append(source.rename(path))
        read_kind(path)
    return paths


def _forget(settings: Settings, catalog: Catalog, batch_ids: Sequence[str]) -> None:
    catalog.delete_batches(batch_ids)
    for batch_id in batch_ids:
        remove_batch_files(settings.home, batch_id)


async def _wait(settings: Settings, catalog: Catalog, batch_ids: Sequence[str], seconds: float) -> list[Batch]:
    """The batches once they are imported, or as they are when the time is over; raises UnusableFile."""
    deadline = time.monotonic() + seconds
    while True:
        batches = await run_in_threadpool(catalog.batches, batch_ids)
        if any(batch.status == "error" for batch in batches):
            failure = await run_in_threadpool(catalog.failure, batch_ids)
            assert failure is not None
            await run_in_threadpool(_forget, settings, catalog, batch_ids)
            raise UnusableFile(failure[0], code=failure[1])
        if all(batch.status == "completed" for batch in batches) or time.monotonic() >= deadline:
            return batches
        await asyncio.sleep(_POLL_SECONDS)
