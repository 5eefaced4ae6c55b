"""What stands before every page and action of the console: the session, the scope, and that no other page asks."""

import hmac
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from lucid import errors
from lucid.api.console import access
from lucid.api.console.pages import error_page, protected
from lucid.api.console.sessions import Sessions
from lucid.api.console.viewer import CSRF_FIELD, CSRF_HEADER, VIEWER, Viewer, read_fields
from lucid.api.problems import answer_to, unexpected
from lucid.api.requests import BoundedRequest, bounded, expect_known, query_names
from lucid.api.services import services_of
from lucid.keys import Scope
from lucid.store.machine import RAW

COOKIE = "lucid_console"
_OWN = ("same-origin", "none")
"""What browsers say of a request that one of our own pages has sent, or a person."""


class Screen(APIRoute):
    """A page, its twin or an action: whoever is not signed in, or lacks its scope, gets nothing of it.

    Raises LookupError when it is made and `access` does not know it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        (scope,) = {access.scope_of(method, self.path) for method in self.methods or ()}
        taken = query_names(self.dependant)

        async def guarded(request: Request) -> Response:
            try:
                expect_own(request)
                limited = bounded(request)
                await _admit(limited, scope)
                expect_known(limited, taken)
                response = await handle(limited)
            except SignedOut:
                response = _to_the_door(request)
            except (errors.LucidError, RequestValidationError, HTTPException, *RAW) as error:
                response = _refuse(request, answer_to(request, error))
            except Exception as error:  # a fault of ours, of which a person is told on a page too
                response = _refuse(request, unexpected(request, error))
            return protected(response)

        return guarded


class SignedOut(Exception):
    """Nobody is signed in."""


def expect_own(request: Request) -> None:
    """Raise Forbidden for a request that another page has sent; `same-site` is another port of this machine."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    opened = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    foreign = site is not None and site not in _OWN and not opened
    if origin is not None:
        reached = services_of(request.app).settings.api  # which a proxy may hide behind another name
        foreign |= _host(origin) not in (request.headers.get("host", "").lower(), _host(reached))
    if request.method != "GET" and site is None and origin is None:
        raise errors.Forbidden("browsers say which page sends a form, this does not; programs use the API")
    if foreign:
        raise errors.Forbidden("another page has sent this; open the console and do it there")


def _host(address: str) -> str | None:
    """The host and port of an address; None for what is none."""
    try:
        return urlsplit(address).netloc.lower() or None
    except ValueError:
        return None


async def _admit(request: BoundedRequest, scope: Scope | None) -> None:
    """Let a request pass, and note who looks; raises SignedOut, Forbidden, TooManyRequests.

    Twins are also read by programs, with a key in the header as in all other calls.
    """
    services = services_of(request.app)
    secret = request.headers.get("apikey")
    if request.method == "GET" and request.url.path.endswith(access.TWIN) and secret is not None:
        key = await services.keys.known(secret)
        services.keys.use(key, scope)
        request.scope[VIEWER] = Viewer.of(key, "")
        return
    session = Sessions(services.settings.home, services.keys).find(request.cookies.get(COOKIE))
    if session is None:
        raise SignedOut
    request.scope[VIEWER] = Viewer.of(session.key, session.csrf)
    services.keys.use(session.key, scope)
    if request.method != "GET":
        await _expect_csrf(request, session.csrf)


async def _expect_csrf(request: BoundedRequest, csrf: str) -> None:
    """Raise Forbidden for what none of our pages has sent; an upload says so in a header, before it is read."""
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        given = (await read_fields(request)).text(CSRF_FIELD)
    if not hmac.compare_digest((given or "").encode(), csrf.encode()):
        raise errors.Forbidden("the form is not from a page of yours; load the page again and send it from there")


def _to_the_door(request: Request) -> Response:
    """To sign in, and from there back to the page; a program and a part of a page learn it by the status."""
    path = request.url.path
    if path.endswith(access.TWIN):
        return answer_to(request, errors.Unauthorized("not signed in: send a key in the header 'apikey'"))
    back = path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else ""
    door = f"{access.CONSOLE}/sign-in" + (f"?back={quote(back, safe='')}" if back else "")
    if "hx-request" in request.headers:  # a part of a page: the page as a whole goes there
        return Response(status_code=401, headers={"HX-Redirect": f"{access.CONSOLE}/sign-in"})
    return RedirectResponse(door, 303)


def _refuse(request: Request, answer: JSONResponse) -> Response:
    """What went wrong, for programs as the API says it, for people as a page."""
    if request.url.path.endswith(access.TWIN):
        return answer
    return error_page(request, answer)
