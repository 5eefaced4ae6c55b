"""The API keys that the service knows, and what each may do now."""

import asyncio
import hmac
import math
import time
from datetime import datetime

from lucid.errors import Forbidden, LucidError, TooManyRequests, Unauthorized
from lucid.health import HealthWarnings
from lucid.keys import Scope, hash_secret
from lucid.schema.fields import utc_now
from lucid.store.catalog import Catalog
from lucid.store.tables.keys import ApiKey

REFRESH_SECONDS = 5
"""A key that was revoked stops after this time at the latest; a new one works at once."""

RECORD_SECONDS = 60
"""How far behind the last use of a key in the catalog may be."""


class KeyRing:
    """The keys of the catalog, kept in memory: a call with a known key never waits for the catalog."""

    def __init__(self, catalog: Catalog, rate_limit: str | None = None, warnings: HealthWarnings | None = None) -> None:
        self._catalog = catalog
        self._warnings = warnings or HealthWarnings()
        self._limit = RateLimit(rate_limit) if rate_limit else None
        self._keys: list[ApiKey] = []
        self._seen = 0
        self._reading = asyncio.Lock()
        self._used: dict[str, datetime] = {}
        self._recorded_at = time.monotonic()

    async def admit(self, secret: str | None, scope: Scope) -> str:
        """Let a call pass if its key has the scope; returns the key's id.

        Raises Unauthorized for a missing or wrong key, TooManyRequests for one over the limit, Forbidden for one
        without the scope.
        """
        key = await self.known(secret)
        self.use(key, scope)
        return key.key_id

    async def known(self, secret: str | None) -> ApiKey:
        """The key that a secret is of; raises Unauthorized for a missing or wrong one."""
        if not secret:
            raise Unauthorized("no API key: send it in the header 'apikey'")
        return await self._find(secret)

    def with_id(self, key_id: str) -> ApiKey | None:
        """A key by its id; None where there is none, or it was revoked."""
        return next((key for key in self._keys if key.key_id == key_id), None)

    def use(self, key: ApiKey, scope: Scope | None) -> None:
        """Note that a call came with a key; raises TooManyRequests and Forbidden, see `admit`."""
        self._used[key.key_id] = utc_now()
        if self._limit:
            self._limit.count(key.key_id)
        if scope is not None and scope not in key.scopes:
            raise Forbidden(f"this key lacks the scope {scope!r}; it has {', '.join(key.scopes)}")

    async def keep_up(self) -> None:
        """Notice changed keys and record the last uses, every few seconds until cancelled."""
        while True:
            with self._warnings.apart("keys", "the API keys could not be read; those known so far go on"):
                await self.refresh()
            if time.monotonic() - self._recorded_at > RECORD_SECONDS:
                await self.record_uses()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Read the keys if the catalog was written since; while it is busy, the keys known so far go on."""
        async with self._reading:
            changed = self._changed()
            if changed == self._seen:
                return
            try:
                self._keys = await asyncio.to_thread(self._catalog.keys.all)
            except LucidError:
                if not self._keys:
                    raise
            else:
                self._seen = changed

    async def record_uses(self) -> None:
        """Write the last uses into the catalog; where that goes wrong, it is a warning, and they are kept."""
        used, self._recorded_at = dict(self._used), time.monotonic()
        if used:
            with self._warnings.apart("uses of keys", "the last uses of API keys could not be recorded"):
                await asyncio.to_thread(self._catalog.keys.record_uses, used)
                self._used = {key: moment for key, moment in self._used.items() if moment != used.get(key)}

    async def _find(self, secret: str) -> ApiKey:
        found = self._matching(secret)
        if found is None and self._changed() != self._seen:  # it may have been made a moment ago
            await self.refresh()
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


class RateLimit:
    """How many calls each key may make, counted in the memory of this process.

    A key's window begins with its first call and ends after the second, minute, hour or day of the limit.
    """

    def __init__(self, limit: str) -> None:
        from limits import parse, storage, strategies  # takes a while to load, and most services have no limit

        self._limit = parse(limit)
        self._windows = strategies.FixedWindowRateLimiter(storage.MemoryStorage())

    def count(self, key_id: str) -> None:
        """Count a call; raises TooManyRequests where it is one too many."""
        if not self._windows.hit(self._limit, key_id):
            wait = self._windows.get_window_stats(self._limit, key_id).reset_time - time.time()
            raise TooManyRequests(f"this key may make {self._limit} calls", retry_after=max(1, math.ceil(wait)))
