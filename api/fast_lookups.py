"""Look-ups at the speed of the web server: what was computed ahead, for one source or nobody, comes before any routing.

Everything else about `recommended_items`, wrong queries and missing keys included, goes on to the framework, whose
route is the whole contract: what is answered here would be answered there in the same way.
"""

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lucid.api.auth import ADMITTED, SCOPES
from lucid.api.nosniff import NO_SNIFFING
from lucid.api.paths import BASE, canonical
from lucid.api.routes.recommended_items import LISTS, MEDIA_TYPES, RecommendationParameters, endpoints
from lucid.api.services import Services
from lucid.errors import LucidError
from lucid.schema.fields import OutputFormat
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.rendering import Answer, render

_CALL = "/recommended_items"
_PATH = BASE + _CALL
_PLAIN = re.compile(rb"[A-Za-z0-9_.:-]+")
"""What stands in a query string as it is."""

_Asked = tuple[RecommendationQuery, str | None]
"""A query and the source that it is about, None for nobody; queries that differ in nothing else share the first."""

_ANY = "x"
"""Stands for all of it."""

_LONGEST_BODY = 10_000
"""A question about one source is shorter than this, in bytes."""


class FastLookups:
    """What the server calls: the application, with look-ups answered before it; see above."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._registry, self._keys, self._metrics = services.registry, services.keys, services.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and canonical(scope["path"]) == _PATH and scope["method"] in ("GET", "POST"):
            began = time.perf_counter()
            headers = dict(scope["headers"])
            if await self._admitted(headers, scope["method"]):
                scope[ADMITTED] = True
                asked, receive = await _read(scope, headers, receive)
                answer = self._registry.lookup_precomputed(*asked) if asked and not asked[0].is_noted else None
                if asked and answer:
                    await self._send(answer, asked[0].output_format, send)
                    self._metrics.call(endpoints[scope["method"]], scope["method"], 200, time.perf_counter() - began)
                    return
        await self._app(scope, receive, send)

    async def _admitted(self, headers: dict[bytes, bytes], method: str) -> bool:
        try:
            await self._keys.admit(headers.get(b"apikey", b"").decode("latin-1"), SCOPES[method, _CALL])
        except LucidError:  # for the framework to say
            return False
        return True

    async def _send(self, answer: Answer, output_format: OutputFormat, send: Send) -> None:
        body = b"".join(render(self._metrics.counted(answer), output_format))
        media_type = MEDIA_TYPES[output_format].encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type), NO_SNIFFING]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _read(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> tuple[_Asked | None, Receive]:
    """What is asked, if that is right and about one source or nobody; and what the framework reads the body from."""
    if scope["method"] == "GET":
        return _checked(_parameters, scope["query_string"]), receive
    length = headers.get(b"content-length", b"")
    json = headers.get(b"content-type", b"").startswith(b"application/json")
    if not json or not length.isdigit() or int(length) > _LONGEST_BODY:
        return None, receive
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    body = b"".join(message.get("body", b"") for message in messages)
    return _checked(lambda text: _of_one(RecommendationQuery.model_validate_json(text)), body), again


def _of_one(query: RecommendationQuery) -> _Asked | None:
    if query.is_for_nobody:
        return query, None
    return (query, query.source_id[0]) if query.source_id and len(query.source_id) == 1 else None


def _parameters(text: bytes) -> _Asked | None:
    """What a query string asks; those that differ in a plain `source_id` only are read once."""
    before, found, after = text.partition(b"source_id=")
    source, _, rest = after.partition(b"&")
    if found and _PLAIN.fullmatch(source):
        template = _template(before, rest)
        if template.source_id == [_ANY]:  # the only one
            return template, source.decode()
    return _of_one(_read_parameters(text))


@lru_cache(maxsize=256)
def _template(before: bytes, after: bytes) -> RecommendationQuery:
    return _read_parameters(b"%bsource_id=%b&%b" % (before, _ANY.encode(), after))


def _read_parameters(text: bytes) -> RecommendationQuery:
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        if name in LISTS:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return RecommendationParameters.model_validate(values)


def _checked(read: Callable[[bytes], _Asked | None], given: bytes) -> _Asked | None:
    try:
        return read(given)
    except (ValidationError, UnicodeError):
        return None
