"""What the OpenAPI document says of errors and of keys, the same way for every call."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from lucid.api.auth import SCOPES
from lucid.api.paths import BASE
from lucid.api.problems import Problem

_PROBLEMS = {
    401: ("unauthorized", "no API key: send it in the header 'apikey'"),
    403: ("missing_scope", "this key lacks the scope 'train'; it has recommend"),
    404: ("unknown_model", "no model 'videos'; train it first"),
    409: ("already_training", "model 'videos' is being trained or refreshed (version 2); wait until it ends"),
    413: ("too_big", "entities.csv: larger than the limit of 1,000,000,000 bytes; split it"),
    422: ("invalid_request", "model_id: missing; it has to be given"),
    429: ("too_many_requests", "too many calls with this key; wait as long as Retry-After says"),
    500: ("internal_error", "something went wrong on our side; the operator finds it in the log"),
    503: ("unavailable", "the Prefect server cannot start the flow now; try again"),
}
EVERYWHERE = (401, 403, 422, 429, 500, 503)
"""Statuses that any call with a key may have."""

_KEY = {"type": "apiKey", "in": "header", "name": "apikey", "description": "Key made by `lucid keys create`."}


SERVERS = [{"url": "/", "description": "The service that this description comes from."}]
TAGS = [
    {"name": "recommendations", "description": "Ask a model what suits which source."},
    {"name": "placements", "description": "Rules of a shop that answers follow, their versions, and previews."},
    {"name": "data", "description": "Upload files, look after their batches, erase entities."},
    {"name": "training", "description": "Train a model and see how far it is."},
    {"name": "models", "description": "Models, their versions and reports; which version answers."},
    {"name": "experiments", "description": "What came of answers, and which of several ways to answer is better."},
    {"name": "health", "description": "Whether the API lives and can work, and its figures; these need no key."},
]
"""What the calls are grouped by, in the order in which one meets them."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers of a call, for its documentation."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    code, detail = _PROBLEMS[status]
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": title, "content": {"application/problem+json": {"schema": schema, "example": example}}}


def complete_document(app: FastAPI) -> None:
    """Add what FastAPI does not know: the schema of problems, which are no application/json, and the scopes of calls.

    Parameters that may be left out lose their null, which a query cannot hold. Summaries are the first sentences of
    descriptions.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schema = Problem.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schema.pop("$defs")  # the status, which is there already
        document["components"]["schemas"]["Problem"] = schema
        for operation in _operations(document):
            operation["summary"] = operation["description"].split(".\n")[0].split(". ")[0].rstrip(".") + "."
        for parameter in _parameters(document):
            parameter["schema"] = _without_null(parameter["schema"])
        document["components"]["securitySchemes"] = {"apikey": _KEY}
        for (method, path), scope in SCOPES.items():
            document["paths"][BASE + path][method.lower()]["security"] = [{"apikey": [scope]}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def _parameters(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operation in _operations(document):
        yield from operation.get("parameters", ())


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == len(schema.get("anyOf", ())):
        return schema
    more = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**more, **choices[0]} if len(choices) == 1 else {**more, "anyOf": choices}
