"""Pages: one frozen value each, shown as HTML to people and as JSON to programs."""

import pathlib
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import TypeAdapter

from lucid.api.console import access
from lucid.api.console.viewer import VIEWER, Viewer
from lucid.api.problems import Problem
from lucid.schema.disk import in_megabytes
from lucid.schema.fields import ModelId, utc_now

_FOLDER = pathlib.Path(__file__).parent
STATIC = _FOLDER / "static"
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

Endpoint = Callable[..., Any]
Named = Annotated[ModelId, Path()]
"""The model that an address names."""
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
"""The version that it names, None for the one that answers."""
Text = Annotated[str, Query(max_length=10_000)]
"""A type or an id of customers in it."""


def page(router: APIRouter, path: str, template: str) -> Callable[[Endpoint], Endpoint]:
    """Show what a function returns under a path, and its twin under the same path with `.json`.

    The function takes what it needs as any route does that is not async.
    """

    def register(endpoint: Endpoint) -> Endpoint:
        def as_html(request: Request, value: Any) -> Response:
            return show(request, template, value)

        def as_json(_request: Request, value: Any) -> Response:
            kind: Any = type(value)
            return Response(_adapter(kind).dump_json(value), media_type="application/json")

        for name, answer in (("", as_html), (access.TWIN, as_json)):
            whole = access.CONSOLE + path + name
            router.add_api_route(whole, _answering(endpoint, answer, whole), methods=["GET"], include_in_schema=False)
        return endpoint

    return register


def _answering(endpoint: Endpoint, answer: Callable[[Request, Any], Response], name: str) -> Endpoint:
    """A route's function that takes the request besides what the endpoint takes, as FastAPI reads it off it."""

    @wraps(endpoint)
    def answering(request: Request, **given: Any) -> Response:
        return answer(request, endpoint(**given))

    answering.__name__ = name  # FastAPI names routes by it
    request = Parameter("request", Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    parameters = [request, *signature(endpoint).parameters.values()]
    answering.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return answering


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def show(request: Request, template: str, value: Any, status: int = 200) -> Response:
    """A value as a page, or as the part of one that htmx has asked for."""
    viewer: Viewer | None = request.scope.get(VIEWER)
    text = (
        _environment()
        .get_template(template)
        .render(
            page=value,
            viewer=viewer,
            partial="hx-request" in request.headers,
            path=request.url.path,
            query=request.url.query,
        )
    )
    return protected(HTMLResponse(text, status), getattr(value, "picture_origins", ()))


def go_to(path: str) -> Response:
    """What follows an action: a page of the console, by its path below `CONSOLE`, which is loaded anew."""
    return RedirectResponse(access.CONSOLE + path, 303)


def follow(request: Request, path: str) -> Response:
    """As `go_to`, after a form whose errors htmx shows beside it."""
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": access.CONSOLE + path})
    return go_to(path)


def error_page(request: Request, problem: JSONResponse) -> Response:
    """A problem as a page, with its status and what else its header tells."""
    value = Problem.model_validate_json(bytes(problem.body))
    answer = show(request, "error.html", value, problem.status_code)
    for name in ("retry-after", "allow"):
        if name in problem.headers:
            answer.headers[name] = problem.headers[name]
    return answer


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ago": _ago, "bytes": in_megabytes, "when": _when, "count": "{:,}".format, "share": _share}
    environment.globals |= {"console": access.CONSOLE}
    return environment


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _ago(moment: datetime) -> str:
    """How long something is ago, or ahead, in its largest unit."""
    seconds = (utc_now() - moment).total_seconds()
    size, unit = next((size, unit) for size, unit in _UNITS if abs(seconds) >= size or size == 1)
    count = round(abs(seconds) / size)
    told = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{told} ago" if seconds >= 0 else f"in {told}"


def _share(part: float) -> str:
    return f"{100 * part:.1f}%"


def protected(response: Response, pictures: Iterable[str] = ()) -> Response:
    """An answer with what keeps other pages, scripts of strangers and caches away from it.

    `pictures` are origins from which the page shows pictures. A policy that the answer has stays.
    """
    images = " ".join(("'self'", "data:", *pictures))  # `data:` is for the marks of form fields in the style sheet
    response.headers.setdefault(
        "Content-Security-Policy",
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Referrer-Policy"] = "same-origin"  # without any, browsers send no origin with forms
    response.headers["X-Frame-Options"] = "DENY"
    return response
