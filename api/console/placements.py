"""Placements: the rules of each in words and as they are written, their versions, and what two of them would show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from lucid.api.console.access import CONSOLE
from lucid.api.console.explore import SHOWN, Several, given, usual_target
from lucid.api.console.guard import Screen
from lucid.api.console.pages import Number, Text, follow, go_to, page, show
from lucid.api.console.rules_in_words import RuleInWords, in_words
from lucid.api.console.viewer import FieldsDep
from lucid.api.routes import placements as api
from lucid.api.services import Services, ServicesDep
from lucid.errors import InvalidRequest, UnknownPlacement
from lucid.models import find_model
from lucid.schema.fields import ModelId, check
from lucid.schema.placements import (
    Placement,
    PlacementName,
    PlacementRequest,
    PlacementRules,
    Preview,
    PreviewRequest,
    dump,
)
from lucid.schema.placements_yaml import parse_placement, write_yaml
from lucid.serving.exploring import NamedEntity, name_entity
from lucid.serving.preview import preview

router = APIRouter(route_class=Screen)

NamedPlacement = Annotated[PlacementName, Path()]
_RULES = "rules"
_FIRST = "name: home\nnote: ''\ndiversity: {lambda: 0.7}\n"


@dataclass(frozen=True)
class PlacementLine:
    """A placement at a glance: its last version, and which rules that has."""

    placement: Placement
    kinds: list[str]


@dataclass(frozen=True)
class PlacementsPage:
    """All placements that answer, by name."""

    placements: list[PlacementLine]


@dataclass(frozen=True)
class PreviewForm:
    """What can be previewed and what is chosen of it; an empty text for no rules, and for the usual type."""

    models: list[str]
    references: list[str]
    model_id: str
    source_ids: list[str]
    target_type: str
    a: str
    b: str


@dataclass(frozen=True)
class PlacementPage:
    """A version of a placement: its rules in words and as YAML, beside all versions, the last one first."""

    placement: Placement
    rules: list[RuleInWords]
    yaml: str
    versions: list[PlacementLine]
    form: PreviewForm

    @property
    def is_last(self) -> bool:
        """Whether this version answers."""
        return self.placement == self.versions[0].placement


@dataclass(frozen=True)
class PreviewPage:
    """Rows under two rule sets side by side, with the sources by their names; None until a source is named.

    `form` is None for rules that are saved nowhere.
    """

    name: str
    form: PreviewForm | None
    preview: Preview | None
    sources: list[NamedEntity]


@dataclass(frozen=True)
class EditPage:
    """A placement as YAML, to be changed and saved; `reference` is what it was, empty for a new one."""

    reference: str
    yaml: str
    models: list[str]
    model_id: str


@page(router, "/placements", "placements.html")
def show_placements(services: ServicesDep) -> PlacementsPage:
    """What there is."""
    return PlacementsPage([_line(one) for one in services.placements.all()])


@page(router, "/placements/edit", "placement_edit.html")
def show_edit(services: ServicesDep, reference: Text = "") -> EditPage:
    """Where rules are written: those of a placement or one of its versions, or new ones."""
    found = services.placements.find(reference) if reference else None
    models = services.catalog.trainings.models()
    chosen = _usual_model(models, found)
    return EditPage(found.reference if found else "", write_yaml(found) if found else _FIRST, models, chosen)


@page(router, "/placements/{name}/rules", "placement.html")
def show_rules(services: ServicesDep, name: NamedPlacement, version: Number = None) -> PlacementPage:
    """The rules that hold, or those of one version; of a placement that was ended, too."""
    versions = services.placements.versions(name)
    placement = next((one for one in versions if version in (None, one.version)), None)
    if placement is None:
        raise UnknownPlacement(f"placement {name!r} has no version {version}; its last one is {versions[0].version}")
    before = next((one.reference for one in versions if one.version < placement.version and not one.retired), "")
    form = _form(services, versions, b="" if placement.retired else placement.reference, a=before)
    return PlacementPage(placement, in_words(placement), write_yaml(placement), [_line(one) for one in versions], form)


@page(router, "/placements/{name}/preview", "placement_preview.html")
def show_preview(
    services: ServicesDep,
    name: NamedPlacement,
    model_id: Annotated[ModelId | None, Query()] = None,
    source_id: Several = None,
    target_type: Text = "",
    a: Text = "",
    b: Text | None = None,
) -> PreviewPage:
    """What some sources get by one rule set and by another: by default without rules, and with those that hold."""
    versions, sources = services.placements.versions(name), given(source_id)
    chosen = {"source_ids": sources, "target_type": target_type, "a": a, "b": versions[0].reference if b is None else b}
    form = _form(services, versions, **chosen, **({"model_id": model_id} if model_id else {}))
    if not sources:
        return PreviewPage(name, form, None, [])
    rules = {"a": form.a or None, "b": form.b or None}
    return _previewed(services, name, form, model_id=form.model_id, source_id=sources, target_type=target_type, **rules)


@router.post(f"{CONSOLE}/placements/preview", include_in_schema=False)
def preview_unsaved(request: Request, services: ServicesDep, fields: FieldsDep) -> Response:
    """What some sources would get by rules that are not saved, beside those that they were made of."""
    wanted = parse_placement(fields.exact(_RULES), _RULES)
    sources = fields.texts("source_id")
    if not sources:
        raise InvalidRequest("source_id: missing; name an entity to see what it would get")
    rules = {"a": fields.text("reference") or None, "b": _alone(wanted)}
    asked = {"model_id": fields.text("model_id"), "source_id": sources, "target_type": fields.exact("target_type")}
    return show(request, "placement_preview.html", _previewed(services, wanted.name, None, **asked, **rules))


@router.post(f"{CONSOLE}/placements", include_in_schema=False)
def save(request: Request, services: ServicesDep, fields: FieldsDep) -> Response:
    """Save rules as a new version; where that was asked for, only if a model has what they are about."""
    wanted = parse_placement(fields.exact(_RULES), _RULES)
    model_id = fields.text("model_id") if fields.text("checked") else None
    if model_id is not None:
        find_model(services.settings, model_id)
    saved = api.save_placement(services, wanted, model_id)
    return follow(request, f"/placements/{saved.name}/rules")


@router.post(f"{CONSOLE}/placements/{{name}}/retire", include_in_schema=False)
def retire(services: ServicesDep, name: NamedPlacement) -> Response:
    """End a placement, whose versions stay."""
    api.retire_placement(services, name)
    return go_to(f"/placements/{name}/rules")


def _line(placement: Placement) -> PlacementLine:
    return PlacementLine(placement, list(dump(_alone(placement))))


def _alone(placement: PlacementRequest) -> PlacementRules:
    """The rules without what a placement has beside them."""
    return PlacementRules.model_validate({name: getattr(placement, name) for name in PlacementRules.model_fields})


def _form(services: Services, versions: Sequence[Placement], **chosen: Any) -> PreviewForm:
    """What can be compared: versions of a placement, the last of each other one, and no rules."""
    own = [one.reference for one in versions if not one.retired]
    others = [name for name in services.placements.names() if name != versions[0].name]
    models = services.catalog.trainings.models()
    usual = {"model_id": _usual_model(models, versions[0]), "source_ids": [], "target_type": "", "a": "", "b": ""}
    return PreviewForm(models, own + others, **{**usual, **chosen})


def _usual_model(models: Sequence[str], placement: Placement | None) -> str:
    """The model that a placement is computed ahead for, or else the first one; empty for none."""
    ahead = [pair.model_id for pair in placement.precompute] if placement else []
    return next((name for name in (*ahead, *models) if name in models), "")


def _previewed(services: Services, name: str, form: PreviewForm | None, **asked: Any) -> PreviewPage:
    """What a preview finds that is asked for; without a type, of the one that the first source is recommended first."""
    find_model(services.settings, asked["model_id"])
    predictor = services.registry.predictor(asked["model_id"])
    if not asked["target_type"]:
        asked["target_type"] = usual_target(predictor, name_entity(predictor, asked["source_id"][0]).type)
    wanted = check(PreviewRequest, {**asked, "max_recommendations": SHOWN})
    found = preview(services.registry, services.placements, wanted)
    return PreviewPage(name, form, found, [name_entity(predictor, one.source_id) for one in found.sources])
