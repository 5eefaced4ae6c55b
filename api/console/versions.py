"""The versions of a model: which answers, which waits for a person and why, how two differ, and what is let go live."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from fastapi import APIRouter, Response

from lucid import models
from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import Screen
from lucid.api.console.pages import Named, Number, go_to, page
from lucid.api.console.viewer import Fields, FieldsDep, expect_typed
from lucid.api.routes import models as api
from lucid.api.services import ServicesDep
from lucid.errors import InvalidRequest
from lucid.schema.comparison import Comparison
from lucid.schema.fields import check
from lucid.schema.gate import Gate, GateRequest
from lucid.schema.training import Model, Pin, Rejection, Rollback
from lucid.settings import Settings
from lucid.training import versions_compared

router = APIRouter(route_class=Screen)


@dataclass(frozen=True)
class VersionsPage:
    """The versions of a model that are kept, the newest last."""

    model: Model


@dataclass(frozen=True)
class ComparePage:
    """Two versions side by side; None where there are no two."""

    model: Model
    comparison: Comparison | None


@dataclass(frozen=True)
class GatePage:
    """What a new training has to hold to go live by itself."""

    model: Model
    gate: Gate


@page(router, "/models/{model_id}/versions", "versions.html")
def show_versions(services: ServicesDep, model_id: Named) -> VersionsPage:
    """All versions that are kept."""
    return VersionsPage(models.find_model(services.settings, model_id))


@page(router, "/models/{model_id}/compare", "compare.html")
def show_comparison(services: ServicesDep, model_id: Named, a: Number = None, b: Number = None) -> ComparePage:
    """How two versions differ: what answers and the newest other one, or those that are named."""
    model = models.find_model(services.settings, model_id)
    if len(model.versions) < 2:
        return ComparePage(model, None)
    kept = tuple((one.version, one.created, one.live) for one in model.versions)
    return ComparePage(model, _compared(services.settings, model_id, a, b, kept))


@page(router, "/models/{model_id}/gate", "gate.html")
def show_gate(services: ServicesDep, model_id: Named) -> GatePage:
    """The bounds, as they are."""
    return GatePage(models.find_model(services.settings, model_id), api.show_gate(services, model_id))


@router.post(f"{CONSOLE}/models/{{model_id}}/promote", include_in_schema=False)
def promote(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Let a version answer that was held."""
    api.promote(services, model_id, _number(fields))
    return go_to(f"/models/{model_id}/versions")


@router.post(f"{CONSOLE}/models/{{model_id}}/reject", include_in_schema=False)
def reject(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Decide that a version shall not answer."""
    api.reject(services, model_id, _number(fields), check(Rejection, {"reason": fields.text("reason")}))
    return go_to(f"/models/{model_id}/versions")


@router.post(f"{CONSOLE}/models/{{model_id}}/rollback", include_in_schema=False)
def roll_back(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Let another version answer."""
    api.roll_back(services, model_id, None, Rollback(version=_number(fields)))
    return go_to(f"/models/{model_id}/versions")


@router.post(f"{CONSOLE}/models/{{model_id}}/pin", include_in_schema=False)
def pin(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Let a version answer whatever is trained."""
    api.pin(services, model_id, Pin(version=_number(fields)))
    return go_to(f"/models/{model_id}/versions")


@router.post(f"{CONSOLE}/models/{{model_id}}/unpin", include_in_schema=False)
def unpin(services: ServicesDep, model_id: Named) -> Response:
    """Let trainings go live again."""
    api.unpin(services, model_id)
    return go_to(f"/models/{model_id}/versions")


@router.post(f"{CONSOLE}/models/{{model_id}}/gate", include_in_schema=False)
def set_gate(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Set the bounds; a switch that is not there is off."""
    switches = {
        name: fields.text(name) == "true"
        for name, field in GateRequest.model_fields.items()
        if field.annotation is bool
    }
    bounds = {name: fields.text(name) for name in GateRequest.model_fields.keys() - switches}
    api.set_gate(services, model_id, check(GateRequest, {**bounds, **switches}))
    return go_to(f"/models/{model_id}/gate")


@router.post(f"{CONSOLE}/models/{{model_id}}/gate/reset", include_in_schema=False)
def reset_gate(services: ServicesDep, model_id: Named) -> Response:
    """Let the defaults hold again."""
    api.reset_gate(services, model_id)
    return go_to(f"/models/{model_id}/gate")


@router.post(f"{CONSOLE}/models/{{model_id}}/refresh", include_in_schema=False)
async def refresh(services: ServicesDep, model_id: Named) -> Response:
    """Precompute the recommendations again."""
    await api.refresh(services, model_id)
    return go_to(f"/models/{model_id}/progress")


@router.post(f"{CONSOLE}/models/{{model_id}}/delete", include_in_schema=False)
def delete(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Delete a model, once its name was typed."""
    expect_typed(fields, model_id)
    api.delete_model(services, model_id)
    return go_to("/home")


@lru_cache(maxsize=32)
def _compared(settings: Settings, model_id: str, a: int | None, b: int | None, _kept: Hashable) -> Comparison:
    """A comparison, made once for the versions that are kept: of large ones it takes longer than a page should."""
    return versions_compared.compare(settings, model_id, a, b)


def _number(fields: Fields) -> int:
    """The version that a form names; raises InvalidRequest."""
    number = check(Rollback, {"version": fields.text("version") or None}).version
    if number is None:
        raise InvalidRequest("version: missing; name the version")
    return number
