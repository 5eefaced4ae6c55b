"""Requests that may be repeated: what the first one with a key has entered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lucid.errors import IdempotencyKeyReused
from lucid.store.tables.database import Connection, Database, list_or_none, row

REQUEST_KEYS_LAST = timedelta(hours=24)
"""So long a repeated request is known to be one."""


@dataclass(frozen=True)
class RequestKey:
    """What tells a request that came `at` a time from all others and from itself, repeated.

    `digest` stands for the key that its client gave it, `fingerprint` for all that it asks; both are of fixed size.
    """

    digest: str
    fingerprint: str
    at: datetime


@dataclass(frozen=True)
class FirstRequest:
    """What the first request with a key has entered: batches or a training."""

    batch_ids: list[str] | None
    model_id: str
    version: int


class Requests:
    """The table of keys; other tables find and keep them in transactions of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def knows(self, key: RequestKey) -> bool:
        """Whether a request with this key has entered anything; raises IdempotencyKeyReused where it asked for else."""
        with self._database.reading() as connection:
            return find_first(connection, key) is not None

    def forget_training(self, model_id: str, version: int) -> None:
        """Let a repeat of the request that entered this training enter another."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM request_keys WHERE model_id = ? AND version = ?", [model_id, version])

    def forget_old(self, now: datetime, *, dry_run: bool) -> int:
        """Forget the keys whose time is over; returns how many."""
        return self._database.remove("request_keys", "entered <= ?", [now - REQUEST_KEYS_LAST], dry_run=dry_run)


def find_first(connection: Connection, key: RequestKey | None) -> FirstRequest | None:
    """What the first request with a key has entered; raises IdempotencyKeyReused where that asked for else."""
    if key is None:
        return None
    found = row(
        connection.execute(
            "SELECT fingerprint, batch_ids, model_id, version FROM request_keys WHERE digest = ? AND entered > ?",
            [key.digest, key.at - REQUEST_KEYS_LAST],
        )
    )
    if found is None:
        return None
    if found["fingerprint"] != key.fingerprint:
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another request before; send a new key with every new request"
        )
    return FirstRequest(found["batch_ids"], found["model_id"], found["version"])


def keep(
    connection: Connection,
    key: RequestKey | None,
    *,
    batch_ids: Sequence[str] | None = None,
    model_id: str | None = None,
    version: int | None = None,
) -> None:
    """Keep what a request with a key has entered, and forget the keys whose time is over."""
    if key is not None:
        connection.execute("DELETE FROM request_keys WHERE entered <= ?", [key.at - REQUEST_KEYS_LAST])
        connection.execute(
            "INSERT INTO request_keys (digest, fingerprint, entered, batch_ids, model_id, version) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [key.digest, key.fingerprint, key.at, list_or_none(batch_ids), model_id, version],
        )
