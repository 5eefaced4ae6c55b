"""Recommendations, streamed as JSON or CSV."""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json, WithJsonSchema
from pydantic.config import JsonDict

from lucid.api.auth import Guarded
from lucid.api.lists import listed, only, split
from lucid.api.openapi import problems
from lucid.api.services import Services, ServicesDep
from lucid.schema.fields import OutputFormat, ServedBy
from lucid.schema.filters import Condition
from lucid.schema.recommendations import RecommendationQuery, SessionItem, WeightedSource
from lucid.serving.rendering import Answer, render

ID_HEADER = "Lucid-Recommendation-Id"
MEDIA_TYPES: dict[OutputFormat, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8"}

_ROW: JsonDict = {
    "source_id": "user_1",
    "target_id": "video_7",
    "score": 41.25,
    "rank": 1,
    "probability": 0.0312,
    "target_type": "video",
    "name": "The Quiet Harbour",
    "served_by": "cache",
}
_MIX = '[{"id": "user_1", "weight": 1}, {"id": "user_2", "weight": -0.5}]'
_SESSION = '[{"id": "video_1"}, {"id": "video_2"}]'
_FILTER = '[{"field": "metadata.genre", "op": "eq", "value": "Drama"}]'
_EXAMPLE: JsonDict = {
    "model_id": "videos",
    "version": 1,
    "recommendations": [_ROW],
    "unknown_source_ids": [],
    "served_by": "cache",
}


class Contribution(BaseModel):
    """An interaction, a link or a word of the source, or a source among several, with its share of a score."""

    kind: Literal["interaction", "metadata", "text", "source"]
    relation: str = Field(description="Interaction type or metadata key.")
    id: str
    type: str
    name: str
    share: float = Field(ge=0, le=1)


class RecommendedItem(BaseModel):
    """One recommendation; `rank` counts from 1 within its source."""

    source_id: str = Field(description="Empty where no source was asked for.")
    target_id: str
    score: float = Field(
        ge=0,
        le=100,
        description="100 x the share of the pair's held-out interactions that scored lower than this; "
        "the manual says what it is of what is popular or trending.",
    )
    rank: int
    probability: float = Field(ge=0, le=1, description="The chance that the target is interacted with next.")
    target_type: str
    name: str
    served_by: ServedBy = Field(description="What the answer for this source comes from.")
    rules: list[str] = Field([], description="The rules of its placement that moved it, where one was asked for.")
    propensity: float | None = Field(
        None, ge=0, le=1, description="The chance that just this target stood here, given the rows above it."
    )
    placement: str | None = Field(
        None, description="The placement and its version, as `home@3`; empty beside rows of one, where it follows none."
    )
    explanation: list[Contribution] | None = Field(
        None, description="What contributed to it, where that was asked for."
    )


class SourceVariant(BaseModel):
    """What a source got in an experiment; no variant where it takes no part."""

    variant: str | None
    version: int


class RecommendedItems(BaseModel):
    """An answer in JSON: what was not found among several sources stands in `unknown_source_ids`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model_id: str
    version: int
    placement: str | None = Field(None, description="The placement that all rows follow, and its version.")
    recommendations: list[RecommendedItem]
    unknown_source_ids: list[str]
    served_by: ServedBy | Literal["mixed"] = Field(description="The same for the whole answer.")
    recommendation_id: str | None = Field(None, description="Its id, where that was asked for; events may name it.")
    experiment: str | None = Field(None, description="The experiment that was asked for.")
    variant: str | None = Field(None, description="The variant of its one source; null where that takes no part.")
    variants: dict[str, SourceVariant] | None = Field(
        None, description="The variant and version of each, where there are several; `version` is that of the first."
    )


Some = Annotated[list[str], Field(min_length=1), BeforeValidator(split), WithJsonSchema(listed(pattern=r"[^,\s]"))]
Value = TypeVar("Value")
InJson = Annotated[Json[Value], BeforeValidator(only)]


def _same(name: str, how: str = "", **more: Any) -> Any:
    """The field of that name in a query's body, which a query string only writes in another way."""
    field = RecommendationQuery.model_fields[name]
    description = f"{(field.description or '').removesuffix('.')}{how}."
    return Field(field.default, description=description, **more)


class RecommendationParameters(RecommendationQuery):
    """A query in a query string, where lists are repeated or separated by commas."""

    source_id: Some | None = _same("source_id", examples=[["user_1"]])
    entity_id: Some | None = _same("entity_id")
    source_type: Some | None = _same("source_type")
    sources: InJson[list[WeightedSource]] | None = _same("sources", ", as JSON", examples=[_MIX])
    session: InJson[list[SessionItem]] | None = _same("session", ", as JSON", examples=[_SESSION])
    target_type: Some | None = _same("target_type", examples=[["video"]])
    exclude_interacted: bool = _same("exclude_interacted")
    exclude_disliked: bool = _same("exclude_disliked")
    explain: bool = _same("explain")
    recommendation_id: bool = _same("recommendation_id")
    target_filter: InJson[list[Condition]] | None = _same("target_filter", ", as JSON", examples=[_FILTER])


_CSV = {"schema": {"type": "string"}, "example": f"{','.join(_ROW)}\n{','.join(map(str, _ROW.values()))}\n"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RecommendedItems,
        "description": "One row for each recommendation, grouped by source, score falling.",
        "content": {"text/csv": _CSV},
    },
    **problems(404, 409),
}

LISTS = {"source_id", "entity_id", "source_type", "target_type"}
"""Parameters that may be repeated."""


router = APIRouter(route_class=Guarded, tags=["recommendations"], responses=_ANSWERS)


@router.post("/recommended_items", response_class=StreamingResponse)
def post_recommended_items(services: ServicesDep, query: RecommendationQuery) -> StreamingResponse:
    """Recommend targets to one source, to several, to all of a type, or to nobody: then what is popular or trending."""
    return _answer(services, query)


@router.get("/recommended_items", response_class=StreamingResponse)
def get_recommended_items(
    services: ServicesDep, query: Annotated[RecommendationParameters, Query()]
) -> StreamingResponse:
    """Recommend targets, asked by query parameters.

    Lists are repeated or separated by commas; what holds a comma needs POST.
    """
    return _answer(services, query)


def _answer(services: Services, query: RecommendationQuery) -> StreamingResponse:
    found = services.noted.recommend(query) if query.is_noted else services.registry.recommend(query)
    answer = services.metrics.counted(found)
    media_type, headers = MEDIA_TYPES[query.output_format], _headers(answer) if query.output_format == "csv" else None
    return StreamingResponse(render(answer, query.output_format), media_type=media_type, headers=headers)


def _headers(answer: Answer) -> dict[str, str]:
    """What JSON says beside the rows of an answer that is noted, for CSV; its one source has a variant."""
    if answer.noted is None:
        return {}
    headers = {ID_HEADER: answer.noted.recommendation_id}
    if answer.noted.experiment is not None:
        headers["Lucid-Experiment"] = answer.noted.experiment
    for told in (answer.noted.variants or {}).values():
        if told["variant"] is not None:
            headers["Lucid-Variant"] = told["variant"]
    return headers


endpoints = {"POST": post_recommended_items, "GET": get_recommended_items}
