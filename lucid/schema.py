"""The words of the contract as types: what comes in over a border, and what goes out.

Covers batches, training requests, status objects and recommendation queries. Holds no behaviour beyond
reading and checking values; all times are aware and in UTC.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from lucid.data.conditions import ENTITY_FIELDS, MAX_PARTS, Condition, DataFilters, known_fields
from lucid.errors import InvalidRequest

ENTITY_COLUMNS = ("id", "type", "name", "metadata", "media_url")
INTERACTION_COLUMNS = ("type", "source_id", "target_id", "timestamp", "metadata")

Kind = Literal["entities", "interactions"]
RunStatus = Literal["running", "completed", "error"]
OnError = Literal["set_aside", "abort"]
OutputFormat = Literal["json", "csv"]
Device = Literal["auto", "cpu", "cuda"]
Use = Literal["recommend", "similar"]
ServedBy = Literal["cache", "folded-in", "popular"]
"""Where an answer comes from: from the version as it is, computed ahead or just now; from the version and what was
uploaded since; or from popularity alone, as nothing is known of the source."""
Stage = Literal["queued", "select", "build", "fit", "evaluate", "precompute", "publish", "finished", "cancelling"]

KeyKind = Literal["entity", "number", "text", "identifier", "ignored"]
"""How the values of a metadata key are used."""

MAX_FILES = 100
"""How many files one call imports."""

MAX_TAGS, MAX_TAG = 50, 200
"""How many tags a batch may carry, and how long each may be."""

MAX_RECOMMENDATIONS = 100
"""How many recommendations a source gets where the request does not say."""

Checked = TypeVar("Checked", bound=BaseModel)

_MODEL_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def utc_now() -> datetime:
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Write an aware time as ISO 8601 in UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(model: type[Checked], values: dict[str, Any]) -> Checked:
    """Read values into a border type; raises InvalidRequest with one line that names each bad field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(describe(error)) from error


def describe(error: ValidationError) -> str:
    """One line that names each bad field and what is wrong with it."""
    problems = ((".".join(str(place) for place in detail["loc"]), detail["msg"]) for detail in error.errors())
    return "; ".join(": ".join(part for part in problem if part) for problem in problems)


def _check_model_id(model_id: str) -> str:
    if not _MODEL_ID.fullmatch(model_id):
        raise ValueError("must be 1 to 128 of the characters A-Z a-z 0-9 . _ - :")
    return model_id


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _given(name: str) -> JsonDict:
    """JSON schema of an object that has a property."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


ModelId = Annotated[
    str,
    AfterValidator(_check_model_id),
    WithJsonSchema({"type": "string", "pattern": f"^{_MODEL_ID.pattern}$", "examples": ["videos"]}),
]
Time = Annotated[
    datetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
Tag = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TAG, "pattern": "^[^,]*$"})]
Text = Annotated[str, Field(min_length=1)]
TextList = Annotated[
    list[Text],
    Field(min_length=1, fail_fast=True),  # a list may be long, and mostly all of it is wrong or nothing
    BeforeValidator(_as_list, json_schema_input_type=Text | Annotated[list[Text], Field(min_length=1)]),
]
"""One text or several, at least one."""


class RejectedRow(BaseModel):
    """One reason why one row was set aside."""

    line: int = Field(description="Line of the file on which the row starts; the header is line 1.")
    column: str | None = Field(description="Column that holds the bad value; null where the row as a whole is bad.")
    code: str
    message: str
    value: str | None = Field(description="The bad value, cut at 100 characters.")


@dataclass(frozen=True)
class LoadedFile:
    """What a file held: `loaded + rejected` is its number of rows."""

    kind: Kind
    loaded: int
    rejected: int
    errors: list[RejectedRow]


_BATCH_EXAMPLE: JsonDict = {
    "batch_id": "0f8fad5bd9cb469fa16570867728950e",
    "timestamp": "2026-05-04T12:30:00.000Z",
    "tags": ["2026"],
    "entity_count": 1200,
    "interaction_count": 0,
    "rejected_count": 1,
    "status": "completed",
    "message": "",
    "errors": [
        {
            "line": 17,
            "column": "media_url",
            "code": "invalid_url",
            "message": "not an http(s) URL",
            "value": "ftp://a.org",
        }
    ],
    "archived": False,
    "file_name": "entities.csv",
}


class Batch(BaseModel):
    """One uploaded file: immutable but for its tags and its archive mark."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH_EXAMPLE]})

    batch_id: str
    timestamp: Time
    tags: list[str]
    entity_count: int = 0
    interaction_count: int = 0
    rejected_count: int = 0
    status: RunStatus
    message: str = ""
    errors: list[RejectedRow] = []
    archived: bool = False
    file_name: str


