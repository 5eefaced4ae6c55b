"""Placements: named, versioned sets of rules for what a place in a shop shows, and how they are written.

In what order rules hold, and what happens where they cannot be kept, is told in `lucid.placements.arrange`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic.json_schema import WithJsonSchema

from lucid.schema.fields import MAX_RECOMMENDATIONS, Id, IdList, ModelId, Text, TextList, Time, Use
from lucid.schema.filters import ENTITY_FIELDS, METADATA, Condition, known_fields

MAX_RULES = 100
"""How many rules of a kind a placement may have."""
MAX_RANK = 10_000
UNSAVED, NO_RULES = "rules", "none"
"""What stands for the name and version of rules that are saved nowhere, and for no rules."""
MAX_PREVIEWED = 100
"""Of how many sources, and rows of each, two rule sets are compared."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REFERENCE = re.compile(r"([A-Za-z0-9._-]{1,64})(?:@([1-9][0-9]{0,8}))?")

Share = Annotated[float, Field(ge=0, le=1)]


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return name


def _check_reference(text: str) -> str:
    read_reference(text)
    return text


def read_reference(text: str) -> tuple[str, int | None]:
    """Name and version of a placement from `home` or `home@3`; raises ValueError for what is neither."""
    found = _REFERENCE.fullmatch(text)
    if not found:
        raise ValueError("expected the name of a placement, such as home, or one of its versions, such as home@3")
    return found[1], int(found[2]) if found[2] else None


PlacementName = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$", "examples": ["home"]}),
]
PlacementReference = Annotated[
    str,
    AfterValidator(_check_reference),
    WithJsonSchema({"type": "string", "pattern": f"^{_REFERENCE.pattern}$", "examples": ["home"]}),
]
RuleName = Annotated[str, Field(min_length=1, max_length=100)]
Conditions = Annotated[list[Condition], Field(min_length=1, max_length=MAX_RULES)]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)


class Pin(_Rule):
    """A target that stands at a fixed rank."""

    id: Id
    rank: int = Field(ge=1, le=MAX_RANK, description="Its place, from 1.")
    name: RuleName | None = Field(None, description="What rows that it moved say; absent: `pin`.")


class _ByCondition(_Rule):
    when: Conditions = Field(description="Targets that fulfil all of these, as in data_filters.")
    name: RuleName | None = Field(None, description="What rows that it moved say; absent: its kind and number.")

    @field_validator("when")
    @classmethod
    def _known_fields(cls, conditions: list[Condition]) -> list[Condition]:
        return known_fields(conditions, ENTITY_FIELDS)


class Boost(_ByCondition):
    """Targets whose score counts more."""

    factor: float = Field(gt=1, le=1000, description="What their score is multiplied with.")


class Bury(_ByCondition):
    """Targets whose score counts less."""

    factor: float = Field(0, ge=0, lt=1, description="What their score is multiplied with; 0 is behind all others.")


class Exclusion(_Rule):
    """What the source did is not shown to it."""

    interaction_type: Text
    days: float | None = Field(None, gt=0, le=36_500, description="Within so many days; absent: ever.")


class Quota(_Rule):
    """At most or at least so many of each `of` rows in a row: of rows 1 to `of`, of the next `of` rows, and so on."""

    when: Conditions | None = Field(None, description="Targets that count: those that fulfil all of these.")
    each: str | None = Field(None, description="Or: each value of `metadata.<key>`, or `type`, counts by itself.")
    at_most: int | None = Field(None, ge=0, le=MAX_RANK)
    at_least: int | None = Field(None, ge=1, le=MAX_RANK)
    of: int = Field(ge=1, le=MAX_RANK, description="How many rows are looked at together.")
    name: RuleName | None = Field(None, description="What rows that it moved say; absent: `quota` and its number.")

    @field_validator("when")
    @classmethod
    def _known_fields(cls, conditions: list[Condition] | None) -> list[Condition] | None:
        return known_fields(conditions, ENTITY_FIELDS) if conditions else None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Quota":
        if (self.when is None) == (self.each is None):
            raise ValueError("give either when or each")
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least; for both, write two quotas")
        if self.each is not None:
            _check_field(self.each, ("type",), "each")
            if self.at_least is not None:
                raise ValueError("at_least needs when: not every value can have a share of the rows")
        if self.at_least is not None and self.at_least > self.of:
            raise ValueError(f"at_least {self.at_least} of {self.of} rows cannot be")
        return self


