"""Queries for recommendations, and the rows of their answers."""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic.config import JsonDict

from lucid.schema.experiments import ExperimentName
from lucid.schema.fields import (
    MAX_RECOMMENDATIONS,
    Exclude,
    Id,
    IdList,
    ModelId,
    OutputFormat,
    ServedBy,
    TextList,
    Use,
    given,
)
from lucid.schema.filters import ENTITY_FIELDS, Condition, known_fields

MAX_NOTED_SOURCES, MAX_NOTED_ROWS = 100, 10_000
"""How many sources an answer may have that is noted, and how many rows at most."""


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
                {"oneOf": [given("source_id"), given("entity_id"), given("source_type"), given("sources")]},
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
    exclude: Exclude = Field(
        "all",
        description="Which interactions count for `exclude_interacted`: `all` that are known, those included that "
        "`data_filters` and `maximum_interaction_age_days` kept from the model, or only the `learned` ones.",
    )
    explain: StrictBool = Field(False, description="Say of each recommendation what contributed to it.")
    version: int | None = Field(None, ge=1, le=2**31 - 1, description="Ask this version instead of the live one.")
    recommendation_id: StrictBool = Field(
        False, description="Note what is shown; the answer has an id, which events may name as theirs."
    )
    experiment: ExperimentName | None = Field(
        None, description="Answer each source as its variant of this experiment wants it, and note what is shown."
    )

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

    @model_validator(mode="after")
    def _may_be_noted(self) -> "RecommendationQuery":
        if not self.is_noted:
            return self
        asked = "recommendation_id" if self.experiment is None else "experiment"
        if self.source_type or len(self.source_id or ()) > MAX_NOTED_SOURCES:
            found = "all of a type" if self.source_type else f"{len(self.source_id or ()):,}"
            raise ValueError(
                f"{asked} is for what is shown to people: found {found}, expected at most {MAX_NOTED_SOURCES} sources "
                "in source_id; make several calls, or leave it out"
            )
        rows = len(self.source_id or [""]) * self.max_recommendations
        if rows > MAX_NOTED_ROWS:
            raise ValueError(
                f"{asked}: found {rows:,} rows (sources times max_recommendations), expected at most "
                f"{MAX_NOTED_ROWS:,}; ask for as many as you show"
            )
        if self.experiment is not None:
            self._expect_to_fit_an_experiment()
        return self

    def _expect_to_fit_an_experiment(self) -> None:
        if not self.source_id:
            raise ValueError("experiment splits sources: give them in source_id")
        if self.version is not None:
            raise ValueError("experiment chooses the version of each source; leave version out")
        if self.output_format == "csv" and len(self.source_id) > 1:
            raise ValueError("CSV has no place for the variants of several sources; take output_format json")

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that takes more than what was computed ahead."""
        return self.excluded == "all" and not (self.explain or self.target_filter or self.sources)

    @property
    def is_noted(self) -> bool:
        """Whether it is noted what the answer shows."""
        return self.recommendation_id or self.experiment is not None

    @property
    def excluded(self) -> Exclude | None:
        """Which of a source's interactions are not recommended to it; None for no such limit."""
        return self.exclude if self.exclude_interacted else None


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
