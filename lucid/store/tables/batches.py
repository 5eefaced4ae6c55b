"""Batches: their place in upload order, their state, and which of them a training uses."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lucid.errors import InvalidRequest, UnknownBatch
from lucid.schema.batches import Batch, LoadedFile
from lucid.schema.fields import FileType
from lucid.store.tables.database import Connection, Database, Ended, Row, cut, list_or_none, row, rows
from lucid.store.tables.requests import RequestKey, find_first, keep

_COLUMNS = (
    "batch_id, created AS timestamp, tags, entity_count, interaction_count, rejected_count, status, message, code, "
    "errors, warnings, archived, file_name"
)


_WAITS = "(flow_run_id IS NULL AND parameters IS NOT NULL)"
_MOST_TRIES = 3
"""How many runs may die that import one upload."""


@dataclass(frozen=True)
class Entered:
    """The batches of an upload, and whether a flow run has been made for them."""

    batch_ids: list[str]
    begun: bool


@dataclass(frozen=True)
class SelectedBatch:
    """A batch that takes part in a training, in upload order."""

    batch_id: str
    file_type: FileType


@dataclass(frozen=True)
class RunningBatch:
    """A batch whose import is not finished; `entered` is UTC.

    `flow_run_id` is None while no run was made for it, which `waits` tells of an upload that will get one.
    """

    batch_id: str
    flow_run_id: str | None
    entered: datetime
    waits: bool


@dataclass(frozen=True)
class WaitingImport:
    """An upload that no flow run imports: its batches, all that the flow is to be told, and how many runs have died."""

    batch_ids: list[str]
    parameters: dict[str, Any]
    tries: int


@dataclass(frozen=True)
class ImportedBatch:
    """A batch whose import has ended well; `ended` is UTC, `flow_run_id` None where no flow run of the API did it."""

    batch: Batch
    ended: datetime
    flow_run_id: str | None


@dataclass(frozen=True)
class Failure:
    """Why an import failed: the message and the code of its error."""

    message: str
    code: str


class Batches:
    """The table of batches."""

    def __init__(self, database: Database, changed: Path) -> None:
        """`changed` is a file whose time says when batches were loaded, changed or deleted."""
        self._database, self._changed = database, changed

    def enter(
        self, batches: Sequence[Batch], parameters: dict[str, Any] | None = None, key: RequestKey | None = None
    ) -> Entered:
        """Enter batches that are not known yet, in this order; later ones win over earlier ones.

        With the flow's `parameters` they wait for a flow run.
        Where the key came before nothing is entered, and what was then is returned. Raises InvalidRequest for a known
        batch that has ended: its import cannot be done again; IdempotencyKeyReused.
        """
        with self._database.transaction() as connection:
            first = find_first(connection, key)
            if first and first.batch_ids:
                return Entered(first.batch_ids, _are_begun(connection, first.batch_ids))
            (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM batches").fetchone() or (0,)
            told = json.dumps(parameters) if parameters is not None else None
            for seq, batch in enumerate(batches, start=last + 1):
                known = row(connection.execute("SELECT status FROM batches WHERE batch_id = ?", [batch.batch_id]))
                if known and known["status"] != "running":
                    raise InvalidRequest(
                        f"batch {batch.batch_id} has ended already ({known['status']}); upload the file again"
                    )
                if not known:
                    connection.execute(
                        "INSERT INTO batches (seq, batch_id, created, tags, entity_count, interaction_count, "
                        "rejected_count, status, message, errors, warnings, archived, file_name, parameters) "
                        "VALUES (?, ?, ?, ?, 0, 0, 0, 'running', '', '[]', '[]', false, ?, ?)",
                        [seq, batch.batch_id, batch.timestamp, batch.tags, batch.file_name, told],
                    )
            ids = [batch.batch_id for batch in batches]
            keep(connection, key, batch_ids=ids)
        return Entered(ids, begun=False)

    def first_waiting(self) -> WaitingImport | None:
        """The earliest upload that waits for a flow run."""
        with self._database.reading() as connection:
            found = row(
                connection.execute(
                    f"SELECT parameters, tries FROM batches WHERE status = 'running' AND {_WAITS} ORDER BY seq LIMIT 1"
                )
            )
        if found is None:
            return None
        parameters = json.loads(found["parameters"])
        return WaitingImport(parameters["batch_ids"], parameters, found["tries"])

    def move_uploads(self, old: str, new: str) -> None:
        """Let uploads that are still to be imported be looked for below another home."""
        with self._database.transaction() as connection:
            found = rows(
                connection.execute(
                    "SELECT batch_id, parameters FROM batches WHERE status = 'running' AND parameters IS NOT NULL"
                )
            )
            for waiting in found:
                parameters = json.loads(waiting["parameters"])
                files = [new + file.removeprefix(old) if file.startswith(old) else file for file in parameters["files"]]
                connection.execute(
                    "UPDATE batches SET parameters = ? WHERE batch_id = ?",
                    [json.dumps({**parameters, "files": files}), waiting["batch_id"]],
                )

    def wait_again(self, batch_ids: Sequence[str]) -> list[str]:
        """Let uploads whose flow run has died wait for another one; returns the ids of all their batches that wait now.

        Those stay as they are that nobody uploaded over HTTP, and those of which so many runs have died already.
        """
        of_uploads = "parameters IS NOT NULL AND list_has_any(json_extract_string(parameters, '$.batch_ids[*]'), $ids)"
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE batches SET flow_run_id = NULL, tries = tries + 1 WHERE status = 'running' AND tries < $most "
                f"AND flow_run_id IS NOT NULL AND {of_uploads}",
                {"ids": list(batch_ids), "most": _MOST_TRIES - 1},
            )
            waiting = rows(
                connection.execute(
                    f"SELECT batch_id FROM batches WHERE status = 'running' AND {_WAITS} AND {of_uploads}",
                    {"ids": list(batch_ids)},
                )
            )
        return [batch["batch_id"] for batch in waiting]

    def set_flow_run(self, batch_ids: Sequence[str], flow_run_id: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE batches SET flow_run_id = ? WHERE list_contains(?, batch_id)",
                [flow_run_id, list(batch_ids)],
            )

    def complete(self, loaded: Sequence[tuple[str, LoadedFile]], events_through: int | None = None) -> None:
        """Make loaded batches visible to trainings, all at once.

        With `events_through` they are what was compacted of the log of events, up to that number.
        """
        with self._database.transaction() as connection:
            if events_through is not None:
                connection.execute("DELETE FROM compacted_events")
                connection.execute("INSERT INTO compacted_events VALUES (?)", [events_through])
            for batch_id, file in loaded:
                connection.execute(
                    "UPDATE batches SET status = 'completed', ended = now(), message = '', kind = ?, entity_count = ?, "
                    "interaction_count = ?, rejected_count = ?, errors = ?, warnings = ? WHERE batch_id = ?",
                    [
                        file.file_type,
                        file.loaded if file.file_type == "entities" else 0,
                        file.loaded if file.file_type == "interactions" else 0,
                        file.rejected,
                        json.dumps([error.model_dump() for error in file.errors]),
                        json.dumps([cut(warning) for warning in file.warnings]),
                        batch_id,
                    ],
                )
            self._mark_change()

    def fail(self, batch_ids: Sequence[str], message: str, code: str) -> list[str]:
        """Mark batches that still run as failed, with an error's message and code; returns their ids.

        A repeat of their request gets the same error, for as long as its key lasts; but where the import only stopped,
        the key is forgotten and a repeat is done.
        """
        with self._database.transaction() as connection:
            failed = rows(
                connection.execute(
                    "UPDATE batches SET status = 'error', ended = now(), message = ?, code = ? "
                    "WHERE list_contains(?, batch_id) AND status = 'running' RETURNING batch_id",
                    [cut(message), code, list(batch_ids)],
                )
            )
            if failed and code == "import_stopped":
                connection.execute("DELETE FROM request_keys WHERE list_has_any(batch_ids, ?)", [list(batch_ids)])
            elif failed:
                connection.execute(
                    "UPDATE request_keys SET message = ?, code = ? WHERE list_has_any(batch_ids, ?)",
                    [cut(message), code, list(batch_ids)],
                )
        return [batch["batch_id"] for batch in failed]

    def failure(self, batch_ids: Sequence[str]) -> Failure | None:
        """What made the first of these batches fail, which may have been deleted since; None where none failed."""
        with self._database.reading() as connection:
            found = row(
                connection.execute(
                    "SELECT message, code FROM (SELECT seq, message, code FROM batches "
                    "WHERE list_contains($ids, batch_id) AND status = 'error' UNION ALL "
                    "SELECT NULL, message, code FROM request_keys WHERE batch_ids = $ids AND code IS NOT NULL) "
                    "ORDER BY seq NULLS LAST LIMIT 1",
                    {"ids": list(batch_ids)},
                )
            )
        return Failure(**found) if found else None

    def find(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Batches in upload order: those named, those that have all of the tags, or all.

        Raises UnknownBatch where a named batch does not exist.
        """
        where = "WHERE (? IS NULL OR list_contains(?, batch_id)) AND (? IS NULL OR list_has_all(tags, ?))"
        ids, tagged = list_or_none(batch_ids), list_or_none(tags)
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM batches {where} ORDER BY seq", [ids, ids or [], tagged, tagged or []]
                )
            )
        missing = set(ids or ()) - {batch["batch_id"] for batch in found} if not tagged else set()
        if missing:
            raise UnknownBatch(f"no batch {', '.join(sorted(missing))}")
        return [_batch(batch) for batch in found]

    def running(self) -> list[RunningBatch]:
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    "SELECT batch_id, flow_run_id, created AS entered, " + _WAITS + " AS waits FROM batches "
                    "WHERE status = 'running'"
                )
            )
        return [RunningBatch(**batch) for batch in found]

    def ended(self, since: datetime) -> list[Ended]:
        """Imports that have ended since a time (aware) and that were not deleted, each file one."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    "SELECT 'import' AS work, batch_id AS name, status AS outcome, created AS started, ended "
                    "FROM batches WHERE ended >= ?",
                    [since],
                )
            )
        return [Ended(**batch) for batch in found]

    def untold(
        self, batch_ids: Sequence[str] | None = None, before: datetime | None = None, most: int = 100
    ) -> list[ImportedBatch]:
        """Imported batches that Prefect has not been told of, in upload order: those named, those before a time."""
        ids = list_or_none(batch_ids)
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT {_COLUMNS}, ended, flow_run_id FROM batches WHERE status = 'completed' AND NOT told "
                    "AND (? IS NULL OR list_contains(?, batch_id)) AND (? IS NULL OR ended < ?) ORDER BY seq LIMIT ?",
                    [ids, ids or [], before, before, most],
                )
            )
        return [ImportedBatch(_batch(batch), batch["ended"], batch["flow_run_id"]) for batch in found]

    def set_told(self, batch_ids: Sequence[str]) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE batches SET told = true WHERE list_contains(?, batch_id)", [list(batch_ids)])

    def select(self, data_tags: Sequence[str] | None) -> list[SelectedBatch]:
        """Completed batches, not archived, that have any of the tags (None: all), in upload order."""
        with self._database.reading() as connection:
            return _selected(connection, list_or_none(data_tags))

    def compacted_events(self) -> int:
        """Up to which number the events of the log stand in batches; 0 for none."""
        with self._database.reading() as connection:
            return _compacted(connection)

    def select_with_events(self, data_tags: Sequence[str] | None) -> tuple[list[SelectedBatch], int]:
        """What `select` and `compacted_events` find, at one moment."""
        with self._database.reading() as connection:
            return _selected(connection, list_or_none(data_tags)), _compacted(connection)

    def last_import(self, data_tags: Sequence[str] | None, but: Collection[str]) -> datetime | None:
        """When the last of the batches that `select` finds was imported, but for some, UTC; None where none is left."""
        tags = list_or_none(data_tags)
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    "SELECT coalesce(ended, created) AS imported FROM batches WHERE status = 'completed' "
                    "AND NOT archived AND (? IS NULL OR list_has_any(tags, ?)) AND NOT list_contains(?, batch_id)",
                    [tags, tags or [], list(but)],
                )
            )
        return max((batch["imported"] for batch in found), default=None)

    def tags(self) -> set[str]:
        """All tags that batches carry, whatever has become of these."""
        with self._database.reading() as connection:
            found = rows(connection.execute("SELECT DISTINCT unnest(tags) AS tag FROM batches"))
        return {batch["tag"] for batch in found}

    def update(self, batch_ids: Sequence[str], tags: Sequence[str] | None, archived: bool | None) -> None:
        """Set what is not None."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE batches SET tags = coalesce(?, tags), archived = coalesce(?, archived) "
                "WHERE list_contains(?, batch_id)",
                [list_or_none(tags), archived, list(batch_ids)],
            )
            self._mark_change()

    def set_rows(self, batch_id: str, count: int) -> None:
        """Count the rows of a batch from which some were erased."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE batches SET entity_count = CASE kind WHEN 'entities' THEN $count ELSE 0 END, "
                "interaction_count = CASE kind WHEN 'interactions' THEN $count ELSE 0 END WHERE batch_id = $batch_id",
                {"count": count, "batch_id": batch_id},
            )
            self._mark_change()

    def withdraw(self, batch_ids: Sequence[str]) -> bool:
        """Delete batches for which no flow run has been made, and their request's key; tells whether it did."""
        with self._database.transaction() as connection:
            withdrawn = rows(
                connection.execute(
                    "DELETE FROM batches WHERE list_contains(?, batch_id) AND flow_run_id IS NULL RETURNING batch_id",
                    [list(batch_ids)],
                )
            )
            if withdrawn:
                connection.execute("DELETE FROM request_keys WHERE batch_ids = ?", [list(batch_ids)])
        return bool(withdrawn)

    def delete(self, batch_ids: Sequence[str]) -> None:
        with self._database.transaction() as connection:
            deleted = rows(
                connection.execute(
                    "DELETE FROM batches WHERE list_contains(?, batch_id) RETURNING status", [list(batch_ids)]
                )
            )
            if any(batch["status"] == "completed" for batch in deleted):
                self._mark_change()

    def forget_failed(self, before: datetime, *, dry_run: bool) -> int:
        """Forget batches whose import failed and ended before a time (aware); returns how many."""
        failed = "status = 'error' AND coalesce(ended, created) < ?"
        return self._database.remove("batches", failed, [before], dry_run=dry_run)

    def known(self) -> dict[str, str]:
        """The status of every batch by its id."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT batch_id, status FROM batches").fetchall())

    def stamp(self) -> int:
        """Changes when batches were loaded, changed or deleted; costs no reading of the catalog."""
        try:
            return self._changed.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _mark_change(self) -> None:
        """Before the end of the transaction: whoever sees it waits for us, and if it fails, nothing has changed."""
        self._changed.touch(0o600)


def _selected(connection: Connection, tags: list[str] | None) -> list[SelectedBatch]:
    found = rows(
        connection.execute(
            "SELECT batch_id, kind AS file_type FROM batches WHERE status = 'completed' AND NOT archived "
            "AND (? IS NULL OR list_has_any(tags, ?)) ORDER BY seq",
            [tags, tags or []],
        )
    )
    return [SelectedBatch(**batch) for batch in found]


def _compacted(connection: Connection) -> int:
    (through,) = connection.execute("SELECT coalesce(max(through), 0) FROM compacted_events").fetchone() or (0,)
    return int(through)


def _are_begun(connection: Connection, batch_ids: Sequence[str]) -> bool:
    """Whether no batch of these waits for a flow run."""
    waiting = connection.execute(
        "SELECT 1 FROM batches WHERE list_contains(?, batch_id) AND status = 'running' AND flow_run_id IS NULL LIMIT 1",
        [list(batch_ids)],
    ).fetchone()
    return waiting is None


def _batch(found: Row) -> Batch:
    return Batch.model_validate({**found, **{name: json.loads(found[name]) for name in ("errors", "warnings")}})
