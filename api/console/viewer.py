"""Who looks at the console, and what their forms hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from lucid.errors import InvalidRequest
from lucid.keys import Scope
from lucid.store.tables.keys import ApiKey

CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
VIEWER = "lucid.viewer"
"""Where the scope of a request says who looks."""


@dataclass(frozen=True)
class Viewer:
    """Who looks: a key with its scopes, and what its forms carry."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    csrf: str

    def may(self, scope: Scope | None) -> bool:
        """Whether the key has a scope."""
        return scope is None or scope in self.scopes

    @classmethod
    def of(cls, key: ApiKey, csrf: str) -> "Viewer":
        return cls(key.key_id, key.name, key.scopes, csrf)


async def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.scope[VIEWER]
    return viewer


ViewerDep = Annotated[Viewer, Depends(_viewer)]
"""A page that names a parameter so learns who looks."""


class Fields:
    """What a form holds."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """The value of a field without blanks around it, empty where it is not there."""
        return self._values.get(name, [""])[-1].strip()

    def exact(self, name: str) -> str:
        """The value of a field as it was typed, for ids may have blanks around them."""
        return self._values.get(name, [""])[-1]

    def texts(self, name: str) -> list[str]:
        """All values of a field that are not empty."""
        return [value for value in self._values.get(name, ()) if value.strip()]


async def read_fields(request: Request) -> Fields:
    """The fields of a form that is no upload."""
    body = await request.body()
    try:
        return Fields(parse_qsl(body.decode(), keep_blank_values=True))
    except (UnicodeDecodeError, ValueError):
        raise InvalidRequest("the form cannot be read; send it as the page does") from None


FieldsDep = Annotated[Fields, Depends(read_fields)]


def expect_typed(fields: Fields, name: str) -> None:
    """Raise InvalidRequest where a person has not typed the name of what is to be removed for good."""
    typed = fields.exact("typed")
    if name not in (typed, typed.strip()):
        raise InvalidRequest(f"typed: found {typed[:100]!r}, expected {name[:100]!r}, to remove it for good")
