"""Explore: find an entity by what one types, see what is known of it, what it is recommended and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from fastapi import APIRouter, Query

from lucid.api.console.guard import Screen
from lucid.api.console.pages import Text, page
from lucid.api.services import Services, ServicesDep
from lucid.errors import InvalidRequest, ModelNotReady
from lucid.schema.fields import ForAll, ModelId, check
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.exploring import (
    EntityCard,
    NamedEntity,
    entities_of,
    find_entities,
    name_entity,
    show_entity,
)
from lucid.serving.predictor import Predictor
from lucid.serving.rendering import Answer

router = APIRouter(route_class=Screen)

Of = Annotated[ModelId, Query()]
Several = Annotated[list[str] | None, Query(max_length=20)]
FOUND, SHOWN = 20, 10


@dataclass(frozen=True)
class Suggestion:
    """A recommendation as people see it, with what contributed to it."""

    entity: NamedEntity
    score: float
    probability: float
    rank: int
    served_by: str
    explanation: list[dict[str, Any]]


@dataclass(frozen=True)
class ExplorePage:
    """The models that answer, and the types of the chosen one."""

    models: list[str]
    model_id: str | None
    version: int | None
    types: list[tuple[str, int]]
    text: str
    entity_type: str
    found: list[NamedEntity]


@dataclass(frozen=True)
class FoundPage:
    """Entities whose name or id fits what was typed."""

    model_id: str
    text: str
    found: list[NamedEntity]


@dataclass(frozen=True)
class _Pictured:
    """A page whose entities may have pictures, which come from `origins` and are shown where a person has asked."""

    pictures: bool
    origins: list[str]

    @property
    def picture_origins(self) -> list[str]:
        """Where the page may fetch pictures from."""
        return self.origins if self.pictures else []


@dataclass(frozen=True)
class EntityPage(_Pictured):
    """An entity, and what of a type is recommended to it."""

    model_id: str
    version: int
    card: EntityCard
    target_types: list[str]
    target_type: str
    suggestions: list[Suggestion]


@dataclass(frozen=True)
class ForAllList:
    """A list that is the same for all but for what each knows already, and what counts in it, in days.

    The window and the half-life are None where there is no such limit.
    """

    way: ForAll
    suggestions: list[Suggestion]
    window_days: int | None
    half_life_days: float | None


@dataclass(frozen=True)
class BesidePage:
    """What stands beside the answers of an entity: what is popular and what is trending, and what is like it.

    `for_all` is None where the version has not counted what is popular and what is trending.
    """

    model_id: str
    entity_id: str
    target_type: str
    for_all: list[ForAllList] | None
    similar: list[Suggestion]


@dataclass(frozen=True)
class MixPage(_Pictured):
    """Several sources asked for as one, some of them pushed away from."""

    model_id: str
    plus: list[NamedEntity]
    minus: list[NamedEntity]
    target_types: list[str]
    target_type: str
    suggestions: list[Suggestion]


@page(router, "/explore", "explore.html")
def show_explore(
    services: ServicesDep,
    model_id: Annotated[ModelId | None, Query()] = None,
    q: Text = "",
    entity_type: Text = "",
) -> ExplorePage:
    """Where the search begins."""
    models = services.catalog.trainings.models()
    chosen = model_id or (models[0] if models else None)
    if chosen is None:
        return ExplorePage([], None, None, [], q, entity_type, [])
    try:
        predictor = services.registry.predictor(chosen)
    except ModelNotReady:
        return ExplorePage(models, chosen, None, [], q, entity_type, [])
    types = predictor.version.config.entity_types
    sizes = [(name, len(types.rows(name))) for name in types.types]
    found = find_entities(predictor, q, entity_type or None, FOUND) if q else []
    return ExplorePage(models, chosen, predictor.version.number, sizes, q, entity_type, found)


@page(router, "/explore/found", "found.html")
def show_found(services: ServicesDep, model_id: Of, q: Text = "", entity_type: Text = "") -> FoundPage:
    """What fits so far, while somebody types."""
    predictor = services.registry.predictor(model_id)
    return FoundPage(model_id, q, find_entities(predictor, q, entity_type or None, FOUND) if q else [])


@page(router, "/explore/entity", "entity.html")
def show_one(
    services: ServicesDep,
    model_id: Of,
    id: Text,  # noqa: A002 - as the API calls it
    target_type: Text = "",
    pictures: bool = False,
) -> EntityPage:
    """All that is known of an entity, and its answers with their reasons."""
    predictor = services.registry.predictor(model_id)
    card, types = show_entity(predictor, id), _target_types(predictor)
    target = target_type or usual_target(predictor, card.entity.type)
    suggestions = _suggestions(services, predictor, model_id, source_id=[id], target_type=[target], explain=True)
    shown = [card.entity, *(one.entity for one in suggestions), *(edge.entity for edge in card.edges)]
    return EntityPage(pictures, _origins(shown), model_id, predictor.version.number, card, types, target, suggestions)


@page(router, "/explore/beside", "beside.html")
def show_beside(
    services: ServicesDep,
    model_id: Of,
    id: Text,  # noqa: A002 - as the API calls it
    target_type: Text,
) -> BesidePage:
    """What it would get if all got the same, and what is like it."""
    predictor = services.registry.predictor(model_id)
    similar = _suggestions(services, predictor, model_id, source_id=[id], use="similar", exclude_interacted=False)
    return BesidePage(model_id, id, target_type, _for_all(services, predictor, model_id, id, target_type), similar)


@page(router, "/explore/mix", "mix.html")
def show_mix(
    services: ServicesDep,
    model_id: Of,
    plus: Several = None,
    minus: Several = None,
    target_type: Text = "",
    pictures: bool = False,
) -> MixPage:
    """What suits several entities together, and none of those that are taken away."""
    predictor, wanted, unwanted = services.registry.predictor(model_id), given(plus), given(minus)
    if not wanted and not unwanted:
        return MixPage(False, [], model_id, [], [], _target_types(predictor), target_type, [])
    if not wanted:
        raise InvalidRequest("plus: missing; name at least one entity that the answer shall suit")
    plus_named, minus_named = ([name_entity(predictor, name) for name in part] for part in (wanted, unwanted))
    target = target_type or usual_target(predictor, plus_named[0].type)
    sources = [{"id": name, "weight": 1} for name in wanted] + [{"id": name, "weight": -1} for name in unwanted]
    suggestions = _suggestions(services, predictor, model_id, sources=sources, target_type=[target], explain=True)
    origins = _origins([*plus_named, *minus_named, *(one.entity for one in suggestions)])
    types = _target_types(predictor)
    return MixPage(pictures, origins, model_id, plus_named, minus_named, types, target, suggestions)


def given(ids: Sequence[str] | None) -> list[str]:
    return [name for name in ids or () if name.strip()]


def _target_types(predictor: Predictor) -> list[str]:
    """Types of entities, those first that pairs were judged or precomputed for."""
    config = predictor.version.config
    targets = [target for _, target in config.pairs]
    return list(dict.fromkeys([*sorted(set(targets)), *config.entity_types.types]))


def usual_target(predictor: Predictor, source_type: str) -> str:
    """The type that entities of a type are recommended first: of a pair of theirs, else any."""
    config = predictor.version.config
    return next((target for source, target in config.pairs if source == source_type), config.entity_types.types[0])


def _suggestions(services: Services, predictor: Predictor, model_id: str, **asked: Any) -> list[Suggestion]:
    """What the model answers, as the API would; people who look are not counted among its callers."""
    version = predictor.version.number
    query = check(
        RecommendationQuery, {"model_id": model_id, "version": version, "max_recommendations": SHOWN, **asked}
    )
    rows = _rows(services.registry.recommend(query))
    known = entities_of(predictor.version, [row["target_id"] for row in rows])
    return [
        Suggestion(
            known.get(row["target_id"]) or NamedEntity(row["target_id"], row["target_type"], row["name"], ""),
            row["score"],
            row["probability"],
            row["rank"],
            row["served_by"],
            row.get("explanation", []),
        )
        for row in rows
    ]


def _for_all(
    services: Services, predictor: Predictor, model_id: str, source_id: str, target_type: str
) -> list[ForAllList] | None:
    """The lists that are the same for all, without what the source knows already."""
    if (standings := predictor.version.standings) is None:
        return None
    found, asked = [], {"source_id": [source_id], "target_type": [target_type]}
    for way in get_args(ForAll):
        suggestions = _suggestions(services, predictor, model_id, use=way, **asked)
        span = standings.spans[target_type, way]
        found.append(ForAllList(way, suggestions, span.window, span.half_life))
    return found


def _rows(answer: Answer) -> list[dict[str, Any]]:
    found = []
    for block in answer.blocks:
        table = block.table()
        found += [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return found


def _origins(entities: Iterable[NamedEntity]) -> list[str]:
    """Where the pictures of entities come from."""
    return sorted({origin for entity in entities if (origin := _origin(entity.picture))})


def _origin(url: str) -> str | None:
    """Where a picture comes from, as a policy names it; None for none, and for what a policy cannot name."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), f":{parts.port}" if parts.port else ""
    except ValueError:  # an address only by its look, or a name that no host can have
        return None
    plain = host and all(letter.isalnum() or letter in ".-" for letter in host)
    return f"{parts.scheme}://{host}{port}" if parts.scheme in ("http", "https") and plain else None
