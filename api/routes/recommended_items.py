"""Recommendations, streamed as JSON or CSV."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.config import JsonDict

from api.auth import Guarded
from api.lists import listed, split
from api.metrics import Metrics
from api.openapi import problems
from lucid.lookup import Shelf
from lucid.rendering import render
from lucid.schema import OutputFormat, RecommendationQuery, ServedBy

MEDIA_TYPES: dict[OutputFormat, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8"}

_ROW: JsonDict = {
    "source_id": "user_1",
    "target_id": "video_7",
    "score": 41.25,
    "rank": 1,
    "target_type": "video",
    "name": "The Quiet Harbour",
    "served_by": "cache",
}
_EXAMPLE: JsonDict = {
    "model_id": "videos",
    "version": 1,
    "recommendations": [_ROW],
    "unknown_source_ids": [],
    "served_by": "cache",
}


class RecommendedItem(BaseModel):
    """One recommendation; `rank` counts from 1 within its source."""

    source_id: str
    target_id: str
    score: float
    rank: int
    target_type: str
    name: str
    served_by: ServedBy = Field(description="What the answer for this source comes from.")


class RecommendedItems(BaseModel):
    """An answer in JSON: what was not found among several sources stands in `unknown_source_ids`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model_id: str
    version: int
    recommendations: list[RecommendedItem]
    unknown_source_ids: list[str]
    served_by: ServedBy | Literal["mixed"] = Field(description="The same for the whole answer.")


Some = Annotated[list[str], Field(min_length=1), BeforeValidator(split), WithJsonSchema(listed(pattern=r"[^,\s]"))]


class RecommendationParameters(RecommendationQuery):
    """The same question in a query string, where lists are repeated or separated by commas."""

    source_id: Some | None = Field(None, description="One entity or several.", examples=[["user_1"]])
    entity_id: Some | None = Field(None, description="Alias of source_id.")
    source_type: Some | None = Field(None, description="All entities of one type or several.")
    target_type: Some = Field(description="What to recommend: one type or several.", examples=[["video"]])


_CSV = {"schema": {"type": "string"}, "example": f"{','.join(_ROW)}\n{','.join(map(str, _ROW.values()))}\n"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RecommendedItems,
        "description": "One row for each recommendation, grouped by source, score falling.",
        "content": {"text/csv": _CSV},
    },
    **problems(404, 409),
}

_LISTS = {"source_id", "entity_id", "source_type", "target_type"}


class Lookup(Guarded):
    """Answers what was computed ahead for one source at once: such a call spends no time but on the look-up."""

    async def answer_quickly(self, request: Request) -> Response | None:
        query = await _read(request)
        if query is None:
            return None
        state = request.app.state
        shelf: Shelf = state.shelf
        answer = shelf.recommend_quickly(query)
        if answer is None:
            return None
        pieces = render(state.metrics.counted(answer), query.output_format)
        return Response(b"".join(pieces), media_type=MEDIA_TYPES[query.output_format])


async def _read(request: Request) -> RecommendationQuery | None:
    """The query, unless something is wrong with it: then it is for the framework to say what."""
    try:
        if request.method == "GET":
            given = request.query_params
            values = {name: given.getlist(name) if name in _LISTS else given[name] for name in given}
            return RecommendationParameters.model_validate(values)
        if request.headers.get("content-type", "").startswith("application/json"):
            return RecommendationQuery.model_validate_json(await request.body())
    except ValidationError:
        pass
    return None


router = APIRouter(route_class=Lookup, tags=["recommendations"], responses=_ANSWERS)


@router.post("/recommended_items", response_class=StreamingResponse)
def post_recommended_items(request: Request, query: RecommendationQuery) -> StreamingResponse:
    """Recommendations for one source, for several, or for all of a type."""
    return _answer(request, query)


@router.get("/recommended_items", response_class=StreamingResponse)
def get_recommended_items(request: Request, query: Annotated[RecommendationParameters, Query()]) -> StreamingResponse:
    """The same by query parameters. Lists are repeated or separated by commas; what holds a comma needs POST."""
    return _answer(request, query)


def _answer(request: Request, query: RecommendationQuery) -> StreamingResponse:
    state = request.app.state
    shelf: Shelf = state.shelf
    metrics: Metrics = state.metrics
    answer = metrics.counted(shelf.recommend(query))
    return StreamingResponse(render(answer, query.output_format), media_type=MEDIA_TYPES[query.output_format])
