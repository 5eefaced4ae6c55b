"""The catalog: batches, trainings, API keys, keys of requests and callback deliveries in one small DuckDB file.

DuckDB lets one process write or many read, never both, so every function here opens the file for one
short transaction and closes it again; a file that another process holds is tried again until a deadline.
Bulk data never comes here.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from lucid.errors import (
    AlreadyTraining,
    IdempotencyKeyReused,
    InvalidRequest,
    NotTraining,
    Unavailable,
    UnknownBatch,
    UnknownKey,
    UnknownModel,
)
from lucid.schema.batches import Batch, LoadedFile
from lucid.schema.fields import RunStatus, Stage
from lucid.schema.training import ModelStatus
from lucid.store.files import keep_private, make_folder, replacing
from lucid.store.machine import connect, machine_error, telling

LOCK_DEADLINE_SECONDS = 30.0
_CLOSING_SECONDS = 2.0

REQUEST_KEYS_LAST = timedelta(hours=24)
"""So long a repeated request is known to be one."""

MAX_MESSAGE = 1000
"""How much of a message is kept, in characters."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq BIGINT, batch_id VARCHAR, created TIMESTAMPTZ, tags VARCHAR[], kind VARCHAR,
    entity_count BIGINT, interaction_count BIGINT, rejected_count BIGINT,
    status VARCHAR, message VARCHAR, code VARCHAR, errors JSON, archived BOOLEAN, file_name VARCHAR,
    flow_run_id VARCHAR);
CREATE TABLE IF NOT EXISTS trainings (
    model_id VARCHAR, version INTEGER, refresh_of INTEGER, status VARCHAR, stage VARCHAR, progress DOUBLE,
    message VARCHAR, started TIMESTAMPTZ, ended TIMESTAMPTZ, batch_ids VARCHAR[], request JSON,
    flow_run_id VARCHAR, flow_run_url VARCHAR);
CREATE TABLE IF NOT EXISTS api_keys (
    key_id VARCHAR, name VARCHAR, hash VARCHAR, scopes VARCHAR[], created TIMESTAMPTZ);
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS last_used TIMESTAMPTZ;
CREATE TABLE IF NOT EXISTS deliveries (
    event_id VARCHAR, model_id VARCHAR, version INTEGER, event VARCHAR, url VARCHAR,
    attempts INTEGER, delivered BOOLEAN, message VARCHAR, updated TIMESTAMPTZ);