class Freshness(_Rule):
    """Newer targets count more: a score is multiplied with `1 - weight + weight * 0.5 ** (age / half_life_days)`."""

    by: str = Field(
        description="`metadata.<key>` that holds a date, `last_interaction` or `first_interaction` with the target."
    )
    half_life_days: float = Field(gt=0, le=36_500)
    weight: float = Field(0.5, gt=0, le=1, description="What part of the score fades with age.")
    name: RuleName | None = Field(None, description="What rows that it moved say; absent: `fresh`.")

    @model_validator(mode="after")
    def _known_date(self) -> "Freshness":
        _check_field(self.by, ("last_interaction", "first_interaction"), "by")
        return self


class Diversity(_Rule):
    """Maximal marginal relevance: each row is the best by score less its likeness to the rows above it."""

    weight: Share = Field(alias="lambda", description="1: by score alone, 0: by being different alone.")
    among: int = Field(200, ge=2, le=MAX_RANK, description="Of how many best targets; as many as rows at least.")
    name: RuleName | None = Field(None, description="What rows that it moved say; absent: `diversity`.")


class Exploration(_Rule):
    """A share of the rows is drawn at random; each row says how probable it was."""

    share: float = Field(gt=0, le=1, description="The chance of a row to be drawn instead of chosen.")
    among: int = Field(200, ge=2, le=MAX_RANK, description="Of how many best targets; as many as rows at least.")
    name: RuleName | None = Field(None, description="What rows that were drawn say; absent: `explore`.")


class PlacementRules(_Rule):
    """The rules of a placement; where none is given, rows stand in the order of their scores."""

    target_filter: list[Condition] | None = Field(
        None, max_length=MAX_RULES, description="Conditions that targets must fulfil, as in data_filters."
    )
    available: StrictBool = Field(
        True,
        description="Leave out what `metadata.available` denies and what is not between `metadata.available_from` and "
        "`metadata.available_until` at the time of the answer.",
    )
    exclude_interacted: StrictBool | None = Field(
        None, description="Whether sources' own interactions are left out; absent: as the query says."
    )
    exclude: list[Exclusion] = Field([], max_length=MAX_RULES)
    pin: list[Pin] = Field([], max_length=MAX_RULES)
    boost: list[Boost] = Field([], max_length=MAX_RULES)
    bury: list[Bury] = Field([], max_length=MAX_RULES)
    fresh: Freshness | None = None
    quotas: list[Quota] = Field([], max_length=MAX_RULES)
    diversity: Diversity | None = None
    explore: Exploration | None = None

    @field_validator("target_filter")
    @classmethod
    def _known_fields(cls, conditions: list[Condition] | None) -> list[Condition] | None:
        return known_fields(conditions, ENTITY_FIELDS) if conditions else None

    @field_validator("pin")
    @classmethod
    def _one_each(cls, pins: list[Pin]) -> list[Pin]:
        named: tuple[tuple[str, list[str | int]], ...] = (
            ("rank", [pin.rank for pin in pins]),
            ("target", [pin.id for pin in pins]),
        )
        for what, values in named:
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} is pinned twice")
        return pins

    def conditions(self) -> Iterator[tuple[str, list[Condition]]]:
        """All conditions, with the place of each list."""
        if self.target_filter:
            yield "target_filter", self.target_filter
        kinds: dict[str, Sequence[Boost | Bury | Quota]] = {
            "boost": self.boost,
            "bury": self.bury,
            "quotas": self.quotas,
        }
        for kind, rules in kinds.items():
            for number, rule in enumerate(rules):
                if rule.when:
                    yield f"{kind}.{number}.when", rule.when

    def metadata_keys(self) -> Iterator[tuple[str, str]]:
        """Metadata keys beyond those of conditions, with the place of each."""
        if self.fresh and self.fresh.by.startswith(METADATA):
            yield "fresh.by", self.fresh.by.removeprefix(METADATA)
        for number, quota in enumerate(self.quotas):
            if quota.each and quota.each.startswith(METADATA):
                yield f"quotas.{number}.each", quota.each.removeprefix(METADATA)


class PrecomputePlacement(_Rule):
    """A pair of a model for which a placement's rows are computed with each training and refresh."""

    model_id: ModelId
    source_type: Text
    target_type: Text
    max_recommendations: int = Field(MAX_RECOMMENDATIONS, ge=1, le=10_000)