class BatchChange(BaseModel):
    """What to change about batches; what is absent stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [_given("tags"), _given("archived")],
            "examples": [{"tags": ["2026"], "archived": False}],
        },
    )

    tags: Annotated[list[Tag], Field(fail_fast=True, max_length=MAX_TAGS)] | None = Field(
        None, description="The new tags; they take the place of the old ones."
    )
    archived: StrictBool | None = Field(None, description="Archived batches take part in no training.")

    @model_validator(mode="after")
    def _something(self) -> "BatchChange":
        if self.tags is None and self.archived is None:
            raise ValueError("give tags, archived or both")
        return self


class Erased(BaseModel):
    """What was erased, in each place; zero where nothing named the entities."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "entities": 1,
                    "interactions": 40,
                    "metadata_values": 0,
                    "rejected_rows": 0,
                    "models": 1,
                    "vectors": 1,
                    "recommendations": 130,
                }
            ]
        }
    )

    entities: int = Field(0, description="Rows of entities in batches.")
    interactions: int = Field(0, description="Rows of interactions in batches, from or to the entities.")
    metadata_values: int = Field(0, description="Values in the metadata of other rows.")
    rejected_rows: int = Field(0, description="Rows that were set aside; they stay counted, without their value.")
    models: int = Field(0, description="Models whose live version held one of the entities.")
    vectors: int = Field(0, description="Vectors in these versions.")
    recommendations: int = Field(0, description="Cached recommendations for or of the entities.")

    def __add__(self, other: "Erased") -> "Erased":
        mine, others = self.model_dump(), other.model_dump()
        return Erased.model_validate({place: mine[place] + others[place] for place in mine})


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
    maximum_interaction_age_days: int | None = Field(
        None, ge=1, le=100_000, description="Leave out older interactions; those without a timestamp stay."
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
    metadata_rules: dict[str, KeyKind] | None = Field(
        None, description="How to use metadata keys, where the data would decide otherwise."
    )


_STATUS_EXAMPLE: JsonDict = {
    "model_id": "videos",
    "version": 2,
    "status": "running",
    "stage": "fit",
    "progress": 42.5,
    "message": "weighing relations",
    "start_timestamp": "2026-05-04T12:31:00.000Z",
    "end_timestamp": None,
    "data_batch_ids": ["0f8fad5bd9cb469fa16570867728950e"],
    "flow_run_url": "http://127.0.0.1:4200/runs/flow-run/4f2a3c1e-5f0b-4f60-9d0a-6a2b8f7c1d3e",
}


class ModelStatus(BaseModel):
    """The state of the latest training of a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATUS_EXAMPLE]})

    model_id: str
    version: int
    status: RunStatus
    stage: Stage
    progress: float = Field(ge=0, le=100)
    message: str = ""
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
    report: dict[str, Any] | None = Field(None, description="The training report; null where models are listed.")


class Model(BaseModel):
    """A model: its latest training and the finished versions that are kept, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "live_version": 1,
                    "training": _STATUS_EXAMPLE,
                    "versions": [{"version": 1, "created": "2026-05-03T09:00:00.000Z", "live": True}],
                }
            ]
        }
    )

    model_id: str
    live_version: int | None = Field(description="The version that answers; null before the first one is finished.")
    training: ModelStatus
    versions: list[Version]


