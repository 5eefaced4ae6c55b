"""Data: what came in, what was set aside and why, and how it is taken out again."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import Screen
from lucid.api.console.pages import go_to, page, show
from lucid.api.console.quality import report_of
from lucid.api.console.viewer import FieldsDep, expect_typed
from lucid.api.routes import data_batch as api
from lucid.api.routes.upload import take_upload
from lucid.api.services import Services, ServicesDep
from lucid.data.batches import rejected_rows
from lucid.data.drift import Drift
from lucid.data.event_batches import last_compacted
from lucid.data.events import count_waiting_events, waiting_events
from lucid.errors import LucidError
from lucid.schema.batches import Batch, BatchChange, RejectedRow
from lucid.schema.events import WaitingEvent
from lucid.schema.fields import check
from lucid.versions.lifecycle import ModelVersions

router = APIRouter(route_class=Screen)

BatchId = Annotated[str, Path()]
MOST_BATCHES = 200
ROWS = 100
LATEST_EVENTS = 10


@dataclass(frozen=True)
class DataPage:
    """Batches, the newest first: all of them, or those with a tag."""

    batches: list[Batch]
    count: int
    tags: list[str]
    tag: str


@dataclass(frozen=True)
class EventsPage:
    """Events that wait to become rows of batches: how many, and the latest, the newest first.

    `compacted` is the newest batch that others became; None for none that is kept.
    """

    waiting: int
    latest: list[WaitingEvent]
    compacted: Batch | None


@dataclass(frozen=True)
class OddBatch:
    """Something odd about a batch that is there, and the name of its file."""

    file_name: str
    drift: Drift


@dataclass(frozen=True)
class DriftPage:
    """What trainings have found odd about batches, the newest batch first."""

    found: list[OddBatch]


@dataclass(frozen=True)
class RowsPage:
    """A batch, what is odd about it as a whole, and some of its rows that were set aside."""

    batch: Batch
    drift: list[Drift]
    rows: list[RejectedRow]
    start: int

    @property
    def more(self) -> bool:
        """Whether there may be further rows."""
        return len(self.rows) == ROWS


@dataclass(frozen=True)
class UploadedPage:
    """What has become of the files that were just sent."""

    batches: list[Batch]


@page(router, "/data", "data.html")
def show_data(services: ServicesDep, tag: Annotated[str, Query(max_length=200)] = "") -> DataPage:
    """What came in."""
    batches = services.catalog.batches.find()
    tags = sorted({one for batch in batches for one in batch.tags})
    shown = [batch for batch in reversed(batches) if not tag or tag in batch.tags]
    return DataPage(shown[:MOST_BATCHES], len(shown), tags, tag)


@page(router, "/data/drift", "drift.html")
def show_drift(services: ServicesDep) -> DriftPage:
    """What the live version of each model was told of the batches that it learned from."""
    return DriftPage(_odd(services))


@page(router, "/data/events", "events.html")
def show_events(services: ServicesDep) -> EventsPage:
    """What was accepted one by one and stands in no batch yet, though it counts in answers."""
    latest = waiting_events(services.settings, None, LATEST_EVENTS)
    waiting = count_waiting_events(services.settings)
    return EventsPage(waiting, latest[::-1], last_compacted(services.catalog))


@page(router, "/data/{batch_id}/rows", "rows.html")
def show_rows(services: ServicesDep, batch_id: BatchId, start: Annotated[int, Query(ge=0, le=10**9)] = 0) -> RowsPage:
    """What of a batch was set aside, row by row."""
    (batch,) = services.catalog.batches.find([batch_id])
    rows = (row for block in rejected_rows(services.settings.home, services.catalog, batch_id) for row in block)
    odd = [one.drift for one in _odd(services) if one.drift.batch_id == batch_id]
    return RowsPage(batch, odd, list(islice(rows, start, start + ROWS)), start)


@router.post(f"{CONSOLE}/data/upload", include_in_schema=False)
async def upload(request: Request, services: ServicesDep) -> Response:
    """Import files, and show what of them came in."""
    return show(request, "uploaded.html", UploadedPage(await take_upload(services, request)))


@router.post(f"{CONSOLE}/data/{{batch_id}}/tags", include_in_schema=False)
def change_tags(services: ServicesDep, batch_id: BatchId, fields: FieldsDep) -> Response:
    """Give a batch other tags."""
    tags = [tag.strip() for tag in fields.text("tags").split(",") if tag.strip()]
    api.change_batches(services, check(BatchChange, {"tags": tags}), [batch_id])
    return _to_data()


@router.post(f"{CONSOLE}/data/{{batch_id}}/archive", include_in_schema=False)
def archive(services: ServicesDep, batch_id: BatchId, fields: FieldsDep) -> Response:
    """Keep a batch out of trainings, or take it back."""
    api.change_batches(services, BatchChange(archived=fields.text("archived") == "true"), [batch_id])
    return _to_data()


@router.post(f"{CONSOLE}/data/{{batch_id}}/delete", include_in_schema=False)
def delete(services: ServicesDep, batch_id: BatchId, fields: FieldsDep) -> Response:
    """Delete a batch, once the name of its file was typed."""
    (batch,) = services.catalog.batches.find([batch_id])
    expect_typed(fields, batch.file_name)
    api.remove_batches(services, [batch_id])
    return _to_data()


def _odd(services: Services) -> list[OddBatch]:
    """What reports of live versions say of batches that are there still, each thing once."""
    home, found = services.settings.home, dict[tuple[str, str, str], Drift]()
    for model_id in services.catalog.trainings.models():
        with suppress(
            LucidError, FileNotFoundError
        ):  # it has no version yet, or a damaged one, which is told elsewhere
            version = ModelVersions(home, model_id).answering()
            with version.reading():
                found |= {(one.batch_id, one.code, one.message): one for one in report_of(version.folder).drift}
    batches = {batch.batch_id: batch.file_name for batch in services.catalog.batches.find()}
    newest = {batch_id: -place for place, batch_id in enumerate(batches)}
    there = [drift for drift in found.values() if drift.batch_id in batches]
    return [OddBatch(batches[one.batch_id], one) for one in sorted(there, key=lambda one: newest[one.batch_id])]


def _to_data() -> Response:
    return go_to("/data")
