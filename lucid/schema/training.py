"""Trainings and models: what a training is asked, its status, the versions of a model."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.config import JsonDict

from lucid.schema.fields import MAX_PARTS, MAX_RECOMMENDATIONS, KeyUse, ModelId, RunStatus, Stage, TextList, Time
from lucid.schema.filters import DataFilters

InteractionAge = Annotated[int, Field(ge=1, le=100_000)]
"""Days after which an interaction is too old."""


class PrecomputePair(BaseModel):
    """A pair whose recommendations are computed ahead for every source."""

    model_config = ConfigDict(extra="forbid")

    source_type: str = Field(min_length=1, description="Type of the entities that get recommendations.")
    target_type: str = Field(min_length=1, description="Type of the entities that are recommended.")
    max_recommendations: int = Field(MAX_RECOMMENDATIONS, ge=1, le=10_000, description="How many for each source.")


class TrainingRequest(BaseModel):
    """What a training is asked to do."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model_id": "videos", "maximum_interaction_age_days": 365, "data_tags": ["2026"]}]
        },
    )

    model_id: ModelId | None = Field(
        None, description="Name of the model; one that exists is replaced. Made up if absent."
    )
    maximum_interaction_age_days: InteractionAge | None = Field(
        None, description="Leave out older interactions; those without a timestamp stay."
    )
    data_tags: TextList | None = Field(
        None, description="Batches that carry any of these take part; absent: every batch not archived."
    )
    callback_url: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="Called with the status object when the training ends.",
        json_schema_extra={"pattern": "^https?://"},
    )
    precompute: list[PrecomputePair] | None = Field(
        None,
        max_length=MAX_PARTS,
        description="Further pairs to compute ahead; pairs that interactions link always are.",
    )
    data_filters: DataFilters | None = Field(
        None, description="Conditions on entities and interactions; a removed entity takes its interactions with it."
    )
    metadata_rules: dict[str, KeyUse] | None = Field(
        None, description="How to use metadata keys, where the data would decide otherwise."
    )
    allow_type_changes: StrictBool = Field(
        False, description="Train even where more than 1% of a type's ids have become another type."
    )


_STATUS_EXAMPLE: JsonDict = {
    "model_id": "videos",
    "version": 2,
    "status": "running",
    "stage": "fit",
    "progress": 42.5,
    "message": "weighing relations, about 40 s left",
    "start_timestamp": "2026-05-04T12:31:00.000Z",
    "end_timestamp": None,
    "data_batch_ids": ["0f8fad5bd9cb469fa16570867728950e"],
    "flow_run_url": "http://127.0.0.1:4200/runs/flow-run/4f2a3c1e-5f0b-4f60-9d0a-6a2b8f7c1d3e",
}


class ModelStatus(BaseModel):
    """How far a training or a refresh of a model has come, or how it ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATUS_EXAMPLE]})

    model_id: str
    version: int
    status: RunStatus
    stage: Stage
    progress: float = Field(ge=0, le=100)
    message: str = Field(
        "",
        description="What is being done, and about how long the rest takes, as far as that is known; or why it failed.",
    )
    start_timestamp: Time
    end_timestamp: Time | None = None
    data_batch_ids: list[str] = []
    flow_run_url: str | None = None


class Version(BaseModel):
    """One finished training of a model, or a refresh of one; immutable."""

    version: int
    created: Time
    live: bool = Field(description="Whether this version answers.")
    refresh_of: int | None = Field(None, description="The version whose vectors it took over; null for a training.")
    bytes: int = Field(description="What its files take of the disk.")
    report: dict[str, Any] | None = Field(None, description="The training report; null where models are listed.")


class Model(BaseModel):
    """A model: its latest training and refresh, and the finished versions that are kept, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "live_version": 1,
                    "training": _STATUS_EXAMPLE,
                    "refresh": None,
                    "versions": [
                        {"version": 1, "created": "2026-05-03T09:00:00.000Z", "live": True, "bytes": 2_000_000}
                    ],
                }
            ]
        }
    )

    model_id: str
    live_version: int | None = Field(description="The version that answers; null before the first one is finished.")
    training: ModelStatus
    refresh: ModelStatus | None = Field(None, description="Its latest refresh; null where it has had none.")
    versions: list[Version]


class Rollback(BaseModel):
    """Which version shall answer again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}]})

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Absent: the one before.")
