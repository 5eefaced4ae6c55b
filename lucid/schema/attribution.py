"""What came of recommendations: rows that were shown, and the events that named their answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lucid.schema.fields import Time

By = Literal["version", "pair", "rank"]


class WeightedRate(BaseModel):
    """The rate of rows that were drawn, weighted by `1 / propensity`: that of all targets that might have stood there,
    if each were as likely as the others."""

    rate: float = Field(ge=0, le=1)
    low: float = Field(
        ge=0, le=1, description="Lower end of its 95% interval, for the rows that tell as much unweighted."
    )
    high: float = Field(ge=0, le=1, description="Upper end.")


class EventRate(BaseModel):
    """How often rows that were shown led to events of a type."""

    type: str
    events: int = Field(description="How many there were.")
    rows: int = Field(description="Rows that were shown and led to one or more.")
    rate: float = Field(ge=0, le=1, description="The share of these among all rows that were shown.")
    low: float = Field(ge=0, le=1, description="Lower end of its 95% interval (Wilson 1927), rows taken one by one.")
    high: float = Field(ge=0, le=1, description="Upper end.")
    weighted: WeightedRate | None = Field(None, description="Null where no placement explores.")


class AttributionGroup(BaseModel):
    """What was shown, and what came of it; of a version, a pair of types or a rank where that was asked for."""

    version: int | None = None
    source_type: str | None = Field(None, description="By pair; null for nobody, or one of whom nothing is known.")
    target_type: str | None = None
    rank: int | None = None
    answers: int | None = Field(description="Answers that had such rows; null by rank.")
    impressions: int = Field(description="Rows that they showed.")
    sources: int | None = Field(
        description="Different sources that they were shown to, as far as answers were for some; null by rank."
    )
    events: list[EventRate]


_GROUP: dict[str, JsonValue] = {
    "version": None,
    "source_type": None,
    "target_type": None,
    "rank": None,
    "answers": 1000,
    "impressions": 10000,
    "sources": 640,
    "events": [
        {
            "type": "watched",
            "events": 412,
            "rows": 398,
            "rate": 0.0398,
            "low": 0.03615,
            "high": 0.04381,
            "weighted": {"rate": 0.0121, "low": 0.0087, "high": 0.0168},
        }
    ],
}


class Attribution(BaseModel):
    """What came of the noted answers of a model: those shown in a time, with all their events until now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "from_time": "2026-05-01T00:00:00.000Z",
                    "to_time": "2026-06-01T00:00:00.000Z",
                    "by": "version",
                    "total": _GROUP,
                    "groups": [{**_GROUP, "version": 3}],
                    "not_shown": {"watched": 7},
                }
            ]
        }
    )

    model_id: str
    from_time: Time | None = Field(description="The first moment; null from the first answer that is kept.")
    to_time: Time | None = Field(description="The moment before which answers count; null until now.")
    by: By | None
    total: AttributionGroup
    groups: list[AttributionGroup] = Field(description="By version, pair or rank where that was asked for.")
    not_shown: dict[str, int] = Field(
        description="Events by type that named an answer but a target that it did not show; no rate counts them."
    )
