"""API keys: only the hash of each secret, never the secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lucid.errors import UnknownKey
from lucid.store.tables.database import Database, rows


@dataclass(frozen=True)
class ApiKey:
    """A stored key; times are UTC, `last_used` None where it was never used."""

    key_id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None = None


class Keys:
    """The table of API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: ApiKey) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO api_keys (key_id, name, hash, scopes, created) VALUES (?, ?, ?, ?, ?)",
                [key.key_id, key.name, key.hash, list(key.scopes), key.created],
            )

    def all(self) -> list[ApiKey]:
        """All keys, oldest first."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    "SELECT key_id, name, hash, scopes, created, last_used FROM api_keys ORDER BY created"
                )
            )
        return [ApiKey(**{**key, "scopes": tuple(key["scopes"])}) for key in found]

    def revoke(self, key_id: str) -> None:
        """Forget a key; raises UnknownKey."""
        with self._database.transaction() as connection:
            gone = connection.execute("DELETE FROM api_keys WHERE key_id = ? RETURNING key_id", [key_id]).fetchall()
        if not gone:
            raise UnknownKey(f"no key {key_id!r}; see: lucid keys list")

    def record_uses(self, last_used: Mapping[str, datetime]) -> None:
        """Note when keys were last used; a later time that stands there stays."""
        with self._database.transaction() as connection:
            for key_id, moment in last_used.items():
                connection.execute(
                    "UPDATE api_keys SET last_used = greatest(last_used, ?) WHERE key_id = ?", [moment, key_id]
                )
