"""Callback deliveries: every event, its attempts, and which are owed and when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lucid.schema.deliveries import Delivery
from lucid.schema.training import ModelStatus
from lucid.store.tables.database import Connection, Database, cut, rows


@dataclass(frozen=True)
class Event:
    """One message to one receiver; every attempt to deliver it carries the same id and body."""

    event_id: str
    name: str
    url: str
    status: ModelStatus
    body: bytes
    created: datetime


NextAttempt = Callable[[int], datetime | None]
"""When an event is tried again after so many attempts that failed (UTC); None where that was the last."""

_COLUMNS = "event_id, event, version, url, attempts, delivered, message, created, updated, due AS next_attempt"


class Deliveries:
    """The table of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, event: Event, message: str | None, at: datetime, again: NextAttempt) -> None:
        """Count one attempt to deliver an event: `message` says why it failed, None that the event has arrived.

        One that failed is owed again from when `again` says.
        """
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT attempts FROM deliveries WHERE event_id = ?", [event.event_id]
            ).fetchone()
            if found is None:
                owe(connection, event, at)
            attempts = 1 + (found[0] if found else 0)
            due = None if message is None else again(attempts)
            connection.execute(
                "UPDATE deliveries SET attempts = $attempts, delivered = $delivered, message = $message, "
                "updated = $at, due = $due, body = CASE WHEN $due IS NOT NULL THEN $body END "
                "WHERE event_id = $event_id",
                {
                    "attempts": attempts,
                    "delivered": message is None,
                    "message": cut(message or ""),
                    "at": at,
                    "due": due,
                    "body": event.body.decode(),
                    "event_id": event.event_id,
                },
            )

    def next_due(self) -> datetime | None:
        """When the next attempt to deliver an owed event is due (UTC); None where none is owed."""
        with self._database.reading() as connection:
            (due,) = connection.execute("SELECT min(due) FROM deliveries").fetchone() or (None,)
        found: datetime | None = due
        return found

    def claim(self, now: datetime, until: datetime, count: int) -> list[Event]:
        """Some owed events that are due now; nobody else gets them before `until`.

        So an event that its sender did not get rid of, because it was killed, is due again then.
        """
        with self._database.transaction() as connection:
            claimed = rows(
                connection.execute(
                    "UPDATE deliveries SET due = $until WHERE event_id IN "
                    "(SELECT event_id FROM deliveries WHERE due <= $now ORDER BY due LIMIT $count) "
                    "RETURNING event_id, event, url, body, created",
                    {"now": now, "until": until, "count": count},
                )
            )
        return [
            Event(
                owed["event_id"],
                owed["event"],
                owed["url"],
                ModelStatus.model_validate_json(owed["body"]),
                owed["body"].encode(),
                owed["created"],
            )
            for owed in claimed
        ]

    def of_model(self, model_id: str) -> list[Delivery]:
        """All events that tell of a model, the newest first."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM deliveries WHERE model_id = ? ORDER BY created DESC, event_id", [model_id]
                )
            )
        return [Delivery(**delivery) for delivery in found]

    def recent(self, most: int) -> list[tuple[str, Delivery]]:
        """The newest events of all models, each with the name of its model."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT model_id, {_COLUMNS} FROM deliveries ORDER BY created DESC, event_id LIMIT ?", [most]
                )
            )
        return [(delivery.pop("model_id"), Delivery(**delivery)) for delivery in found]

    def forget(self, before: datetime, *, dry_run: bool) -> int:
        """Forget events that are not owed and were last tried before a time (aware); returns how many."""
        return self._database.remove("deliveries", "due IS NULL AND updated < ?", [before], dry_run=dry_run)

    def owe_again(self, event: Event, now: datetime) -> Delivery:
        """Enter that a known event is sent once more, with as many attempts as a new one."""
        with self._database.transaction() as connection:
            (owed,) = rows(
                connection.execute(
                    "UPDATE deliveries SET attempts = 0, delivered = false, message = '', updated = $now, due = $now, "
                    f"body = $body WHERE event_id = $event_id RETURNING {_COLUMNS}",
                    {"now": now, "body": event.body.decode(), "event_id": event.event_id},
                )
            )
        return Delivery(**owed)


def owe(connection: Connection, event: Event, due: datetime) -> None:
    """Enter an event that is owed from now on, in the transaction of what it tells of."""
    connection.execute(
        "INSERT INTO deliveries (event_id, model_id, version, event, url, created, body, attempts, delivered, message, "
        "updated, due) VALUES (?, ?, ?, ?, ?, ?, ?, 0, false, '', ?, ?)",
        [
            *(event.event_id, event.status.model_id, event.status.version, event.name, event.url, event.created),
            *(event.body.decode(), due, due),
        ],
    )
