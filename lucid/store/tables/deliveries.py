"""Callback deliveries: every event, its attempts, and which are owed and when."""

from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True)
class OwedEvent:
    """An event that was claimed, with the attempts to deliver it so far."""

    event: Event
    attempts: int


class Deliveries:
    """The table of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, event: Event, delivered: bool, message: str, at: datetime) -> None:
        """Count one attempt to deliver an event and keep its outcome; one that has arrived is owed no more."""
        with self._database.transaction() as connection:
            known = connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, delivered = $delivered, message = $message, "
                "updated = $at, body = CASE WHEN NOT $delivered THEN body END, "
                "due = CASE WHEN NOT $delivered THEN due END WHERE event_id = $event_id RETURNING event_id",
                {"delivered": delivered, "message": cut(message), "at": at, "event_id": event.event_id},
            ).fetchall()
            if not known:
                connection.execute(
                    "INSERT INTO deliveries (event_id, model_id, version, event, url, attempts, delivered, message, "
                    "updated) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)",
                    [*_named(event), delivered, cut(message), at],
                )

    def next_due(self) -> datetime | None:
        """When the next attempt to deliver an owed event is due (UTC); None where none is owed."""
        with self._database.reading() as connection:
            (due,) = connection.execute("SELECT min(due) FROM deliveries").fetchone() or (None,)
        found: datetime | None = due
        return found

    def claim(self, now: datetime, until: datetime, count: int) -> list[OwedEvent]:
        """Some owed events that are due now; nobody else gets them before `until`.

        So an event that its sender did not get rid of, because it was killed, is due again then.
        """
        with self._database.transaction() as connection:
            claimed = rows(
                connection.execute(
                    "UPDATE deliveries SET due = $until WHERE event_id IN "
                    "(SELECT event_id FROM deliveries WHERE due <= $now ORDER BY due LIMIT $count) "
                    "RETURNING event_id, event, url, body, attempts",
                    {"now": now, "until": until, "count": count},
                )
            )
        return [
            OwedEvent(
                Event(
                    owed["event_id"],
                    owed["event"],
                    owed["url"],
                    ModelStatus.model_validate_json(owed["body"]),
                    owed["body"].encode(),
                ),
                owed["attempts"],
            )
            for owed in claimed
        ]

    def put_off(self, event_id: str, due: datetime | None) -> None:
        """Say when an owed event is tried again; None gives it up."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET due = $due, body = CASE WHEN $due IS NOT NULL THEN body END "
                "WHERE event_id = $event_id AND NOT delivered",
                {"due": due, "event_id": event_id},
            )


def owe(connection: Connection, event: Event, due: datetime) -> None:
    """Enter an event that is owed from now on, in the transaction of what it tells of."""
    connection.execute(
        "INSERT INTO deliveries (event_id, model_id, version, event, url, attempts, delivered, message, updated, body, "
        "due) VALUES (?, ?, ?, ?, ?, 0, false, '', ?, ?, ?)",
        [*_named(event), due, event.body.decode(), due],
    )


def _named(event: Event) -> list[object]:
    return [event.event_id, event.status.model_id, event.status.version, event.name, event.url]