CREATE TABLE IF NOT EXISTS request_keys (
    digest VARCHAR, fingerprint VARCHAR, entered TIMESTAMPTZ, batch_ids VARCHAR[], model_id VARCHAR, version INTEGER,
    message VARCHAR, code VARCHAR);
ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS body VARCHAR;
ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS due TIMESTAMPTZ;
"""

_LATEST = (("api_keys", "last_used"), ("deliveries", "due"), ("request_keys", "code"))
"""What a catalog of an earlier release lacks."""

_BATCH_COLUMNS = (
    "batch_id, created, tags, entity_count, interaction_count, rejected_count, status, message, errors, archived, "
    "file_name"
)
_TRAINING_COLUMNS = (
    "model_id, version, status, stage, progress, message, started, ended, batch_ids, flow_run_url, "
    "flow_run_id, request, refresh_of"
)

_DELIVERY_COLUMNS = "event_id, model_id, version, event, url, attempts, delivered, message, updated, body, due"

_RUNNING, _KNOWN = "status = 'running'", "status <> 'deleted'"


class _Busy(Exception):
    """Another connection holds the file; worth another try."""


@dataclass(frozen=True)
class ApiKey:
    """A stored key: only the hash of its secret, never the secret."""

    key_id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None = None


@dataclass(frozen=True)
class RequestKey:
    """What tells a request that came `at` a time from all others and from itself, repeated.

    `digest` stands for the key that its client gave it, `fingerprint` for all that it asks; both are of fixed size.
    """

    digest: str
    fingerprint: str
    at: datetime


@dataclass(frozen=True)
class Entered:
    """The batches of an upload, and whether a flow run has been made for them."""

    batch_ids: list[str]
    begun: bool


@dataclass(frozen=True)
class _First:
    """What the first request with a key has entered: batches or a training."""

    batch_ids: list[str] | None
    model_id: str
    version: int


@dataclass(frozen=True)
class Event:
    """One message to one receiver; every attempt to deliver it carries the same id and body."""

    event_id: str
    name: str
    url: str
    status: ModelStatus
    body: bytes


@dataclass(frozen=True)
class SelectedBatch:
    """A batch that takes part in a training, in upload order."""

    batch_id: str
    kind: str


@dataclass(frozen=True)
class TrainingRow:
    """A training as the catalog knows it, with what only the service needs."""

    status: ModelStatus
    flow_run_id: str | None
    request: dict[str, Any]
    refresh_of: int | None


class Catalog:
    """Reads and writes the catalog file; safe to share between threads."""

    # DuckDB refuses two connections of one process with different access modes, and each call needs only
    # milliseconds, so the threads of a process take turns.
    _turn: ClassVar[threading.Lock] = threading.Lock()

    _ready: ClassVar[set[Path]] = set()

    def __init__(self, home: Path) -> None:
        """Make the catalog of a home, or the home itself, where there is none; one that is there is only read.

        Raises MachineError, as all calls do, where the machine does not give what that takes.
        """
        self.path = home / "catalog.duckdb"
        self._batches_changed = home / "batches.changed"
        with telling(home):
            if not self.path.exists():
                make_folder(home)
            elif self.path in self._ready or self._is_current():
                return
        with self._transaction() as connection:
            keep_private(self.path)  # before anything stands in it
            connection.execute(_SCHEMA)
        self._ready.add(self.path)

    def _is_current(self) -> bool:
        """Whether the file has all tables, and what they have got last."""
        try:
            with self._reading() as connection:
                for table, column in _LATEST:
                    connection.execute(f"SELECT {column} FROM {table} LIMIT 0")
        except (duckdb.CatalogException, duckdb.BinderException):
            return False
        self._ready.add(self.path)
        return True

    @classmethod
    def close(cls) -> None:
        """Let no thread of this process open a catalog any more; waits a moment for one that has."""
        cls._turn.acquire(timeout=_CLOSING_SECONDS)

    # Batches

    def enter_batches(
        self, batches: Sequence[Batch], flow_run_id: str | None = None, key: RequestKey | None = None
    ) -> Entered:
        """Enter batches that are not known yet, in this order; later ones win over earlier ones.

        Where the key came before nothing is entered, and what was then is returned. Raises InvalidRequest for a known
        batch that has ended: its import cannot be done again; IdempotencyKeyReused.
        """
        with self._transaction() as connection:
            first = _first(connection, key)
            if first and first.batch_ids:
                return Entered(first.batch_ids, _begun(connection, first.batch_ids))
            (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM batches").fetchone() or (0,)
            for seq, batch in enumerate(batches, start=last + 1):
                known = connection.execute("SELECT status FROM batches WHERE batch_id = ?", [batch.batch_id]).fetchone()
                if known and known[0] != "running":
                    raise InvalidRequest(
                        f"batch {batch.batch_id} has ended already ({known[0]}); upload the file again"
                    )
                if not known:
                    connection.execute(
                        "INSERT INTO batches "
                        "VALUES (?, ?, ?, ?, NULL, 0, 0, 0, 'running', '', NULL, '[]', false, ?, ?)",
                        [seq, batch.batch_id, batch.timestamp, batch.tags, batch.file_name, flow_run_id],
                    )
            ids = [batch.batch_id for batch in batches]
            _keep(connection, key, batch_ids=ids)
        return Entered(ids, begun=flow_run_id is not None)

    def knows(self, key: RequestKey) -> bool:
        """Whether a request with this key has entered anything; raises IdempotencyKeyReused where it asked for else."""
        with self._reading() as connection:
            return _first(connection, key) is not None

    def batches_stamp(self) -> int:
        """Changes when batches were loaded, changed or deleted; costs no reading of the catalog."""
        try:
            return self._batches_changed.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _mark_change(self) -> None:
        """Before the end of the transaction: whoever sees it waits for us, and if it fails, nothing has changed."""
        self._batches_changed.touch(0o600)

    def complete_batches(self, loaded: Sequence[tuple[str, LoadedFile]]) -> None:
        """Make loaded batches visible to trainings, all at once."""
        with self._transaction() as connection:
            for batch_id, file in loaded:
                connection.execute(
                    "UPDATE batches SET status = 'completed', message = '', kind = ?, entity_count = ?, "
                    "interaction_count = ?, rejected_count = ?, errors = ? WHERE batch_id = ?",
                    [
                        file.kind,
                        file.loaded if file.kind == "entities" else 0,
                        file.loaded if file.kind == "interactions" else 0,
                        file.rejected,
                        json.dumps([error.model_dump() for error in file.errors]),
                        batch_id,
                    ],
                )
            self._mark_change()

    def fail_batches(self, batch_ids: Sequence[str], message: str, code: str) -> list[str]:
        """Mark batches that still run as failed, with an error's message and code; returns their ids.

        A repeat of their request gets the same error, for as long as its key lasts; but where the import only stopped,
        the key is forgotten and a repeat is done.
        """
        with self._transaction() as connection:
            failed = connection.execute(
                "UPDATE batches SET status = 'error', message = ?, code = ? "
                "WHERE list_contains(?, batch_id) AND status = 'running' RETURNING batch_id",
                [_cut(message), code, list(batch_ids)],
            ).fetchall()
            if failed and code == "import_stopped":
                connection.execute("DELETE FROM request_keys WHERE list_has_any(batch_ids, ?)", [list(batch_ids)])
            elif failed:
                connection.execute(
                    "UPDATE request_keys SET message = ?, code = ? WHERE list_has_any(batch_ids, ?)",
                    [_cut(message), code, list(batch_ids)],
                )
        return [row[0] for row in failed]

    def failure(self, batch_ids: Sequence[str]) -> tuple[str, str] | None:
        """Message and code of the first of these batches that failed, which may have been deleted since."""
        with self._reading() as connection:
            return connection.execute(
                "SELECT message, code FROM (SELECT seq, message, code FROM batches "
                "WHERE list_contains($ids, batch_id) AND status = 'error' UNION ALL "
                "SELECT NULL, message, code FROM request_keys WHERE batch_ids = $ids AND code IS NOT NULL) "
                "ORDER BY seq NULLS LAST LIMIT 1",
                {"ids": list(batch_ids)},
            ).fetchone()

    def set_batch_flow_run(self, batch_ids: Sequence[str], flow_run_id: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET flow_run_id = ? WHERE list_contains(?, batch_id)",
                [flow_run_id, list(batch_ids)],
            )

    def batches(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Batches in upload order: those named, those that carry all of the tags, or all.

        Raises UnknownBatch where a named batch does not exist.
        """
        where = "WHERE (? IS NULL OR list_contains(?, batch_id)) AND (? IS NULL OR list_has_all(tags, ?))"
        ids, carried = _list_or_none(batch_ids), _list_or_none(tags)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_BATCH_COLUMNS} FROM batches {where} ORDER BY seq",
                [ids, ids or [], carried, carried or []],
            ).fetchall()
        missing = set(ids or ()) - {row[0] for row in rows} if not carried else set()
        if missing:
            raise UnknownBatch(f"no batch {', '.join(sorted(missing))}")
        return [_batch(row) for row in rows]

    def update_batches(self, batch_ids: Sequence[str], tags: Sequence[str] | None, archived: bool | None) -> None:
        """Set what is not None."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET tags = coalesce(?, tags), archived = coalesce(?, archived) "
                "WHERE list_contains(?, batch_id)",
                [_list_or_none(tags), archived, list(batch_ids)],
            )
            self._mark_change()

    def withdraw_batches(self, batch_ids: Sequence[str]) -> bool:
        """Delete batches for which no flow run has been made, and their request's key; tells whether it did."""
        with self._transaction() as connection:
            withdrawn = connection.execute(
                "DELETE FROM batches WHERE list_contains(?, batch_id) AND flow_run_id IS NULL RETURNING batch_id",
                [list(batch_ids)],
            ).fetchall()
            if withdrawn:
                connection.execute("DELETE FROM request_keys WHERE batch_ids = ?", [list(batch_ids)])
        return bool(withdrawn)

    def delete_batches(self, batch_ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            deleted = connection.execute(
                "DELETE FROM batches WHERE list_contains(?, batch_id) RETURNING status", [list(batch_ids)]
            ).fetchall()
            if ("completed",) in deleted:
                self._mark_change()

    def select_batches(self, data_tags: Sequence[str] | None) -> list[SelectedBatch]:
        """Completed batches, not archived, that carry any of the tags (None: all), in upload order."""
        tags = _list_or_none(data_tags)
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT batch_id, kind FROM batches WHERE status = 'completed' AND NOT archived "
                "AND (? IS NULL OR list_has_any(tags, ?)) ORDER BY seq",
                [tags, tags or []],
            ).fetchall()
        return [SelectedBatch(*row) for row in rows]

    def set_batch_rows(self, batch_id: str, rows: int) -> None:
        """Count the rows of a batch from which some were erased."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET entity_count = CASE kind WHEN 'entities' THEN $rows ELSE 0 END, "
                "interaction_count = CASE kind WHEN 'interactions' THEN $rows ELSE 0 END WHERE batch_id = $batch_id",
                {"rows": rows, "batch_id": batch_id},
            )
            self._mark_change()

    def running_batches(self) -> list[tuple[str, str | None, datetime]]:
        """(batch_id, flow_run_id, entered) of every batch that is not finished."""
        with self._reading() as connection:
            return connection.execute(
                "SELECT batch_id, flow_run_id, created FROM batches WHERE status = 'running'"
            ).fetchall()

    # Trainings

    def start_training(
        self,
        model_id: str,
        request: dict[str, Any],
        started: datetime,
        stage: Stage,
        refresh_of: int | None = None,
        key: RequestKey | None = None,
    ) -> ModelStatus:
        """Enter a training (or, with `refresh_of`, a refresh) under the model's next version number.

        Where the key came before nothing is entered, and the training of then is returned as it is now. Raises
        AlreadyTraining while another one of the same model runs; IdempotencyKeyReused; UnknownModel where the training
        of the key was deleted.
        """
        with self._transaction() as connection:
            first = _first(connection, key)
            if first:
                return _status_of(connection, first)
            running = connection.execute(
                "SELECT version FROM trainings WHERE model_id = ? AND status = 'running'", [model_id]
            ).fetchone()
            if running:
                raise AlreadyTraining(
                    f"model {model_id!r} is being trained or refreshed (version {running[0]}); wait until it ends"
                )
            (version,) = connection.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM trainings WHERE model_id = ?", [model_id]
            ).fetchone() or (1,)
            connection.execute(
                "INSERT INTO trainings VALUES (?, ?, ?, 'running', ?, 0, '', ?, NULL, [], ?, NULL, NULL)",
                [model_id, version, refresh_of, stage, started, json.dumps(request)],
            )
            _keep(connection, key, model_id=model_id, version=version)
        return ModelStatus(
            model_id=model_id,
            version=version,
            status="running",
            stage=stage,
            progress=0,
            start_timestamp=started,
        )

    def forget_training_key(self, model_id: str, version: int) -> None:
        """Let a repeat of the request that entered this training enter another."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM request_keys WHERE model_id = ? AND version = ?", [model_id, version])

    def set_training_flow_run(self, model_id: str, version: int, flow_run_id: str, flow_run_url: str) -> None:
        self._update_training(model_id, version, "flow_run_id = ?, flow_run_url = ?", [flow_run_id, flow_run_url])

    def set_training_batches(self, model_id: str, version: int, batch_ids: Sequence[str]) -> None:
        self._update_training(model_id, version, "batch_ids = ?", [list(batch_ids)], only=_RUNNING)

    def set_progress(self, model_id: str, version: int, stage: Stage, progress: float, message: str) -> bool:
        """Record how far a running training has come; False where it is no longer wanted."""
        return self._update_training(
            model_id,
            version,
            "stage = ?, progress = ?, message = ?",
            [stage, progress, _cut(message)],
            only="status = 'running' AND stage <> 'cancelling'",
        )

    def cancel_training(self, model_id: str) -> TrainingRow:
        """Mark the running training of a model (refreshes do not count) as no longer wanted, and return it.

        Raises UnknownModel, NotTraining where none runs.
        """
        status = self.training(model_id).status
        wanted = self._update_training(model_id, status.version, "stage = ?", ["cancelling"], only=_RUNNING)
        if not wanted:
            raise NotTraining(f"no training of model {model_id!r} runs; its latest one is {status.status}")
        return self.training(model_id, status.version)

    def end_training(
        self,
        model_id: str,
        version: int,
        status: RunStatus,
        message: str,
        ended: datetime,
        owes: Callable[[ModelStatus], Event] | None = None,
    ) -> None:
        """Record how a running training ended; one that ended before keeps its record.

        `owes` makes an event of the final status that is owed from now on, see `claim_deliveries`: both are recorded or
        neither. A training that failed keeps the stage in which it did.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "UPDATE trainings SET status = $status, message = $message, ended = $ended, "
                "progress = CASE $status WHEN 'completed' THEN 100 ELSE progress END, "
                "stage = CASE WHEN $status = 'completed' OR stage = 'cancelling' THEN 'finished' ELSE stage END "
                f"WHERE model_id = $model_id AND version = $version AND {_RUNNING} RETURNING {_TRAINING_COLUMNS}",
                {"status": status, "message": _cut(message), "ended": ended, "model_id": model_id, "version": version},
            ).fetchone()
            if row and owes:
                event = owes(_training(row).status)
                connection.execute(
                    f"INSERT INTO deliveries ({_DELIVERY_COLUMNS}) VALUES (?, ?, ?, ?, ?, 0, false, '', ?, ?, ?)",
                    [event.event_id, model_id, version, event.name, event.url, ended, event.body.decode(), ended],
                )

    def training(self, model_id: str, version: int | None = None) -> TrainingRow:
        """One version of a model, or its latest training (refreshes do not count).

        Raises UnknownModel.
        """
        condition = f"{_KNOWN} AND " + ("refresh_of IS NULL" if version is None else "version = ?")
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {_TRAINING_COLUMNS} FROM trainings WHERE model_id = ? AND {condition} "
                "ORDER BY version DESC LIMIT 1",
                [model_id] if version is None else [model_id, version],
            ).fetchone()
        if row is None:
            raise UnknownModel(f"no model {model_id!r}; train it first")
        return _training(row)

    def running_trainings(self) -> list[TrainingRow]:
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {_TRAINING_COLUMNS} FROM trainings WHERE status = 'running'").fetchall()
        return [_training(row) for row in rows]

    def models(self) -> list[str]:
        """Names of all models that were ever trained and not deleted, sorted."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT DISTINCT model_id FROM trainings WHERE {_KNOWN} ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def forget_model(self, model_id: str) -> None:
        """Forget all of a model but its highest version number, so that no number ever means two versions."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE model_id = ? AND due IS NULL", [model_id])
            connection.execute("DELETE FROM trainings WHERE model_id = ? AND status <> 'running'", [model_id])
            connection.execute("UPDATE trainings SET status = 'deleted' WHERE model_id = ?", [model_id])

    def _update_training(
        self, model_id: str, version: int, assignments: str, values: list[Any], only: str = "true"
    ) -> bool:
        """Change one version's row if it fulfils a condition; tells whether it did."""
        with self._transaction() as connection:
            changed = connection.execute(
                f"UPDATE trainings SET {assignments} WHERE model_id = ? AND version = ? AND {only} RETURNING version",
                [*values, model_id, version],
            ).fetchall()
        return bool(changed)

    # Keys and callbacks

    def add_key(self, key: ApiKey) -> None:
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, NULL)",
                [key.key_id, key.name, key.hash, list(key.scopes), key.created],
            )

    def keys(self) -> list[ApiKey]:
        """All keys, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT key_id, name, hash, scopes, created, last_used FROM api_keys ORDER BY created"
            ).fetchall()
        return [ApiKey(key_id, name, digest, tuple(scopes), *times) for key_id, name, digest, scopes, *times in rows]

    def revoke_key(self, key_id: str) -> None:
        """Forget a key; raises UnknownKey."""
        with self._transaction() as connection:
            gone = connection.execute("DELETE FROM api_keys WHERE key_id = ? RETURNING key_id", [key_id]).fetchall()
        if not gone:
            raise UnknownKey(f"no key {key_id!r}; see: lucid keys list")

    def record_key_uses(self, last_used: Mapping[str, datetime]) -> None:
        """Note when keys were last used; a later time that stands there stays."""
        with self._transaction() as connection:
            for key_id, moment in last_used.items():
                connection.execute(
                    "UPDATE api_keys SET last_used = greatest(last_used, ?) WHERE key_id = ?", [moment, key_id]
                )

    def record_delivery(
        self,
        event_id: str,
        status: ModelStatus,
        event: str,
        url: str,
        delivered: bool,
        message: str,
        at: datetime,
    ) -> None:
        """Count one attempt to deliver an event and keep its outcome; one that has arrived is owed no more."""
        with self._transaction() as connection:
            known = connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, delivered = $delivered, message = $message, "
                "updated = $at, body = CASE WHEN NOT $delivered THEN body END, "
                "due = CASE WHEN NOT $delivered THEN due END WHERE event_id = $event_id RETURNING event_id",
                {"delivered": delivered, "message": _cut(message), "at": at, "event_id": event_id},
            ).fetchall()
            if not known:
                connection.execute(
                    f"INSERT INTO deliveries ({_DELIVERY_COLUMNS}) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, NULL, NULL)",
                    [event_id, status.model_id, status.version, event, url, delivered, _cut(message), at],
                )

    def next_delivery(self) -> datetime | None:
        """When the next attempt to deliver an owed event is due; None where none is owed."""
        with self._reading() as connection:
            found = connection.execute("SELECT min(due) FROM deliveries").fetchone()
        due: datetime | None = found[0] if found else None
        return due

    def claim_deliveries(self, now: datetime, until: datetime, count: int) -> list[tuple[Event, int]]:
        """Some owed events that are due now, with the attempts so far; nobody else gets them before `until`.

        So an event that its sender did not get rid of, because it was killed, is due again then.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "UPDATE deliveries SET due = $until WHERE event_id IN "
                "(SELECT event_id FROM deliveries WHERE due <= $now ORDER BY due LIMIT $count) "
                "RETURNING event_id, event, url, body, attempts",
                {"now": now, "until": until, "count": count},
            ).fetchall()
        return [
            (Event(event_id, name, url, ModelStatus.model_validate_json(body), body.encode()), attempts)
            for event_id, name, url, body, attempts in rows
        ]

    def put_off_delivery(self, event_id: str, due: datetime | None) -> None:
        """Say when an owed event is tried again; None gives it up."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET due = $due, body = CASE WHEN $due IS NOT NULL THEN body END "
                "WHERE event_id = $event_id AND NOT delivered",
                {"due": due, "event_id": event_id},
            )

    # Erasure

    def blank(self, names_one: Callable[[str], bool]) -> None:
        """Empty the texts that name an erased entity, and write the file anew if there were any.

        Such texts are values of rows that were set aside, of filters, and messages about them, those that are still
        to be delivered included.
        """
        with self._transaction() as connection:
            changed = [
                _blank_column(connection, table, column, names_one)
                for table, column in (
                    ("batches", "errors"),
                    ("batches", "message"),
                    ("batches", "file_name"),
                    ("trainings", "request"),
                    ("trainings", "message"),
                    ("request_keys", "message"),
                    ("deliveries", "message"),
                    ("deliveries", "body"),
                )
            ]
        if any(changed):
            self._rewrite()

    def _rewrite(self) -> None:
        """Copy the catalog to a new file that takes its place: DuckDB leaves old values in free blocks."""
        with telling(self.path), self._turn, self._patiently(self._attach) as connection, replacing(self.path) as new:
            connection.execute(f"ATTACH {_quoted(new)} AS fresh")
            connection.execute("COPY FROM DATABASE old TO fresh")
            connection.execute("CHECKPOINT fresh")  # letting go does it too, but says nothing where the disk is full
            connection.execute("DETACH fresh")

    def _attach(self) -> duckdb.DuckDBPyConnection:
        """A connection that only reads the catalog, as `old`, and keeps all writers out."""
        connection = connect(config={"autoinstall_known_extensions": False})
        try:
            connection.execute(f"ATTACH {_quoted(self.path)} AS old (READ_ONLY)")
        except duckdb.IOException as error:
            raise _busy_or_unavailable(self.path, error) from error
        if self.path.with_suffix(".duckdb.wal").exists():  # a process was killed; the next writer takes it in
            connection.close()
            with self._connect(read_only=False):
                raise _Busy
        return connection

    # Connections

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with telling(self.path), self._turn, self._connect(read_only=False) as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with telling(self.path), self._turn, self._connect(read_only=True) as connection:
            yield connection

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        return self._patiently(lambda: self._open(read_only))

    def _patiently(self, opening: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        attempts = Retrying(
            retry=retry_if_exception_type(_Busy),
            wait=wait_random_exponential(multiplier=0.01, max=0.25),
            stop=stop_after_delay(LOCK_DEADLINE_SECONDS),
            reraise=True,
        )
        try:
            return attempts(opening)
        except _Busy as busy:
            raise Unavailable(
                f"{self.path} stayed locked by another process for {LOCK_DEADLINE_SECONDS:.0f} s; try again"
            ) from busy

    def _open(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        try:
            file = self.path.stat().st_ino if self.path.exists() else None
            connection = connect(
                self.path,
                read_only=read_only,
                config={"threads": 1, "autoinstall_known_extensions": False},
            )
        except duckdb.IOException as error:
            raise _busy_or_unavailable(self.path, error) from error
        if file not in (None, self.path.stat().st_ino):  # it was written anew in this moment
            connection.close()
            raise _Busy
        connection.execute("SET TimeZone = 'UTC'")
        return connection


def _busy_or_unavailable(path: Path, error: duckdb.IOException) -> Exception:
    if "Could not set lock" in str(error):
        return _Busy()
    return machine_error(error, path) or Unavailable(f"{path} cannot be opened: {error}")


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _blank_column(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, names_one: Callable[[str], bool]
) -> bool:
    """Whether anything was blanked."""
    found = connection.execute(f"SELECT rowid, {column}::VARCHAR FROM {table} WHERE {column} IS NOT NULL").fetchall()
    changes = []
    for row, text in found:
        if column in ("errors", "request", "body"):
            blank = _blank_event(text, names_one) if column == "body" else _blank_values(text, names_one)
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


def _first(connection: duckdb.DuckDBPyConnection, key: RequestKey | None) -> _First | None:
    """What the first request with a key has entered; raises IdempotencyKeyReused where that asked for else."""
    if key is None:
        return None
    row = connection.execute(
        "SELECT fingerprint, batch_ids, model_id, version FROM request_keys WHERE digest = ? AND entered > ?",
        [key.digest, key.at - REQUEST_KEYS_LAST],
    ).fetchone()
    if row is None:
        return None
    fingerprint, *entered = row
    if fingerprint != key.fingerprint:
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another request before; send a new key with every new request"
        )
    return _First(*entered)


def _keep(
    connection: duckdb.DuckDBPyConnection,
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
            "INSERT INTO request_keys VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            [key.digest, key.fingerprint, key.at, _list_or_none(batch_ids), model_id, version],
        )


def _begun(connection: duckdb.DuckDBPyConnection, batch_ids: Sequence[str]) -> bool:
    """Whether no batch of these waits for a flow run."""
    waiting = connection.execute(
        f"SELECT 1 FROM batches WHERE list_contains(?, batch_id) AND {_RUNNING} AND flow_run_id IS NULL LIMIT 1",
        [list(batch_ids)],
    ).fetchone()
    return waiting is None


def _status_of(connection: duckdb.DuckDBPyConnection, first: _First) -> ModelStatus:
    row = connection.execute(
        f"SELECT {_TRAINING_COLUMNS} FROM trainings WHERE model_id = ? AND version = ? AND {_KNOWN}",
        [first.model_id, first.version],
    ).fetchone()
    if row is None:
        raise UnknownModel(
            f"the training of this Idempotency-Key was deleted with its model {first.model_id!r}; "
            "to train it again, send a new key"
        )
    return _training(row).status


def _blank_event(text: str, names_one: Callable[[str], bool]) -> str:
    """The body of an event, whose message tells nothing if it names an erased entity."""
    body = json.loads(text)
    return json.dumps({**body, "message": "erased"}) if names_one(body["message"]) else text


def _list_or_none(values: Sequence[str] | None) -> list[str] | None:
    return list(values) if values is not None else None


def _batch(row: Sequence[Any]) -> Batch:
    (
        batch_id,
        created,
        tags,
        entities,
        interactions,
        rejected,
        status,
        message,
        errors,
        archived,
        file_name,
    ) = row
    return Batch(
        batch_id=batch_id,
        timestamp=created,
        tags=tags,
        entity_count=entities,
        interaction_count=interactions,
        rejected_count=rejected,
        status=status,
        message=message,
        errors=json.loads(errors),
        archived=archived,
        file_name=file_name,
    )


def _training(row: Sequence[Any]) -> TrainingRow:
    (
        model_id,
        version,
        status,
        stage,
        progress,
        message,
        started,
        ended,
        batch_ids,
        url,
        run_id,
        request,
        of,
    ) = row
    return TrainingRow(
        status=ModelStatus(
            model_id=model_id,
            version=version,
            status=status,
            # Cancelled trainings of earlier releases kept saying that they were being cancelled.
            stage="finished" if stage == "cancelling" and status != "running" else stage,
            progress=progress,
            message=message,
            start_timestamp=started,
            end_timestamp=ended,
            data_batch_ids=batch_ids,
            flow_run_url=url,
        ),
        flow_run_id=run_id,
        request=json.loads(request),
        refresh_of=of,
    )
