"""Queries for recommendations, and the rows of their answers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic.config import JsonDict

from lucid.schema.fields import (
    MAX_RECOMMENDATIONS,
    Exclude,
    Hidden,
    Id,
    IdList,
    ModelId,
    OutputFormat,
    ServedBy,
    Text,
    TextList,
    Use,
    given,
)
from lucid.schema.filters import ENTITY_FIELDS, Condition, known_fields

MAX_SESSION = 1000
"""Entities that a session may hold."""


class WeightedSource(BaseModel):
    """One of several sources that are asked for as one."""

    model_config = ConfigDict(extra="forbid")

    id: Id = Field(description="An entity.")
    weight: float = Field(1, ge=-1000, le=1000, description="How much it counts; a negative one pushes away.")


def weights_of(sources: Iterable[WeightedSource]) -> dict[str, float]:
    """The weight of each id, summed where it stands several times."""
    weights: dict[str, float] = {}
    for source in sources:
        weights[source.id] = weights.get(source.id, 0) + source.weight
    return weights


class SessionItem(BaseModel):
    """An entity that somebody came to."""

    model_config = ConfigDict(extra="forbid")

    id: Id = Field(description="An entity.", examples=["video_1"])
    type: Text | None = Field(None, description="Its type, where the id alone does not tell it.", examples=["video"])
    timestamp: datetime | None = Field(
        None, description="When: ISO 8601 (no offset: UTC) or Unix seconds. Give it of all or of none."
    )


def session_of(items: object) -> object:
    """A session as Python takes it, where an id stands for an entity of which nothing else is said."""
    if isinstance(items, str) or not isinstance(items, Iterable):
        return items
    return [item if isinstance(item, Mapping) else {"id": item} for item in items]


def in_order(session: Sequence[SessionItem]) -> list[SessionItem]:
    """A session in the order of time, or as it was given where no times were."""
    times = [
        moment if (moment := item.timestamp) is None or moment.tzinfo else moment.replace(tzinfo=UTC)
        for item in session
    ]
    order = sorted(range(len(session)), key=lambda place: times[place] or datetime.min.replace(tzinfo=UTC))
    return [session[place] for place in order]


_WITH_TARGETS: JsonDict = {
    **given("target_type"),
    "not": {"required": ["use"], "properties": {"use": {"const": "similar"}}},
}

_SIMILAR: JsonDict = {"required": ["use"], "properties": {"use": {"const": "similar"}}, "not": given("target_type")}


class RecommendationQuery(BaseModel):
    """A question for recommendations: for which sources, of which type, how many."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {
                    "oneOf": [
                        given("source_id"),
                        given("entity_id"),
                        given("source_type"),
                        given("sources"),
                        given("session"),
                    ]
                },
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
    source_id: IdList | None = Field(None, description="One entity or several.", examples=["user_1"])
    entity_id: IdList | None = Field(None, description="Alias of source_id.", exclude=True)
    source_type: TextList | None = Field(None, description="All entities of one type or several.")
    sources: list[WeightedSource] | None = Field(
        None, min_length=1, max_length=100, description="Several entities of one type, asked for as one."
    )
    session: list[SessionItem] | None = Field(
        None,
        min_length=1,
        max_length=MAX_SESSION,
        description="What somebody came to, oldest first, who need not be known; nothing of it is stored. What is "
        "recommended follows its latest entities, where the order of interactions tells that.",
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
    exclude_disliked: StrictBool = Field(
        True, description="Leave out what the source disliked, also where `exclude_interacted` is false."
    )
    exclude: Exclude = Field(
        "all",
        description="Which interactions count for `exclude_interacted`: `all` that are known, those included that "
        "`data_filters` and `maximum_interaction_age_days` kept from the model, or only the `learned` ones.",
    )
    explain: StrictBool = Field(False, description="Say of each recommendation what contributed to it.")
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

    @field_validator("session")
    @classmethod
    def _times_of_all(cls, session: list[SessionItem] | None) -> list[SessionItem] | None:
        timed = sum(item.timestamp is not None for item in session or ())
        if session and timed not in (0, len(session)):
            raise ValueError(f"{timed} of {len(session)} entities have a timestamp; give it of all or of none")
        return session

    @model_validator(mode="after")
    def _one_source(self) -> "RecommendationQuery":
        if self.source_id and self.entity_id:
            raise ValueError("give source_id or its alias entity_id, not both")
        self.source_id = self.source_id or self.entity_id
        given = self.source_id, self.source_type, self.sources, self.session
        if [bool(one) for one in given].count(True) != 1:
            raise ValueError("give exactly one of source_id, source_type, sources and session")
        if (self.use == "similar") == bool(self.target_type):
            raise ValueError("give target_type, or use=similar for targets of the source's own type")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that takes more than what was computed ahead."""
        return self.excluded == "all" and not (self.explain or self.target_filter or self.sources or self.session)

    @property
    def excluded(self) -> Hidden | None:
        """Which of a source's interactions are not recommended to it; None for no such limit."""
        return self.exclude if self.exclude_interacted else "disliked" if self.exclude_disliked else None


EXPLANATION = "explanation"
"""Column of an answer that explains itself."""


class Recommendation(NamedTuple):
    """One row of an answer; `rank` counts from 1 within its source, `probability` (0-1) is the chance of a hit."""

    source_id: str
    target_id: str
    score: float
    rank: int
    probability: float
    target_type: str
    name: str
    served_by: ServedBy