class PlacementRequest(PlacementRules):
    """A placement as it is written: its name and its rules."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "home",
                    "pin": [{"id": "video_7", "rank": 1}],
                    "boost": [{"when": [{"field": "metadata.label", "op": "eq", "value": "own"}], "factor": 1.5}],
                    "quotas": [{"each": "metadata.genre", "at_most": 3, "of": 10}],
                    "diversity": {"lambda": 0.7},
                }
            ]
        }
    )

    name: PlacementName
    note: str = Field("", max_length=1000, description="Why it is as it is, for whoever reads its versions.")
    precompute: list[PrecomputePlacement] = Field(
        [], max_length=MAX_RULES, description="For what its rows are computed ahead, with each training and refresh."
    )

    @model_validator(mode="after")
    def _can_be_computed(self) -> "PlacementRequest":
        if self.precompute and self.explore:
            raise ValueError("precompute: rows that are drawn anew for each answer cannot be; leave out explore")
        return self


class Placement(PlacementRequest):
    """A version of a placement; none is ever changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "home",
                    "version": 3,
                    "created": "2026-05-04T12:30:00.000Z",
                    "quotas": [{"each": "metadata.genre", "at_most": 3, "of": 10}],
                }
            ]
        }
    )

    version: int = Field(ge=1)
    created: Time
    retired: bool = Field(False, description="Whether this version ends the placement: it answers no more.")

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


class PreviewRequest(BaseModel):
    """Which two rule sets are compared, and for whom."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "source_id": "user_1",
                    "target_type": "video",
                    "a": "home",
                    "b": {"bury": [{"when": [{"field": "metadata.genre", "op": "eq", "value": "Drama"}]}]},
                }
            ]
        },
    )

    model_id: ModelId = Field(description="Name of the model.")
    source_id: IdList = Field(description="One entity or several.", examples=["user_1"])
    target_type: TextList | None = Field(None, description="What to recommend: one type or several.")
    use: Use = Field("recommend", description="`similar` recommends entities of the source's own type.")
    max_recommendations: int = Field(10, ge=1, le=MAX_PREVIEWED)
    a: PlacementReference | PlacementRules | None = Field(
        None, description="A placement, or rules that are saved nowhere; absent: no rules."
    )
    b: PlacementReference | PlacementRules | None = Field(None, description="What it is compared with.")

    @field_validator("source_id")
    @classmethod
    def _some(cls, ids: list[str]) -> list[str]:
        if len(ids) > MAX_PREVIEWED:
            raise ValueError(f"found {len(ids):,} sources, expected at most {MAX_PREVIEWED}")
        return ids

    @model_validator(mode="after")
    def _targets(self) -> "PreviewRequest":
        if (self.use == "similar") == bool(self.target_type):
            raise ValueError("give target_type, or use=similar for targets of the source's own type")
        return self


class PreviewRow(BaseModel):
    """A row under one of the rule sets, and where it stands under the other; null where it is not among the rows."""

    target_id: str
    name: str
    target_type: str
    score: float
    rank: int
    other_rank: int | None
    rules: list[str]
    propensity: float


class SourcePreview(BaseModel):
    """The rows of a source under both rule sets."""

    source_id: str
    a: list[PreviewRow]
    b: list[PreviewRow]


class Preview(BaseModel):
    """How two rule sets differ; `a` and `b` name them: `rules` for what is saved nowhere, `none` for no rules."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "version": 1,
                    "a": "none",
                    "b": "home@3",
                    "shared": 0.0,
                    "sources": [{"source_id": "user_1", "a": [], "b": []}],
                    "unknown_source_ids": [],
                }
            ]
        }
    )

    model_id: str
    version: int
    a: str
    b: str
    shared: float = Field(description="The mean share of rows that stand under both, whatever their ranks.")
    sources: list[SourcePreview]
    unknown_source_ids: list[str]


def _check_field(field: str, columns: tuple[str, ...], name: str) -> None:
    key = field.removeprefix(METADATA)
    if field not in columns and (key == field or not key):
        raise ValueError(f"{name}: found {field!r}, expected {', '.join((*columns, 'metadata.<key>'))}")


def request_of(placement: PlacementRequest) -> dict[str, Any]:
    """What was asked for, as it is written, without what a version adds."""
    content = dump(placement)
    first = [name for name in ("name", "note") if name in content]
    return {name: content[name] for name in (*first, *content) if name in PlacementRequest.model_fields}


def dump(placement: BaseModel) -> dict[str, Any]:
    """As it is written and stored, without what is as by default."""
    return placement.model_dump(mode="json", by_alias=True, exclude_defaults=True)
