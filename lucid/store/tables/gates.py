"""Gates: what people have set of how trainings of their models are compared."""

import json
from typing import Any

from lucid.store.tables.database import Database


class Gates:
    """The table of gates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, model_id: str) -> dict[str, Any] | None:
        """What was set for a model; None where nothing was."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT settings FROM gates WHERE model_id = ?", [model_id]).fetchone()
        return dict(json.loads(found[0])) if found else None

    def set(self, model_id: str, settings: dict[str, Any] | None) -> None:
        """Set it anew; None lets the defaults hold."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM gates WHERE model_id = ?", [model_id])
            if settings is not None:
                connection.execute("INSERT INTO gates VALUES (?, ?)", [model_id, json.dumps(settings)])
