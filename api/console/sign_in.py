"""The door: a key opens a session, and signing out ends it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from lucid import errors
from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import COOKIE, Screen, expect_own
from lucid.api.console.pages import protected, show
from lucid.api.console.sessions import LIFE, Sessions
from lucid.api.console.viewer import read_fields
from lucid.api.problems import answer_to
from lucid.api.requests import bounded
from lucid.api.services import Services, ServicesDep

HOME = f"{CONSOLE}/home"
door, router = APIRouter(prefix=CONSOLE), APIRouter(prefix=CONSOLE, route_class=Screen)
"""The door is open to everybody; the router holds what only those do who have come in."""


@dataclass(frozen=True)
class SignIn:
    """The form, where it leads to, and why a key was not taken."""

    back: str
    refused: str = ""


@door.get("", include_in_schema=False)
async def front_page() -> Response:
    """Whoever opens the bare address sees the first page, or the door."""
    return RedirectResponse(HOME)


@door.get("/sign-in", include_in_schema=False)
async def show_door(request: Request, back: Annotated[str, Query(max_length=4000)] = HOME) -> Response:
    """The form that asks for a key."""
    return show(request, "sign_in.html", SignIn(_inside(back)))


@door.post("/sign-in", include_in_schema=False)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Open a session for a key that the service knows."""
    limited = bounded(request)
    try:
        expect_own(limited)
        fields = await read_fields(limited)
        back = _inside(fields.text("back"))
        key = await services.keys.known(fields.text("key"))
        services.keys.use(key, None)
    except errors.Unauthorized:
        return show(request, "sign_in.html", SignIn(back, "The service knows no such key."), 401)
    except errors.LucidError as error:
        problem = answer_to(request, error)
        return show(request, "sign_in.html", SignIn(HOME, error.for_customers), problem.status_code)
    session = await run_in_threadpool(_sessions(services).begin, key)
    answer = protected(RedirectResponse(back, 303))
    answer.set_cookie(
        COOKIE,
        session.token,
        max_age=int(LIFE.total_seconds()),
        path=CONSOLE,
        secure=request.url.scheme == "https" or services.settings.api.startswith("https:"),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/sign-out", include_in_schema=False)
def sign_out(request: Request, services: ServicesDep) -> Response:
    """End the session."""
    _sessions(services).end(request.cookies.get(COOKIE))
    answer = RedirectResponse(f"{CONSOLE}/sign-in", 303)
    answer.delete_cookie(COOKIE, path=CONSOLE)
    return answer


def _sessions(services: Services) -> Sessions:
    return Sessions(services.settings.home, services.keys)


def _inside(back: str) -> str:
    """A page of the console to go to; the first one in place of any other address."""
    plain = back.startswith(f"{CONSOLE}/") and back.isascii() and back.isprintable() and "\\" not in back
    return back if plain and "//" not in back.partition("?")[0] else HOME
