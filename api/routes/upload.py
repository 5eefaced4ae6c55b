"""Upload: files become batches, which are imported by a flow run."""

import shutil
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from lucid.api import imports
from lucid.api.auth import Guarded
from lucid.api.idempotency import Given, IdempotencyKey
from lucid.api.lists import Listed, split
from lucid.api.multipart import Upload, receive
from lucid.api.openapi import problems
from lucid.api.services import Services, ServicesDep
from lucid.api.waiting import deadline_in
from lucid.data.batches import new_batches
from lucid.errors import InvalidRequest
from lucid.schema.batches import MAX_FILES, Batch, naming_of
from lucid.schema.fields import OnError, check
from lucid.store.files import make_folder
from lucid.store.home import Home

router = APIRouter(route_class=Guarded, prefix="/data_batch", tags=["data"])


class UploadForm(BaseModel):
    """The fields of an upload besides its files."""

    model_config = ConfigDict(extra="forbid")

    tags: Listed = Field([], description="Repeated or separated by commas.")
    on_error: OnError = Field("set_aside", description="Set bad rows aside, or refuse the file.")
    source_type: str | None = Field(
        None, min_length=1, description="Type of the sources of interactions whose file has no column source_type."
    )
    target_type: str | None = Field(
        None, min_length=1, description="Type of the targets of interactions whose file has no column target_type."
    )
    namespace: bool = Field(
        False, description="Ids are those of their type: 1 of a user is stored and answered as user:1."
    )
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


@router.post(
    "",
    responses={202: {"model": list[Batch], "description": "The import still runs."}, **problems(404, 413)},
    openapi_extra={"requestBody": _BODY},
)
async def upload(services: ServicesDep, request: Request, response: Response, given: Given) -> list[Batch]:
    """Upload files of entities or interactions, .csv or .csv.gz; all of them are imported, or none.

    A repeat with the same `Idempotency-Key` answers the batches of the first call as they are now.
    """
    found = await take_upload(services, request, given)
    response.status_code = 202 if any(batch.status == "running" for batch in found) else 200
    return found


async def take_upload(services: Services, request: Request, given: IdempotencyKey | None = None) -> list[Batch]:
    """Receive the files of a request and import them, or begin to; see `upload`."""
    settings = services.settings
    # Read here and not as parameters, which FastAPI would read before it asks for the key.
    receiving = Home(settings.home).upload(uuid4().hex)
    make_folder(receiving)
    try:
        form = await receive(request, receiving, settings.max_file_bytes, digesting=given is not None)
        options = _options(form)
        batches = new_batches(form.names, split(options.tags) or [])
        naming = naming_of(options.source_type, options.target_type, namespace=options.namespace)
        key = given.of("POST /data_batch", _asked(form, options, batches)) if given else None
        ids = await imports.begin(services, form.paths, batches, imports.Wanted(options.on_error, naming), key)
    finally:
        await run_in_threadpool(shutil.rmtree, receiving, ignore_errors=True)
    found = await imports.wait(services, ids, key, deadline_in(options.wait_seconds))
    await run_in_threadpool(services.registry.refresh)
    return found


def _options(form: Upload) -> UploadForm:
    """The fields besides the files, of which there must be one; raises InvalidRequest."""
    if not form.paths:
        raise InvalidRequest("files: send one or more CSV files in the form field 'files' (multipart/form-data)")
    single = {name: values[-1] for name, values in form.fields.items() if name != "tags"}
    return check(UploadForm, {**single, "tags": form.fields.get("tags", [])})


def _asked(form: Upload, options: UploadForm, batches: Sequence[Batch]) -> dict[str, Any]:
    """All that an upload asks for, the same however it is sent; how long its client waits is not part of it."""
    files = [[batch.file_name, digest] for batch, digest in zip(batches, form.digests, strict=True)]
    asked = {"files": files, "tags": sorted(batches[0].tags), "on_error": options.on_error}
    # What a call does not say is no part of it, so that keys of earlier releases are known again.
    return asked | options.model_dump(include={"source_type", "target_type", "namespace"}, exclude_defaults=True)
