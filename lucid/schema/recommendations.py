"""Queries for recommendations, and the rows of their answers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic.config import JsonDict

from lucid.schema.experiments import ExperimentName
from lucid.schema.fields import (
    MAX_RECOMMENDATIONS,
    Exclude,
    ForAll,
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
from lucid.schema.placements import PlacementReference

MAX_DAYS = 36_500
"""The longest window and half-life, a hundred years."""

MAX_NOTED_SOURCES, MAX_NOTED_ROWS = 100, 10_000
"""How many sources an answer may have that is noted, and how many rows at most."""

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


def _use(*uses: str) -> JsonDict:
    return {"required": ["use"], "properties": {"use": {"enum": list(uses)}}}


_SOURCES = [given(name) for name in ("source_id", "entity_id", "source_type", "sources", "session")]
_NO_SOURCE: JsonDict = {"not": {"anyOf": [*_SOURCES]}}
_WITH_TARGETS: JsonDict = {
    **given("target_type"),
    "not": _use("similar"),
}
_SIMILAR: JsonDict = {**_use("similar"), "not": {"anyOf": [given("target_type"), _NO_SOURCE]}}
_FOR_ALL = _use("popular", "trending")
_NO_MIX: JsonDict = {"not": {"allOf": [_FOR_ALL, {"anyOf": [given("sources"), given("session")]}]}}
_FALLING_BACK: JsonDict = {
    "anyOf": [
        {"not": given("fallback")},
        {"anyOf": [given("source_id"), given("entity_id")], "not": _use("similar", "popular", "trending")},
    ]
}
_RECENT: JsonDict = {
    "anyOf": [
        {"not": {"anyOf": [given("window_days"), given("half_life_days")]}},
        {"anyOf": [_FOR_ALL, _NO_SOURCE, given("fallback")]},
    ]
}
_PLACED: JsonDict = {"not": {"allOf": [given("placement"), {"anyOf": [_FOR_ALL, _NO_SOURCE, given("fallback")]}]}}


class RecommendationQuery(BaseModel):
    """A question for recommendations: for which sources, of which type, how many; without a source, for everybody."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {"oneOf": [*_SOURCES, _NO_SOURCE]},
                {"oneOf": [_WITH_TARGETS, _SIMILAR]},
                _NO_MIX,
                _FALLING_BACK,
                _RECENT,
                _PLACED,
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
    use: Use = Field(
        "recommend",
        description="`similar` recommends entities of the source's own type; `popular` what most interact with; "
        "`trending` what is interacted with more, of late, than its share of all makes expect. Without a source, "
        "`recommend` is `popular`.",
    )
    fallback: ForAll | None = Field(
        None,
        description="What is recommended to an entity in `source_id` that is unknown, or of which nothing is known; "
        "without it, an unknown one gets nothing.",
    )
    window_days: int | None = Field(
        None, ge=1, le=MAX_DAYS, description="In what is popular or trending, count so many days and none before."
    )
    half_life_days: float | None = Field(
        None,
        gt=0,
        le=MAX_DAYS,
        description="In what is popular or trending, count an interaction half after so many days. Without this and "
        "`window_days`, what training found to foretell most.",
    )
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
    placement: PlacementReference | None = Field(
        None, description="Rules of a shop that the answer follows: a placement, or a version of it as `home@3`."
    )
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
        if [bool(one) for one in given].count(True) > 1:
            raise ValueError(
                "give one of source_id, source_type and sources, or a session, or none of them for what is popular"
            )
        if (self.use == "similar") == bool(self.target_type):
            raise ValueError("give target_type, or use=similar for targets of the source's own type")
        if self.use == "similar" and self.is_for_nobody:
            raise ValueError("use=similar needs a source: give one of source_id, source_type and sources, or a session")
        return self

    @model_validator(mode="after")
    def _lists_for_all(self) -> "RecommendationQuery":
        if (self.sources or self.session) and self.for_all:
            asked = "sources" if self.sources else "session"
            raise ValueError(f"{asked}: use={self.use} does not depend on what they came to; give source_id")
        if self.fallback and not (self.source_id and self.use == "recommend"):
            raise ValueError("fallback is for unknown entities in source_id, with use=recommend")
        if self.placement and (self.for_all or self.fallback):
            raise ValueError(
                "a placement arranges what is ranked for sources: name one, and leave out use=popular, use=trending "
                "and fallback"
            )
        if self.span != (None, None) and not (self.for_all or self.fallback):
            raise ValueError(
                "window_days and half_life_days are for what is popular or trending: "
                "give use=popular, use=trending or fallback"
            )
        return self

    @property
    def is_for_nobody(self) -> bool:
        """Whether no source is named."""
        return not (self.source_id or self.source_type or self.sources or self.session)

    @property
    def for_all(self) -> ForAll | None:
        """Which list that is the same for all is asked for; None where a model ranks."""
        if self.use == "popular" or self.use == "trending":
            return self.use
        return "popular" if self.is_for_nobody else None

    @property
    def span(self) -> tuple[int | None, float | None]:
        """What counts as recent: window and half-life in days; None for what is not given."""
        return self.window_days, self.half_life_days

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
        extras = self.explain, self.target_filter, self.sources, self.session, self.for_all, self.placement
        return self.excluded == "all" and not any(extras)

    @property
    def is_noted(self) -> bool:
        """Whether it is noted what the answer shows."""
        return self.recommendation_id or self.experiment is not None

    @property
    def excluded(self) -> Hidden | None:
        """Which of a source's interactions are not recommended to it; None for no such limit."""
        return self.exclude if self.exclude_interacted else "disliked" if self.exclude_disliked else None


EXPLANATION = "explanation"
"""Column of an answer that explains itself."""

PLACED = ("rules", "propensity", "placement")
"""Columns of an answer that follows a placement: who moved a row, how probable it was, and `name@version`."""


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
