"""Errors as RFC 9457 problem details: the one table of statuses, and what turns errors into answers."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from lucid import errors
from lucid.schema import ModelStatus

STATUS: dict[type[errors.LucidError], int] = {
    errors.InvalidRequest: 422,
    errors.UnusableFile: 422,
    errors.UnknownType: 422,
    errors.CallbackRefused: 422,
    errors.UnknownModel: 404,
    errors.UnknownVersion: 404,
    errors.UnknownBatch: 404,
    errors.UnknownSource: 404,
    errors.ModelNotReady: 409,
    errors.AlreadyTraining: 409,
    errors.NotTraining: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
}
_TOO_BIG = 413
_log = logging.getLogger("lucid.api")


class Problem(BaseModel):
    """An error as RFC 9457 describes it; `code` is stable, `detail` is for people."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no model 'videos'; train it first"])
    code: str = Field(examples=["unknown_model"])
    errors: list[dict[str, str]] | None = Field(None, description="The fields that are wrong, and how.")
    training: ModelStatus | None = Field(None, description="Where the model has no finished version: its training.")


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """An error answer."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, **more)
    headers = {"WWW-Authenticate": "apikey"} if status == 401 else {"Retry-After": "5"} if status == 503 else None
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True), status, headers=headers, media_type="application/problem+json"
    )


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of the application leave it as a problem."""
    app.add_exception_handler(errors.LucidError, _lucid_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _lucid_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.LucidError)
    status = _TOO_BIG if error.code == "too_big" else STATUS.get(type(error), 500)
    training = None
    if isinstance(error, errors.ModelNotReady):
        training = request.app.state.catalog.training(error.model_id).status
    return problem(status, error.code, error.message, training=training)


def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [
        # The first place says where the value came from: body, query, path or header.
        {"field": ".".join(str(place) for place in detail["loc"][1:]), "message": detail["msg"]}
        for detail in error.errors()
    ]
    detail = "; ".join(f"{field['field']}: {field['message']}".removeprefix(": ") for field in fields)
    return problem(422, "invalid_request", detail, errors=fields)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's word for a body that is no text at all
        return problem(422, "invalid_request", "the body is not JSON in UTF-8")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        error.headers = {"Allow": ", ".join(_methods(request))}
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    answer = problem(error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def _methods(request: Request) -> list[str]:
    """The methods that a path has; Starlette only names those of the first route that has the path."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST")
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal_error", "something went wrong on our side; the operator finds it in the log")
