"""Erasure in the catalog: the texts that name an erased entity are emptied."""

import json
from collections.abc import Callable
from typing import Any

from lucid.store.tables.database import Connection, Database

_TEXTS = (
    ("batches", "errors"),
    ("batches", "warnings"),
    ("batches", "message"),
    ("batches", "file_name"),
    ("trainings", "request"),
    ("trainings", "message"),
    ("request_keys", "message"),
    ("deliveries", "message"),
    ("deliveries", "body"),
)
"""Values of rows that were set aside and of filters, and messages about them, those to be delivered included."""


def blank(database: Database, names_one: Callable[[str], bool]) -> None:
    """Empty the texts that name an erased entity, and write the file anew if there were any."""
    with database.transaction() as connection:
        changed = [_blank_column(connection, table, column, names_one) for table, column in _TEXTS]
    if any(changed):
        database.rewrite()


def _blank_column(connection: Connection, table: str, column: str, names_one: Callable[[str], bool]) -> bool:
    """Whether anything was blanked."""
    found = connection.execute(f"SELECT rowid, {column}::VARCHAR FROM {table} WHERE {column} IS NOT NULL").fetchall()
    changes = []
    for row, text in found:
        if column in _BLANKING:
            blank = _BLANKING[column](text, names_one)
            changed = json.loads(blank) != json.loads(text)
        else:
            blank, changed = "erased", names_one(text)
        if changed:
            changes.append([blank, row])
    if changes:
        connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changes)
    return bool(changes)


def _blank_values(text: str, names_one: Callable[[str], bool]) -> str:
    """JSON in which what is called `value` and names an erased entity is empty."""

    def blank(raw: dict[str, Any]) -> dict[str, Any]:
        value = raw.get("value")
        if isinstance(value, str) and names_one(value):
            return {**raw, "value": ""}
        if isinstance(value, list):
            return {**raw, "value": ["" if isinstance(one, str) and names_one(one) else one for one in value]}
        return raw

    return json.dumps(json.loads(text, object_hook=blank))


def _blank_event(text: str, names_one: Callable[[str], bool]) -> str:
    """The body of an event, whose message tells nothing if it names an erased entity."""
    body = json.loads(text)
    return json.dumps({**body, "message": "erased"}) if names_one(body["message"]) else text


def _blank_texts(text: str, names_one: Callable[[str], bool]) -> str:
    """A list of texts, of which those that name an erased entity tell nothing."""
    return json.dumps(["erased" if names_one(one) else one for one in json.loads(text)])


_BLANKING = {"errors": _blank_values, "request": _blank_values, "body": _blank_event, "warnings": _blank_texts}
"""Columns that hold JSON, and what empties it; all others are texts."""
