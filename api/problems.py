"""Errors as RFC 9457 problem details: the tables of statuses and codes, and what turns errors into answers."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lucid import errors
from lucid.api.auth import SCOPES
from lucid.api.services import services_of
from lucid.logs import about
from lucid.schema.training import ModelStatus
from lucid.schema.wording import place
from lucid.schema.wording import problem as problem_of
from lucid.store.machine import RAW, machine_error

STATUS: dict[type[errors.LucidError], int] = {
    errors.InvalidRequest: 422,
    errors.UnusableFile: 422,
    errors.UnknownType: 422,
    errors.TrainingFailed: 422,
    errors.NotEnoughMemory: 422,
    errors.CallbackRefused: 422,
    errors.IdempotencyKeyReused: 422,
    errors.UnknownModel: 404,
    errors.UnknownVersion: 404,
    errors.UnknownDelivery: 404,
    errors.UnknownSchedule: 404,
    errors.UnknownExperiment: 404,
    errors.AutoTrainOff: 404,
    errors.UnknownPlacement: 404,
    errors.UnknownBatch: 404,
    errors.UnknownSource: 404,
    errors.ModelNotReady: 409,
    errors.OutdatedVersion: 409,
    errors.DamagedVersion: 409,
    errors.Damaged: 409,
    errors.VersionAnswers: 409,
    errors.AlreadyTraining: 409,
    errors.NotTraining: 409,
    errors.ExperimentExists: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.MachineError: 503,
}
"""What each error answers; one that is not here was not expected by the API, and answers 500."""

STATUS_OF_CODE = {"too_big": 413, "import_stopped": 500, "storage_full": 507}
"""Codes whose status is another than that of their error."""

NOT_HTTP, FOREIGN_ADDRESS, INTERNAL_ERROR = "not_http", "foreign_address", "internal_error"
HTTP_CODES = {400: NOT_HTTP, 404: "not_found", 405: "method_not_allowed", 413: "too_big"}
"""Codes of what the web framework refuses."""

MAX_ERRORS = 20
"""How many wrong fields an answer names."""

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
    headers = {401: {"WWW-Authenticate": "apikey"}, 503: {"Retry-After": "5"}}.get(status)
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True), status, headers=headers, media_type="application/problem+json"
    )


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of the application leave it as a problem."""
    app.add_exception_handler(errors.LucidError, _lucid_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in RAW:
        app.add_exception_handler(kind, _raw_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def answer_to(request: Request, error: Exception) -> JSONResponse:
    """An error as a problem, for whoever shows it in another way; raises what was not expected again."""
    if isinstance(error, errors.LucidError):
        return _lucid_error(request, error)
    if isinstance(error, RequestValidationError):
        return _invalid_request(request, error)
    if isinstance(error, HTTPException):
        return _http_error(request, error)
    return _raw_error(request, error)


def _lucid_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.LucidError)
    if type(error) not in STATUS:
        raise error
    if error.for_customers != error.message:
        with about(**_asked_about(request)):
            _log.warning("%s %s: %s", request.method, request.url.path, error.message)
    training = None
    if isinstance(error, errors.ModelNotReady):
        with suppress(errors.LucidError):  # deleted in this moment, or the catalog is busy
            training = services_of(request.app).catalog.trainings.get(error.model_id).status
    status = STATUS_OF_CODE.get(error.code, STATUS[type(error)])
    answer = problem(status, error.code, error.for_customers, training=training)
    if isinstance(error, errors.TooManyRequests):
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer


def _asked_about(request: Request) -> dict[str, str]:
    """The ids that a path or a query names, for the log."""
    named = {**request.query_params, **request.path_params}
    return {name: named[name] for name in ("model_id", "batch_id") if name in named}


def _raw_error(request: Request, error: Exception) -> JSONResponse:
    """What the machine does not give is a problem of its own; all else was not expected."""
    told = machine_error(error, services_of(request.app).settings.home)
    if told is None:
        raise error
    return _lucid_error(request, told)


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    fields = [_field(detail, request) for detail in found[:MAX_ERRORS]]
    detail = "; ".join(f"{field['field']}: {field['message']}".removeprefix(": ") for field in fields)
    if len(found) > MAX_ERRORS:
        detail += f"; and {len(found) - MAX_ERRORS:,} more"
    return problem(422, "invalid_request", detail, errors=fields)


def _field(detail: dict[str, Any], request: Request) -> dict[str, str]:
    """Which value is wrong, and how; the field is empty where the values do not fit each other."""
    if detail["type"] == "json_invalid" and detail["loc"][0] == "body":  # its place is a position in the text
        return {"field": "", "message": f"not JSON at position {detail['loc'][-1]}: {detail['ctx']['error']}"}
    source, *location = detail["loc"]  # the first place says where the value came from: body, query, path or header
    return {"field": place(location), "message": problem_of(detail, _asked(request, source), location)}


def _asked(request: Request, source: str) -> Any:
    """The type of what a route takes from a part of a request, such as its body; None where it takes single values."""
    route = request.scope.get("route")
    dependant = getattr(route, "dependant", None)
    taken: Sequence[Any] = getattr(dependant, f"{source}_params", ())
    return taken[0].field_info.annotation if len(taken) == 1 else None


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else INTERNAL_ERROR)
    answer = problem(error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = _allowed(request) or answer.headers.get("Allow", "GET, HEAD")
    return answer


def _allowed(request: Request) -> str:
    """The methods of a guarded path; the framework names those of one route only, though others may share its path."""
    path = getattr(request.scope.get("route"), "path", None)
    return ", ".join(method for method, known in SCOPES if known == path)


def _gone(_request: Request, _error: Exception) -> JSONResponse:
    """Nobody reads this, but it is no fault of ours that belongs into the log and the figures as one."""
    return problem(400, NOT_HTTP, "the client went away before its request was complete")


def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    return unexpected(request)  # the server logs the traceback


def unexpected(request: Request, error: Exception | None = None) -> JSONResponse:
    """What nobody thought of, as a problem that tells nothing; the log tells it, with the traceback of the error."""
    with about(**_asked_about(request)):
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, INTERNAL_ERROR, "something went wrong on our side; the operator finds it in the log")
