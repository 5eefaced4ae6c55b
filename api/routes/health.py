"""Whether the API lives and is ready, and its figures; needs no key."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST

from lucid.api.keyring import KeyRing
from lucid.api.problems import Problem, problem
from lucid.api.readiness import Ready
from lucid.api.services import ServicesDep
from lucid.errors import LucidError

router = APIRouter(tags=["health"])


@router.get("/", include_in_schema=False)
async def front_door() -> RedirectResponse:
    """Whoever opens the bare address in a browser wants to see what is here; the door there leads to `/docs`, too."""
    return RedirectResponse("/console")


@router.get("/health", include_in_schema=False)
@router.get("/health/live")
async def live() -> dict[str, str]:
    """Answer while the API runs."""
    return {"status": "ok"}


@router.get(
    "/health/ready",
    response_model=Ready,
    responses={
        503: {
            "model": Problem,
            "content": {"application/problem+json": {}},
            "description": "The home cannot be written, or the catalog not be read.",
        }
    },
)
async def ready(services: ServicesDep, request: Request) -> Ready | JSONResponse:
    """Tell whether the API can work. Prefect is told apart, because look-ups need none."""
    found = await services.readiness.look()
    if not await _is_administrator(services.keys, request):  # the sentences name models and files
        found = found.model_copy(update={"warnings": []})
    missing = [name for name in ("home", "catalog") if getattr(found, name) != "ok"]
    return problem(503, "unavailable", f"not ready: {' and '.join(missing)} unavailable") if missing else found


_FIGURES = {"schema": {"type": "string"}, "example": "lucid_recommendations_total 1200.0\n"}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": _FIGURES}}})
def metrics(services: ServicesDep) -> Response:
    """Give figures in the text format of Prometheus: counts and durations, and of names those of models only."""
    services.metrics.work.look(services.settings.home)
    return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _is_administrator(keys: KeyRing, request: Request) -> bool:
    try:
        await keys.admit(request.headers.get("apikey"), "admin")
    except LucidError:
        return False
    return True
