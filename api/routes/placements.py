"""Placements: rules of a shop, their versions, and what they would show."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from lucid.api.auth import Guarded
from lucid.api.openapi import problems
from lucid.api.services import ServicesDep
from lucid.schema.fields import ModelId, utc_now
from lucid.schema.placements import (
    Placement,
    PlacementName,
    PlacementReference,
    PlacementRequest,
    Preview,
    PreviewRequest,
)
from lucid.serving.preview import check_rules, preview

router = APIRouter(route_class=Guarded, tags=["placements"])

Named = Annotated[PlacementName, Path(description="Name of the placement.", examples=["home"])]


@router.post("/placements", status_code=201, responses=problems(404, 409), response_model_exclude_defaults=True)
def save_placement(
    services: ServicesDep,
    wanted: PlacementRequest,
    model_id: Annotated[
        ModelId | None, Query(description="Refuse rules on what no entity of this model has.", examples=["videos"])
    ] = None,
) -> Placement:
    """Save rules as a new version of a placement, which answers follow from now on.

    Where the last version has just these rules, that one is the answer.
    """
    if model_id is not None:
        check_rules(wanted, services.registry.predictor(model_id).version.names)
    return services.placements.save(wanted, utc_now())


@router.get("/placements", response_model_exclude_defaults=True)
def list_placements(services: ServicesDep) -> list[Placement]:
    """List all placements by name, each in its last version."""
    return services.placements.all()


@router.post("/placements/preview", responses=problems(404, 409))
def preview_placements(services: ServicesDep, wanted: PreviewRequest) -> Preview:
    """Compare what two rule sets would show to some sources, saved ones or others; nothing is saved.

    Rules on what no entity of the model has are refused.
    """
    return preview(services.registry, services.placements, wanted)


@router.get("/placements/{name}", responses=problems(404), response_model_exclude_defaults=True)
def show_placement(
    services: ServicesDep,
    name: Annotated[PlacementReference, Path(description="Its name, or a version of it as `home@3`.")],
) -> Placement:
    """Show a placement in its last version, or in the one named."""
    return services.placements.find(name)


@router.get("/placements/{name}/versions", responses=problems(404), response_model_exclude_defaults=True)
def list_placement_versions(services: ServicesDep, name: Named) -> list[Placement]:
    """List all versions of a placement, the last one first, also of one that was ended."""
    return services.placements.versions(name)


@router.delete("/placements/{name}", responses=problems(404), response_model_exclude_defaults=True)
def retire_placement(services: ServicesDep, name: Named) -> Placement:
    """End a placement: its name is unknown from now on, while its versions stay and may be asked for."""
    return services.placements.retire(name, utc_now())
