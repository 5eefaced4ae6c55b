"""Trainings and models: what a training is asked, its status, the versions of a model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic.config import JsonDict

from lucid.errors import UnknownVersion
from lucid.schema.fields import MAX_PARTS, MAX_RECOMMENDATIONS, KeyUse, ModelId, RunStatus, Stage, TextList, Time
from lucid.schema.filters import DataFilters

MaxMinutes = Annotated[float, Field(gt=0, le=10_080)]
"""How long a training shall take at most; a week is more than any needs."""

InteractionAge = Annotated[int, Field(ge=1, le=100_000)]
"""Days after which an interaction is too old."""


class PrecomputePair(BaseModel):
    """A pair whose recommendations are computed ahead for every source."""

    model_config = ConfigDict(extra="forbid")

    source_type: str = Field(min_length=1, description="Type of the entities that get recommendations.")
    target_type: str = Field(min_length=1, description="Type of the entities that are recommended.")
    max_recommendations: int = Field(MAX_RECOMMENDATIONS, ge=1, le=10_000, description="How many for each source.")


class InteractionRule(BaseModel):
    """What interactions of one type say, where names and values would decide otherwise."""

    model_config = ConfigDict(extra="forbid")

    weight: float | None = Field(
        None, ge=-100, le=100, description="How much they count; negative: they tell of dislike; 0: they are left out."
    )
    value_key: str | None = Field(
        None, min_length=1, max_length=1000, description="The metadata key that says how much, such as `rating`."
    )
    positive_above: float | None = Field(None, description="Values from here on tell of liking.")
    negative_below: float | None = Field(None, description="Values down from here tell of dislike.")

    @model_validator(mode="after")
    def _apart(self) -> "InteractionRule":
        if None not in (self.positive_above, self.negative_below) and self.negative_below >= self.positive_above:  # type: ignore[operator]
            raise ValueError("negative_below must be less than positive_above")
        return self


InteractionUse = InteractionRule | Literal["learned", "ignored"]
"""`learned` is as without a rule, `ignored` counts all interactions of the type alike."""


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
    interaction_rules: dict[str, InteractionUse] | None = Field(
        None,
        max_length=MAX_PARTS,
        description="What types of interactions say of liking and dislike, where the data would decide otherwise.",
        examples=[
            {"rated": {"value_key": "stars", "positive_above": 4, "negative_below": 2}, "returned": {"weight": -1}}
        ],
    )
    allow_type_changes: StrictBool = Field(
        False, description="Train even where more than 1% of a type's ids have become another type."
    )
    max_minutes: MaxMinutes | None = Field(
        None, description="Give up trying settings for which no time is left; the report says which."
    )


class TrainingCall(TrainingRequest):
    """A training as it is asked for over HTTP."""

    dry_run: StrictBool = Field(
        False, description="Start nothing; answer what would be selected, and what time and memory it would take."
    )

    def request(self) -> TrainingRequest:
        """What a training is asked to do."""
        return TrainingRequest.model_validate(self.model_dump(exclude={"dry_run"}))


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
    "held": False,
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
    held: bool = Field(False, description="Whether its version does not answer, and waits to be promoted or rejected.")


class SelectionStep(BaseModel):
    """What one step of the selection keeps and removes, in rows."""

    step: str
    kept: int
    removed: int
    examples: list[str] = []


class RelationCount(BaseModel):
    """How many edges a relation has from one type to another: interactions, links of metadata, words of texts."""

    source_type: str
    relation: str
    target_type: str
    count: int


class PairCount(BaseModel):
    """A pair that interactions link, and how many of its entities they link, each once."""

    source_type: str
    target_type: str
    interactions: int


_ESTIMATE_EXAMPLE: JsonDict = {
    "model_id": "videos",
    "data_batch_ids": ["0f8fad5bd9cb469fa16570867728950e"],
    "steps": [{"step": "entities: latest version of each id", "kept": 9962, "removed": 0, "examples": []}],
    "entity_types": {"user": 6040, "video": 3883},
    "relations": [
        {"source_type": "user", "relation": "interaction:watched", "target_type": "video", "count": 1_000_209}
    ],
    "pairs": [{"source_type": "user", "target_type": "video", "interactions": 1_000_209}],
    "precomputed": [{"source_type": "user", "target_type": "video", "max_recommendations": 100}],
    "seconds": 95.5,
    "seconds_by_stage": {"select": 3.1, "build": 4.0, "fit": 78.2, "evaluate": 4.1, "precompute": 6.1},
    "memory_bytes": 1_900_000_000,
    "memory_by_part": {"program": 450_000_000, "vectors of entities": 800_000_000, "edges": 650_000_000},
    "memory_available_bytes": 6_400_000_000,
    "fits": True,
    "message": "about 2 min and 1.9 GB of memory, of which 6.4 GB are available",
    "based_on": "the last training of this model",
}


class TrainingEstimate(BaseModel):
    """What a training would select, and about how long it would take and how much memory it would need."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ESTIMATE_EXAMPLE]})

    model_id: str | None = Field(description="As asked; a training of no name would get one.")
    data_batch_ids: list[str]
    steps: list[SelectionStep] = Field(description="As in the training report.")
    entity_types: dict[str, int] = Field(description="How many entities each type has, those made of metadata as well.")
    relations: list[RelationCount]
    pairs: list[PairCount]
    precomputed: list[PrecomputePair] = Field(description="What recommendations would be computed ahead for.")
    seconds: float = Field(ge=0, description="From the start of its work, without waiting for its turn.")
    seconds_by_stage: dict[str, float]
    memory_bytes: int = Field(ge=0, description="The most memory that its process would hold.")
    memory_by_part: dict[str, int]
    memory_available_bytes: int | None = Field(
        description="What is left for it beside trainings that work at this moment; null where memory is not looked at."
    )
    fits: bool = Field(description="Whether it fits once others are done; one that does not is refused.")
    message: str
    based_on: str = Field(description="Where the speed comes from: earlier trainings, or a probe of the machine.")


VersionState = Literal["live", "held", "rejected", "kept"]


class Version(BaseModel):
    """One finished training of a model, or a refresh of one; immutable."""

    version: int
    created: Time
    live: bool = Field(description="Whether this version answers.")
    state: VersionState = Field(
        description="`live` answers; `held` waits to be promoted or rejected; `rejected` was, by somebody or because a "
        "newer training was finished first; `kept` is there to be rolled back to, or waits behind a pinned one."
    )
    reason: str | None = Field(None, description="Why it is held or rejected.")
    pinned: bool = Field(False, description="Whether it answers until it is unpinned, whatever is trained.")
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
                        {
                            "version": 1,
                            "created": "2026-05-03T09:00:00.000Z",
                            "live": True,
                            "state": "live",
                            "pinned": False,
                            "bytes": 2_000_000,
                        }
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


def held_version(model: Model) -> int:
    """The version of a model that waits to be promoted or rejected; raises UnknownVersion where none does."""
    held = [version.version for version in model.versions if version.state == "held"]
    if not held:
        raise UnknownVersion(f"no version of model {model.model_id!r} is held; name the version")
    return held[-1]


class Rollback(BaseModel):
    """Which version shall answer again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}]})

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Absent: the one before.")


class Pin(BaseModel):
    """Which version shall answer until it is unpinned."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}]})

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Absent: the one that answers.")


class Rejection(BaseModel):
    """Why a version is rejected."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "last month is missing"}]})

    reason: str = Field("", max_length=500, description="For whoever looks at the version later.")
