"""Batches: list, change, delete, and the rows of one that were set aside. How they come about: `upload`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from lucid.api.auth import Guarded
from lucid.api.lists import Listed, split
from lucid.api.openapi import problems
from lucid.api.services import ServicesDep
from lucid.data.batches import delete_batches, rejected_rows, update_batches
from lucid.schema.batches import Batch, BatchChange
from lucid.serving.rendering import rejects_csv

router = APIRouter(route_class=Guarded, prefix="/data_batch", tags=["data"])

_REJECTS = "line,column,code,message,value\n17,media_url,invalid_url,not an http(s) URL,ftp://a.org\n"

BatchIds = Annotated[
    Listed | None,
    Query(description="Repeated or separated by commas.", examples=[["0f8fad5bd9cb469fa16570867728950e"]]),
]
Tags = Annotated[
    Listed | None, Query(description="A batch must carry all of them; repeated or by commas.", examples=[["2026"]])
]


@router.get("", responses=problems(404))
def get_batches(
    services: ServicesDep,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """List batches in upload order; all of them without parameters."""
    return services.catalog.batches.find(split(batch_id), split(tags))


@router.patch("", responses=problems(404))
def change_batches(
    services: ServicesDep,
    change: BatchChange,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """Give batches other tags, archive them, or take them back."""
    changed = update_batches(services.catalog, split(batch_id), split(tags), change)
    services.registry.refresh()
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
    services: ServicesDep,
    batch_id: Annotated[str, Path(description="Id of the batch.", examples=["0f8fad5bd9cb469fa16570867728950e"])],
) -> StreamingResponse:
    """Give all rows of a batch that were set aside, as CSV: line, column, code, message, value."""
    rows = rejected_rows(services.settings.home, services.catalog, batch_id)
    # The id is one of ours, for it was found.
    headers = {"Content-Disposition": f'attachment; filename="rejected-{batch_id}.csv"'}
    return StreamingResponse(rejects_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.delete("", responses=problems(404))
def remove_batches(
    services: ServicesDep,
    batch_id: BatchIds = None,
    tags: Tags = None,
) -> list[Batch]:
    """Delete batches. An earlier version of an entity that they held counts again from the next training on."""
    deleted = delete_batches(services.settings.home, services.catalog, split(batch_id), split(tags))
    services.registry.refresh()
    return deleted
