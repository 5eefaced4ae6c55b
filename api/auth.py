"""Who may call what: the one table of scopes, and the routes that ask for a key before they read a request."""

from codecs import BOM_UTF8
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException

from api.paths import BASE
from lucid.errors import InvalidRequest
from lucid.keys import Scope

SCOPES: dict[tuple[str, str], Scope] = {
    ("POST", "/data_batch"): "data:write",
    ("GET", "/data_batch"): "data:read",
    ("PATCH", "/data_batch"): "data:write",
    ("DELETE", "/data_batch"): "data:write",
    ("GET", "/data_batch/{batch_id}/errors"): "data:read",
    ("POST", "/train"): "train",
    ("GET", "/status"): "train",
    ("GET", "/models"): "train",
    ("GET", "/models/{model_id}"): "train",
    ("DELETE", "/models/{model_id}"): "admin",
    ("POST", "/models/{model_id}/rollback"): "train",
    ("POST", "/models/{model_id}/cancel"): "train",
    ("POST", "/recommended_items"): "recommend",
    ("GET", "/recommended_items"): "recommend",
    ("DELETE", "/entities"): "admin",
}
"""The scope that each call below `BASE` needs. No scope stands for another, `admin` neither: it is for what
cannot be undone."""

OPEN = {
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/static-offline-docs",
}
"""What needs no key."""

_SCHEME = {"type": "apiKey", "in": "header", "name": "apikey", "description": "Key made by `lucid keys create`."}

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""Header of every answer."""

ADMITTED = "lucid.admitted"
"""Stands in the scope of a request whose key was checked already."""

KEY_ID = "lucid.key_id"
"""Where the scope of a request names the key that it was admitted with."""

MAX_BODY_BYTES = 10_000_000
"""Largest body of a call; uploads have limits of their own."""

MAX_NAMES = 20_000
"""How many names the objects of a body may have together."""

MAX_PARAMETERS = 100
"""How many different names a query may have."""


class Guarded(APIRoute):
    """A route that asks for the key first: a stranger's request is neither read nor checked.

    Raises LookupError when it is made and `SCOPES` does not know it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        (scope,) = {_scope_of(method, self.path) for method in self.methods or ()}

        async def guarded(request: Request) -> Response:
            if ADMITTED not in request.scope:
                request.scope[KEY_ID] = await request.app.state.keys.admit(request.headers.get("apikey"), scope)
            bounded = _Bounded(request.scope, request.receive)
            if len(bounded.query_params) > MAX_PARAMETERS:  # the same as for names in a body
                raise InvalidRequest(f"the query has more than {MAX_PARAMETERS} names of parameters")
            return await handle(bounded)

        return guarded


class _Bounded(Request):
    """A request whose body is only taken into memory up to a limit, and read strictly."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            received = bytearray()
            _check_size(int(self.headers.get("content-length", 0)))
            async with aclosing(self.stream()) as stream:
                async for chunk in stream:
                    received += chunk
                    _check_size(len(received))
            self._body = bytes(received)
        return self._body

    # Python's own reader lets through NaN, numbers without end and halves of characters, which are no JSON: neither the
    # catalog nor Prefect could store them.
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads((await self.body()).removeprefix(BOM_UTF8))
            _check_names(self._json)
        return self._json


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes; send several calls")


def _check_names(value: object) -> None:
    """Refuse objects with very many names: each may be wrong, and to find that out holds up all other calls."""
    names, waiting = 0, [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                names += len(found)
                waiting += found.values()
            case list() as found:
                waiting += found
        if names > MAX_NAMES:
            raise HTTPException(422, f"the body has more than {MAX_NAMES:,} names of values")


def check_routes(app: FastAPI) -> None:
    """Raise LookupError for a route that is neither guarded nor listed as open."""
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, Guarded) and route.path not in OPEN:
            raise LookupError(f"{route.path} is neither guarded nor in api.auth.OPEN")


def describe_keys(app: FastAPI) -> None:
    """Let the OpenAPI description say which scope of a key every call needs."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema["components"]["securitySchemes"] = {"apikey": _SCHEME}
        for (method, path), scope in SCOPES.items():
            schema["paths"][BASE + path][method.lower()]["security"] = [{"apikey": [scope]}]
        return schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _scope_of(method: str, path: str) -> Scope:
    if (method, path) not in SCOPES:
        raise LookupError(f"{method} {path} is not in api.auth.SCOPES")
    return SCOPES[method, path]