class Rollback(BaseModel):
    """Which version shall answer again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}]})

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Absent: the one before.")


class WeightedSource(BaseModel):
    """One of several sources that are asked for as one."""

    model_config = ConfigDict(extra="forbid")

    id: Text = Field(description="An entity.")
    weight: float = Field(1, ge=-1000, le=1000, description="How much it counts; a negative one pushes away.")


def weights_of(sources: Iterable[WeightedSource]) -> dict[str, float]:
    """The weight of each id, summed where it stands several times."""
    weights: dict[str, float] = {}
    for source in sources:
        weights[source.id] = weights.get(source.id, 0) + source.weight
    return weights


_WITH_TARGETS: JsonDict = {
    **_given("target_type"),
    "not": {"required": ["use"], "properties": {"use": {"const": "similar"}}},
}
_SIMILAR: JsonDict = {"required": ["use"], "properties": {"use": {"const": "similar"}}, "not": _given("target_type")}


class RecommendationQuery(BaseModel):
    """A question for recommendations: for which sources, of which type, how many."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {"oneOf": [_given("source_id"), _given("entity_id"), _given("source_type"), _given("sources")]},
                {"oneOf": [_WITH_TARGETS, _SIMILAR]},
            ],
            "examples": [
                {
                    "model_id": "videos",
                    "source_id": "user_1",
                    "target_type": "video",
                    "max_recommendations": 5,
                }
            ],
        },
    )

    model_id: ModelId = Field(description="Name of the model.")
    source_id: TextList | None = Field(None, description="One entity or several.", examples=["user_1"])
    entity_id: TextList | None = Field(None, description="Alias of source_id.", exclude=True)
    source_type: TextList | None = Field(None, description="All entities of one type or several.")
    sources: list[WeightedSource] | None = Field(
        None, min_length=1, max_length=100, description="Several entities of one type, asked for as one."
    )
    target_type: TextList | None = Field(
        None, description="What to recommend: one type or several.", examples=["video"]
    )
    use: Use = Field("recommend", description="`similar` recommends entities of the source's own type.")
    max_recommendations: int = Field(
        MAX_RECOMMENDATIONS, ge=1, le=10_000, description="How many at most for each source."
    )
    threshold: float = Field(0, ge=0, le=100, description="Leave out recommendations with a lower score.")
    target_filter: list[Condition] | None = Field(
        None, description="Conditions that targets must fulfil, as in data_filters.", max_length=100
    )
    output_format: OutputFormat = Field("json", description="One JSON object, or CSV with a header.")
    exclude_interacted: StrictBool = Field(True, description="Leave out what the source already interacted with.")
    explain: StrictBool = Field(False, description="Say of each recommendation what carried it.")
    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Ask this version instead of the live one.")

    @field_validator("target_filter")
    @classmethod
    def _known_fields(cls, conditions: list[Condition] | None) -> list[Condition] | None:
        return known_fields(conditions, ENTITY_FIELDS) if conditions else None

    @field_validator("sources")
    @classmethod
    def _some_weight(cls, sources: list[WeightedSource] | None) -> list[WeightedSource] | None:
        if sources and not any(weights_of(sources).values()):
            raise ValueError("the weights of an id are added, and at least one id must keep a weight")
        return sources

    @model_validator(mode="after")
    def _one_source(self) -> "RecommendationQuery":
        if self.source_id and self.entity_id:
            raise ValueError("give source_id or its alias entity_id, not both")
        self.source_id = self.source_id or self.entity_id
        if [bool(self.source_id), bool(self.source_type), bool(self.sources)].count(True) != 1:
            raise ValueError("give exactly one of source_id, source_type and sources")
        if (self.use == "similar") == bool(self.target_type):
            raise ValueError("give target_type, or use=similar for targets of the source's own type")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that takes more than what was computed ahead."""
        return self.exclude_interacted and not (self.explain or self.target_filter or self.sources)


EXPLANATION = "explanation"
"""Column of an answer that explains itself."""


class Recommendation(NamedTuple):
    """One row of an answer; `rank` counts from 1 within its source."""

    source_id: str
    target_id: str
    score: float
    rank: int
    target_type: str
    name: str
    served_by: ServedBy
