"""API keys and scopes: who may call what."""

import hmac
import threading
import time
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from lucid.catalog import ApiKey, Catalog
from lucid.errors import Forbidden, LucidError, Unauthorized
from lucid.keys import Scope, hash_secret

_header = APIKeyHeader(name="apikey", auto_error=False, description="Key made by `lucid keys create`.")
REFRESH_SECONDS = 5.0
"""A key that was made or revoked elsewhere counts after this time at the latest; a new one at once."""


class KeyRing:
    """The keys of the catalog, kept in memory so that answering does not open the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._keys: list[ApiKey] = []
        self._read_at = float("-inf")
        self._seen = 0
        self._reading = threading.Lock()

    def check(self, secret: str | None, scope: Scope) -> None:
        """Raise Unauthorized for a missing or wrong key, Forbidden where it lacks the scope."""
        if not secret:
            raise Unauthorized("no API key: send it in the header 'apikey'")
        key = self._find(secret)
        if scope not in key.scopes:
            raise Forbidden(f"this key lacks the scope {scope!r}; it has {', '.join(key.scopes)}")

    def _find(self, secret: str) -> ApiKey:
        if time.monotonic() - self._read_at > REFRESH_SECONDS:
            self._read()
        found = self._matching(secret)
        if found is None and self._changed() != self._seen:  # it may have been made a moment ago
            self._read()
            found = self._matching(secret)
        if found is None:
            raise Unauthorized("unknown API key; make one with: lucid keys create")
        return found

    def _matching(self, secret: str) -> ApiKey | None:
        digest = hash_secret(secret)
        matches = [key for key in self._keys if hmac.compare_digest(key.hash, digest)]
        return matches[0] if matches else None

    def _changed(self) -> int:
        """When the catalog was last written."""
        return self._catalog.path.stat().st_mtime_ns

    def _read(self) -> None:
        with self._reading:
            self._read_at, seen = time.monotonic(), self._changed()
            try:
                self._keys, self._seen = self._catalog.keys(), seen
            except LucidError:
                if not self._keys:  # the catalog is busy: the keys known so far go on
                    raise


def needs(scope: Scope) -> Any:
    """A dependency that lets a request pass if its key has the scope."""

    def check(request: Request, apikey: Annotated[str | None, Security(_header)] = None) -> None:
        request.app.state.keys.check(apikey, scope)

    return Depends(check)
