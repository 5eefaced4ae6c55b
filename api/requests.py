"""What a request may hold: limits of its body, its names and its parameters, and JSON that is read strictly."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import Request
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lucid.errors import InvalidRequest
from lucid.schema.names import unknown

MAX_BODY_BYTES = 10_000_000
"""Largest body of a call; uploads have limits of their own."""

MAX_NAMES = 20_000
"""How many names the objects of a body may have together."""

MAX_PARAMETERS = 100
"""How many different names a query may have."""


class BoundedRequest(Request):
    """A request whose body is only taken into memory up to a limit, and read strictly.

    Its body and its JSON raise HTTPException, 413 or 422, where they are over a limit.
    """

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


def bounded(request: Request) -> BoundedRequest:
    """The request with its limits; raises InvalidRequest where its query has too many names, as `_check_names` does."""
    limited = BoundedRequest(request.scope, request.receive)
    if len(limited.query_params) > MAX_PARAMETERS:
        raise InvalidRequest(f"the query has more than {MAX_PARAMETERS} names of parameters")
    return limited


def query_names(dependant: Dependant) -> set[str] | None:
    """Names of the parameters that a route takes from a query; None where a model takes, and checks, all of them."""
    taken = list(_query_parameters(dependant))
    if any(isinstance(kind := one.field_info.annotation, type) and issubclass(kind, BaseModel) for one in taken):
        return None
    return {one.alias for one in taken}


def _query_parameters(dependant: Dependant) -> Iterator[ModelField]:
    yield from dependant.query_params
    for inner in dependant.dependencies:
        yield from _query_parameters(inner)


def expect_known(request: Request, known: set[str] | None) -> None:
    """Raise InvalidRequest for a parameter that the route does not take: what it should have done would not be done."""
    for name in request.query_params:
        if known is not None and name not in known:
            raise InvalidRequest(f"{name[:100]}: {unknown('parameter of the query', name, known)}")


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
