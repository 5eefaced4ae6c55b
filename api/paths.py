"""Where the calls stand, and the other names that each of them has."""

from starlette.types import ASGIApp, Receive, Scope, Send

BASE = "/v1/recommender"

_OLDER = {"/v1/recommend/train": f"{BASE}/train"}


def canonical(path: str) -> str:
    """The path that a route has: without a slash at its end, and in place of an older name."""
    path = path.rstrip("/") or "/"
    return f"/v1{path}" if path.startswith("/recommender/") else _OLDER.get(path, path)


class Aliases:
    """Serves every path also with a slash at its end, and by the older names of the calls."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": canonical(scope["path"])}
        await self._app(scope, receive, send)
