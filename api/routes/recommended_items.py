"""Recommendations, streamed as JSON or CSV."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from api.auth import Guarded
from api.lists import split
from api.metrics import Metrics
from lucid.lookup import Shelf
from lucid.rendering import render
from lucid.schema import MAX_RECOMMENDATIONS, OutputFormat, RecommendationQuery

router = APIRouter(route_class=Guarded, tags=["recommendations"])

_ROW = {
    "source_id": "user_1",
    "target_id": "video_7",
    "score": 41.25,
    "rank": 1,
    "target_type": "video",
    "name": "The Quiet Harbour",
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One row for each recommendation, grouped by source, score falling.",
        "content": {
            "application/json": {
                "example": {"model_id": "videos", "version": 1, "recommendations": [_ROW], "unknown_source_ids": []}
            },
            "text/csv": {"example": f"{','.join(_ROW)}\n{','.join(map(str, _ROW.values()))}\n"},
        },
    }
}


@router.post("/recommended_items", response_class=StreamingResponse, responses=_ANSWER)
def post_recommended_items(request: Request, query: RecommendationQuery) -> StreamingResponse:
    """Recommendations for one source, for several, or for all of a type."""
    return _answer(request, query)


@router.get("/recommended_items", response_class=StreamingResponse, responses=_ANSWER)
def get_recommended_items(
    request: Request,
    model_id: str,
    target_type: Annotated[list[str], Query(description="Repeated or separated by commas.")],
    source_id: Annotated[list[str] | None, Query(description="Repeated or separated by commas.")] = None,
    entity_id: Annotated[list[str] | None, Query(description="Alias of source_id.")] = None,
    source_type: Annotated[list[str] | None, Query(description="Repeated or separated by commas.")] = None,
    max_recommendations: int = MAX_RECOMMENDATIONS,
    threshold: float = 0,
    output_format: OutputFormat = "json",
    exclude_interacted: bool = True,
    version: int | None = None,
) -> StreamingResponse:
    """The same by query parameters. An id that holds a comma can only be asked with POST."""
    lists = {
        "target_type": target_type,
        "source_id": source_id,
        "entity_id": entity_id,
        "source_type": source_type,
    }
    values = {
        "model_id": model_id,
        **{name: split(given) for name, given in lists.items() if given is not None},
        "max_recommendations": max_recommendations,
        "threshold": threshold,
        "output_format": output_format,
        "exclude_interacted": exclude_interacted,
        "version": version,
    }
    try:
        query = RecommendationQuery.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(
            [{**detail, "loc": ("query", *detail["loc"])} for detail in error.errors()]
        ) from error
    return _answer(request, query)


def _answer(request: Request, query: RecommendationQuery) -> StreamingResponse:
    state = request.app.state
    shelf: Shelf = state.shelf
    metrics: Metrics = state.metrics
    answer = metrics.counted(shelf.recommend(query))
    media_type = "text/csv; charset=utf-8" if query.output_format == "csv" else "application/json"
    return StreamingResponse(render(answer, query.output_format), media_type=media_type)
