"""What has happened to batches and models, as events of Prefect: its UI lists them, its automations act on them.

A flow run tells what it has done when it is done. What commands, erasures and processes that died have left untold, the
service tells a little later. The id of an event follows from what happened, so Prefect keeps it once, whoever tells it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from lucid.errors import LucidError
from lucid.schema.fields import format_time, utc_now
from lucid.service.prefect_api import PrefectApi
from lucid.service.run import prefect_auth
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.batches import ImportedBatch
from lucid.store.tables.trainings import TrainingRow
from lucid.training.report import read_report
from lucid.versions.counts import count_precomputed
from lucid.versions.lifecycle import ModelVersions

IMPORTED = "lucid.batch.imported"
TRAINED, FAILED = "lucid.training.completed", "lucid.training.failed"
PUBLISHED, REFRESHED = "lucid.version.published", "lucid.recommendations.refreshed"
HELD = "lucid.version.held"

KIND = "lucid.resource"
"""The label that says whether an event is about a batch or a model."""
_IDS = UUID("5b0c8f0e-6a0c-5a43-9a6e-6f1d7a1a2f54")
"""The namespace of the ids of our events; never changed, or Prefect would be told twice."""
_RUNS_FIRST = timedelta(seconds=10)
"""So long what has ended is left to its run to tell."""
_MOST_TAGS = 50
"""How many tags an event relates to; Prefect takes 100 resources in all."""

Resource = dict[str, str]


@dataclass(frozen=True)
class Event:
    """An event as Prefect takes it: what happened when to which resource, and what that has to do with."""

    event: str
    resource: Resource
    occurred: datetime
    related: list[Resource]
    payload: dict[str, Any]
    id: UUID

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "occurred": format_time(self.occurred), "id": str(self.id)}


def tag_resource(tag: str) -> str:
    """The id by which events relate to a tag of batches, in which nothing stands for a pattern."""
    return f"lucid.tag.{quote(tag, safe='')}"


def of_batches(settings: Settings, batch_ids: Sequence[str]) -> list[Event]:
    """What is to be told of imported batches, as far as it is not known to be told."""
    return [_of_batch(one) for one in Catalog(settings.home).batches.untold(batch_ids)]


def of_training(settings: Settings, row: TrainingRow) -> Iterator[Event]:
    """What is to be told of the end of a training, a refresh or an erasure; nothing where it has left all as it was."""
    kind, completed = row.kind, row.status.status == "completed"
    if kind == "training":
        yield _of_model(row, TRAINED if completed else FAILED, _ending(row))
    if row.status.held:
        yield _of_model(row, HELD, _ending(row))
    elif kind and completed and _may_answer(settings, row):
        made = {"refresh_of": row.refresh_of, **made_of(settings, row)}
        if kind == "refresh":
            yield _of_model(row, REFRESHED, made)
        yield _of_model(row, PUBLISHED, {"made_by": kind, **made})


def _may_answer(settings: Settings, row: TrainingRow) -> bool:
    """Whether nothing is against a version: one that was rejected is not published."""
    versions = ModelVersions(settings.home, row.status.model_id)
    return versions.review(versions.version(row.status.version)) is None


def tell(settings: Settings) -> None:
    """Tell Prefect what is not known to be told, a hundred at a time; raises Unavailable where it does not answer.

    Runs come first, for they tell of themselves as well.
    """
    catalog, before = Catalog(settings.home), utc_now() - _RUNS_FIRST
    trainings = catalog.trainings.untold(before)
    batches = [_of_batch(one) for one in catalog.batches.untold(before=before)]
    if not (trainings or batches):
        return
    events = [*batches, *(event for row in trainings for event in of_training(settings, row))]
    if events:
        with PrefectApi(settings, prefect_auth(settings)) as prefect:
            prefect.call("POST", "/events", json=[event.to_json() for event in events])
    if batches:
        catalog.batches.set_told([event.payload["batch_id"] for event in batches])
    for row in trainings:
        catalog.trainings.set_told(row.status.model_id, row.status.version)


def _of_batch(one: ImportedBatch) -> Event:
    batch = one.batch
    return Event(
        IMPORTED,
        {
            "prefect.resource.id": f"lucid.batch.{batch.batch_id}",
            "prefect.resource.name": batch.file_name,
            KIND: "batch",
        },
        one.ended,
        [*_tags(batch.tags), *_flow_run(one.flow_run_id)],
        batch.model_dump(
            include={"batch_id", "file_name", "tags", "entity_count", "interaction_count", "rejected_count"}
        ),
        uuid5(_IDS, f"{IMPORTED} {batch.batch_id}"),
    )


def _of_model(row: TrainingRow, event: str, payload: dict[str, Any]) -> Event:
    status = row.status
    model_id, version, ended = status.model_id, status.version, status.end_timestamp
    assert ended is not None
    resource_id = f"lucid.model.{model_id}"
    return Event(
        event,
        {"prefect.resource.id": resource_id, "prefect.resource.name": model_id, KIND: "model"},
        ended,
        [
            {
                "prefect.resource.id": f"lucid.version.{model_id}.{version}",
                "prefect.resource.role": "version",
                "prefect.resource.name": f"{model_id} version {version}",
            },
            *_tags(row.request.get("data_tags") or ()),
            *_flow_run(row.flow_run_id),
        ],
        {"model_id": model_id, "version": version, **payload},
        # With the time, because after a new start from an empty home a version may come again.
        uuid5(_IDS, f"{event} {model_id} {version} {format_time(ended)}"),
    )


def _ending(row: TrainingRow) -> dict[str, Any]:
    status = row.status
    assert status.end_timestamp is not None
    seconds = (status.end_timestamp - status.start_timestamp).total_seconds()
    return {
        "message": status.message,
        "stage": status.stage,
        "seconds": round(seconds, 1),
        "batches": len(status.data_batch_ids),
    }


def made_of(settings: Settings, row: TrainingRow) -> dict[str, Any]:
    """What the version learned from and holds; nothing where it has been removed meanwhile, or is damaged."""
    version = ModelVersions(settings.home, row.status.model_id).version(row.status.version)
    counts: dict[str, Any] = {}
    with suppress(LucidError, FileNotFoundError):
        counts["interactions"] = read_report(version.folder).steps[-1].kept
        counts["recommendations"] = sum(pair.recommendations for pair in count_precomputed(version))
    return counts


def _tags(tags: Sequence[str]) -> list[Resource]:
    return [
        {
            "prefect.resource.id": tag_resource(tag),
            "prefect.resource.role": "data-tag",
            "prefect.resource.name": tag,
        }
        for tag in list(tags)[:_MOST_TAGS]
    ]


def _flow_run(flow_run_id: str | None) -> list[Resource]:
    if flow_run_id is None:
        return []
    return [{"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}]
