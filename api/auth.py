"""Who may call what: the one table of scopes, and the routes that ask for a key before they read a request."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from lucid.api.requests import bounded, expect_known, query_names
from lucid.api.services import services_of
from lucid.keys import Scope

SCOPES: dict[tuple[str, str], Scope] = {
    ("POST", "/data_batch"): "data:write",
    ("GET", "/data_batch"): "data:read",
    ("PATCH", "/data_batch"): "data:write",
    ("DELETE", "/data_batch"): "data:write",
    ("GET", "/data_batch/{batch_id}/errors"): "data:read",
    ("POST", "/events"): "data:write",
    ("GET", "/events"): "data:read",
    ("POST", "/train"): "train",
    ("GET", "/status"): "train",
    ("GET", "/models"): "train",
    ("GET", "/models/{model_id}"): "train",
    ("DELETE", "/models/{model_id}"): "admin",
    ("GET", "/models/{model_id}/versions/{version}/lineage"): "train",
    ("GET", "/models/{model_id}/versions/{version}/report"): "train",
    ("GET", "/models/{model_id}/versions/{version}/report/held_out"): "data:read",
    ("POST", "/models/{model_id}/rollback"): "train",
    ("POST", "/models/{model_id}/cancel"): "train",
    ("POST", "/models/{model_id}/refresh"): "train",
    ("GET", "/models/{model_id}/refresh"): "train",
    ("GET", "/models/{model_id}/deliveries"): "train",
    ("POST", "/models/{model_id}/versions/{version}/promote"): "train",
    ("POST", "/models/{model_id}/versions/{version}/reject"): "train",
    ("PUT", "/models/{model_id}/pin"): "train",
    ("DELETE", "/models/{model_id}/pin"): "train",
    ("GET", "/models/{model_id}/compare"): "train",
    ("GET", "/models/{model_id}/gate"): "train",
    ("PUT", "/models/{model_id}/gate"): "train",
    ("DELETE", "/models/{model_id}/gate"): "train",
    ("GET", "/models/{model_id}/schedules"): "train",
    ("POST", "/models/{model_id}/schedules"): "train",
    ("DELETE", "/models/{model_id}/schedules/{schedule_id}"): "train",
    ("GET", "/models/{model_id}/auto_train"): "train",
    ("PUT", "/models/{model_id}/auto_train"): "train",
    ("DELETE", "/models/{model_id}/auto_train"): "train",
    ("POST", "/models/{model_id}/deliveries/{event_id}/resend"): "train",
    ("GET", "/models/{model_id}/attribution"): "train",
    ("POST", "/experiments"): "train",
    ("GET", "/experiments"): "train",
    ("GET", "/experiments/{name}"): "train",
    ("POST", "/experiments/{name}/stop"): "train",
    ("DELETE", "/experiments/{name}"): "train",
    ("POST", "/recommended_items"): "recommend",
    ("GET", "/recommended_items"): "recommend",
    ("POST", "/placements"): "train",
    ("GET", "/placements"): "recommend",
    ("POST", "/placements/preview"): "recommend",
    ("GET", "/placements/{name}"): "recommend",
    ("GET", "/placements/{name}/versions"): "recommend",
    ("DELETE", "/placements/{name}"): "train",
    ("DELETE", "/entities"): "admin",
}
"""The scope that each call below `BASE` needs. No scope stands for another, `admin` neither: it is for what
cannot be undone."""

OPEN = {
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/static-offline-docs",
}
"""What needs no key."""

ADMITTED = "lucid.admitted"
"""Stands in the scope of a request whose key was checked already."""

KEY_ID = "lucid.key_id"
"""Where the scope of a request names the key that it was admitted with."""


class Guarded(APIRoute):
    """A route that asks for the key first: a stranger's request is neither read nor checked.

    Raises LookupError when it is made and `SCOPES` does not know it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        (scope,) = {_scope_of(method, self.path) for method in self.methods or ()}
        taken = query_names(self.dependant)

        async def guarded(request: Request) -> Response:
            if ADMITTED not in request.scope:
                keys = services_of(request.app).keys
                request.scope[KEY_ID] = await keys.admit(request.headers.get("apikey"), scope)
            limited = bounded(request)
            expect_known(limited, taken)
            return await handle(limited)

        return guarded


def check_routes(app: FastAPI, guards: tuple[type[APIRoute], ...] = (), also_open: Collection[str] = ()) -> None:
    """Raise LookupError for a route that is neither guarded, here or by another guard, nor listed as open."""
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, (Guarded, *guards)) and route.path not in OPEN | set(also_open):
            raise LookupError(f"{route.path} is neither guarded nor in lucid.api.auth.OPEN")


def _scope_of(method: str, path: str) -> Scope:
    if (method, path) not in SCOPES:
        raise LookupError(f"{method} {path} is not in lucid.api.auth.SCOPES")
    return SCOPES[method, path]
