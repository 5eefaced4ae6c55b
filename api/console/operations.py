"""Operations: keys and their scopes, callbacks, erasures, and what takes the disk."""

import shutil
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from lucid import models
from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import Screen
from lucid.api.console.pages import go_to, page, show
from lucid.api.console.viewer import FieldsDep, Viewer, ViewerDep, expect_typed
from lucid.api.routes.entities import begin_erasure
from lucid.api.services import Services, ServicesDep
from lucid.disk import DiskMeter
from lucid.erasure import requests
from lucid.errors import Forbidden, InvalidRequest
from lucid.keys import SCOPES, create_key
from lucid.schema.batches import Erased
from lucid.schema.deliveries import Delivery
from lucid.schema.disk import DiskUse
from lucid.store.tables.keys import ApiKey

router = APIRouter(route_class=Screen)

MOST_DELIVERIES = 100
_ERASURE_SECONDS = 20


@dataclass(frozen=True)
class KeyLine:
    """A key, without what could be used of it."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None


@dataclass(frozen=True)
class KeysPage:
    """All keys; `secret` is that of one which was made a moment ago, shown only then."""

    keys: list[KeyLine]
    scopes: tuple[str, ...]
    mine: str
    secret: str | None = None


@dataclass(frozen=True)
class DeliveryLine:
    """A callback and the model that it tells of."""

    model_id: str
    delivery: Delivery


@dataclass(frozen=True)
class DeliveriesPage:
    """The latest callbacks of all models."""

    deliveries: list[DeliveryLine]


@dataclass(frozen=True)
class ErasuresPage:
    """The form; `erased` is what the last one took, `waits` that it waits for other work."""

    waiting: int
    erased: Erased | None = None
    waits: bool = False


@dataclass(frozen=True)
class DiskPage:
    """What the home takes, and what its disk has left."""

    use: DiskUse
    free: int
    total: int


@page(router, "/keys", "keys.html")
def show_keys(services: ServicesDep, viewer: ViewerDep) -> KeysPage:
    """Who may ask, and what."""
    return _keys(services, viewer)


@router.post(f"{CONSOLE}/keys", include_in_schema=False)
def make_key(request: Request, services: ServicesDep, viewer: ViewerDep, fields: FieldsDep) -> Response:
    """Make a key, which may do no more than the one that makes it."""
    scopes = fields.texts("scopes")
    if not scopes:
        raise InvalidRequest("scopes: choose at least one")
    beyond = [scope for scope in scopes if scope not in viewer.scopes]
    if beyond:
        raise Forbidden(
            f"this key lacks {', '.join(beyond)}, and makes no key that may do more than it; use: lucid keys"
        )
    _, secret = create_key(services.catalog, fields.text("name"), scopes)
    return show(request, "keys.html", _keys(services, viewer, secret))


@router.post(f"{CONSOLE}/keys/{{key_id}}/revoke", include_in_schema=False)
async def revoke_key(services: ServicesDep, key_id: str, fields: FieldsDep) -> Response:
    """Revoke a key, once its id was typed; whoever is signed in with it is signed out."""
    expect_typed(fields, key_id)
    await run_in_threadpool(services.catalog.keys.revoke, key_id)
    await services.keys.refresh()
    return go_to("/keys")


@page(router, "/deliveries", "deliveries.html")
def show_deliveries(services: ServicesDep) -> DeliveriesPage:
    """What receivers were told, and whether it arrived."""
    found = services.catalog.deliveries.recent(MOST_DELIVERIES)
    return DeliveriesPage([DeliveryLine(*line) for line in found])


@router.post(f"{CONSOLE}/deliveries/{{model_id}}/{{event_id}}/resend", include_in_schema=False)
def resend(services: ServicesDep, model_id: str, event_id: str) -> Response:
    """Send a callback once more."""
    models.resend(services.settings, model_id, event_id)
    return go_to("/deliveries")


@page(router, "/erasures", "erasures.html")
def show_erasures(services: ServicesDep) -> ErasuresPage:
    """What waits to be erased."""
    return ErasuresPage(requests.waiting(services.settings))


@router.post(f"{CONSOLE}/erasures", include_in_schema=False)
async def erase(request: Request, services: ServicesDep, fields: FieldsDep) -> Response:
    """Erase an entity for good, once its id was typed twice."""
    entity_id = fields.exact("id")
    if not entity_id:
        raise InvalidRequest("id: missing; name the entity")
    expect_typed(fields, entity_id)
    erased = await begin_erasure(services, [entity_id], _ERASURE_SECONDS)
    waiting = await run_in_threadpool(requests.waiting, services.settings)
    return show(request, "erasures.html", ErasuresPage(waiting, erased, waits=erased is None))


@page(router, "/disk", "disk.html")
def show_disk(services: ServicesDep) -> DiskPage:
    """What takes how much."""
    space = shutil.disk_usage(services.settings.home)
    return DiskPage(DiskMeter(services.settings.home).look(), space.free, space.total)


def _keys(services: Services, viewer: Viewer, secret: str | None = None) -> KeysPage:
    return KeysPage([_line(key) for key in services.catalog.keys.all()], SCOPES, viewer.key_id, secret)


def _line(key: ApiKey) -> KeyLine:
    return KeyLine(key.key_id, key.name, key.scopes, key.created, key.last_used)
