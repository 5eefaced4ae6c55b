"""Trainings: the versions of models, how far each has come, and how it ended."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from lucid.errors import AlreadyTraining, NotTraining, UnknownModel
from lucid.schema.fields import RunStatus, Stage
from lucid.schema.training import ModelStatus
from lucid.store.tables.database import Connection, Database, Ended, Row, cut, row, rows
from lucid.store.tables.deliveries import Event, owe
from lucid.store.tables.requests import FirstRequest, RequestKey, find_first, keep

Kind = Literal["training", "refresh", "erasure"]
"""What makes versions; the last two make them of another version."""
_COLUMNS = (
    "model_id, version, status, stage, progress, message, started, ended, batch_ids, flow_run_url, "
    "flow_run_id, request, refresh_of, held"
)
_RUNNING, _KNOWN = "status = 'running'", "status <> 'deleted'"
_WAITING = f"{_RUNNING} AND stage = 'queued' AND flow_run_id IS NULL"
_TRAININGS, _REFRESHES = "refresh_of IS NULL", "refresh_of > 0"  # what is being deleted is entered as a refresh of 0


@dataclass(frozen=True)
class TrainingRow:
    """A training as the catalog knows it, with what only the service needs."""

    status: ModelStatus
    flow_run_id: str | None
    request: dict[str, Any]
    refresh_of: int | None

    @property
    def kind(self) -> Kind | None:
        """What kind of work has made its version, or was to; None for a refresh or an erasure that has made none."""
        if self.refresh_of is None:
            return "training"
        if self.status.status != "completed" or self.status.message:  # a refresh that found nothing says so
            return None
        return "refresh" if self.status.data_batch_ids else "erasure"  # which selects no data


class Trainings:
    """The table of trainings and refreshes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
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
        with self._database.transaction() as connection:
            first = find_first(connection, key)
            if first:
                return _status_of(connection, first)
            running = row(
                connection.execute(f"SELECT version FROM trainings WHERE model_id = ? AND {_RUNNING}", [model_id])
            )
            if running:
                raise AlreadyTraining(
                    f"model {model_id!r} is being trained or refreshed (version {running['version']}); "
                    "wait until it ends"
                )
            (version,) = connection.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM trainings WHERE model_id = ?", [model_id]
            ).fetchone() or (1,)
            connection.execute(
                "INSERT INTO trainings (model_id, version, refresh_of, status, stage, progress, message, started, "
                "batch_ids, request) VALUES (?, ?, ?, 'running', ?, 0, '', ?, [], ?)",
                [model_id, version, refresh_of, stage, started, json.dumps(request)],
            )
            keep(connection, key, model_id=model_id, version=version)
        return ModelStatus(
            model_id=model_id,
            version=version,
            status="running",
            stage=stage,
            progress=0,
            start_timestamp=started,
        )

    def set_flow_run(self, model_id: str, version: int, flow_run_id: str, flow_run_url: str) -> None:
        self._update(model_id, version, "flow_run_id = ?, flow_run_url = ?", [flow_run_id, flow_run_url])

    def set_batches(self, model_id: str, version: int, batch_ids: Sequence[str]) -> None:
        self._update(model_id, version, "batch_ids = ?", [list(batch_ids)], only=_RUNNING)

    def set_progress(self, model_id: str, version: int, stage: Stage, progress: float, message: str) -> bool:
        """Record how far a running training has come; False where it is to be cancelled."""
        return self._update(
            model_id,
            version,
            "stage = ?, progress = ?, message = ?",
            [stage, progress, cut(message)],
            only=f"{_RUNNING} AND stage <> 'cancelling'",
        )

    def set_waiting(self, model_id: str, version: int, message: str) -> None:
        """Say what a training that waits for its flow run waits for, besides its turn."""
        self._update(model_id, version, "message = ?", [cut(message)], only=_WAITING)

    def cancel(self, model_id: str) -> TrainingRow:
        """Mark the running training or refresh of a model as to be cancelled, and return it.

        Raises UnknownModel, NotTraining where none runs.
        """
        training, refresh = self.get(model_id), self.latest_refresh(model_id)
        latest = max((each for each in (training, refresh) if each), key=lambda each: each.status.version)
        if not self._update(model_id, latest.status.version, "stage = ?", ["cancelling"], only=_RUNNING):
            raise NotTraining(
                f"no training or refresh of model {model_id!r} runs; its latest training is {training.status.status}"
            )
        return self.get(model_id, latest.status.version)

    def end(
        self,
        model_id: str,
        version: int,
        status: RunStatus,
        message: str,
        ended: datetime,
        owes: Callable[[ModelStatus], Event] | None = None,
        *,
        held: bool = False,
    ) -> None:
        """Record how a running training ended; one that ended before keeps its record.

        `owes` makes an event of the final status that is owed from now on, see `Deliveries.claim`: both are recorded or
        neither. A training that failed keeps the stage in which it did.
        """
        with self._database.transaction() as connection:
            found = row(
                connection.execute(
                    "UPDATE trainings SET status = $status, message = $message, ended = $ended, held = $held, "
                    "progress = CASE $status WHEN 'completed' THEN 100 ELSE progress END, "
                    "stage = CASE WHEN $status = 'completed' OR stage = 'cancelling' THEN 'finished' ELSE stage END "
                    f"WHERE model_id = $model_id AND version = $version AND {_RUNNING} RETURNING {_COLUMNS}",
                    {
                        "status": status,
                        "message": cut(message),
                        "ended": ended,
                        "held": held,
                        "model_id": model_id,
                        "version": version,
                    },
                )
            )
            if found and owes:
                owe(connection, owes(_training(found).status), ended)

    def decide(self, model_id: str, version: int, message: str, *, tell: bool) -> None:
        """Record what somebody has decided of a training; Prefect is told of it once more if it is to `tell`."""
        decided = "held = false, message = ?, told = told AND ?"
        self._update(model_id, version, decided, [cut(message), not tell], only=f"{_TRAININGS} AND NOT {_RUNNING}")

    def held(self) -> list[TrainingRow]:
        """Trainings that wait for somebody to promote or reject them."""
        with self._database.reading() as connection:
            found = rows(connection.execute(f"SELECT {_COLUMNS} FROM trainings WHERE {_KNOWN} AND held"))
        return [_training(training) for training in found]

    def get(self, model_id: str, version: int | None = None) -> TrainingRow:
        """One version of a model, or its latest training (refreshes do not count); raises UnknownModel."""
        found = (
            self._latest(model_id, _TRAININGS) if version is None else self._latest(model_id, "version = ?", version)
        )
        if found is None:
            raise UnknownModel(f"no model {model_id!r}; train it first")
        return found

    def latest_refresh(self, model_id: str) -> TrainingRow | None:
        """The latest refresh of a model; None where there was none."""
        return self._latest(model_id, _REFRESHES)

    def _latest(self, model_id: str, condition: str, *values: Any) -> TrainingRow | None:
        """The latest of a model's trainings and refreshes that fulfil a condition."""
        with self._database.reading() as connection:
            found = row(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM trainings WHERE model_id = ? AND {_KNOWN} AND {condition} "
                    "ORDER BY version DESC LIMIT 1",
                    [model_id, *values],
                )
            )
            if found and found["stage"] == "queued" and found["flow_run_id"] is None:
                place = _place_in_queue(connection, found)
                found["message"] = f"{place}; {found['message']}" if found["message"] else place
        return _training(found) if found else None

    def running(self) -> list[TrainingRow]:
        with self._database.reading() as connection:
            found = rows(connection.execute(f"SELECT {_COLUMNS} FROM trainings WHERE {_RUNNING}"))
        return [_training(training) for training in found]

    def recent(self, most: int) -> list[TrainingRow]:
        """The trainings and refreshes of all models that began last, the latest first."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM trainings WHERE {_KNOWN} AND ({_TRAININGS} OR {_REFRESHES}) "
                    "ORDER BY started DESC, model_id LIMIT ?",
                    [most],
                )
            )
        return [_training(training) for training in found]

    def first_waiting(self, *, refresh: bool = False) -> ModelStatus | None:
        """The earliest training, or refresh, that the API has entered and that has no flow run."""
        kind = _REFRESHES if refresh else _TRAININGS
        with self._database.reading() as connection:
            found = row(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM trainings WHERE {_WAITING} AND {kind} ORDER BY started, model_id LIMIT 1"
                )
            )
        return _training(found).status if found else None

    def ended(self, since: datetime) -> list[Ended]:
        """Trainings and refreshes that have ended since a time (aware), but for those of deleted models."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT CASE WHEN {_TRAININGS} THEN 'training' ELSE 'refresh' END AS work, "
                    "model_id || ' ' || version AS name, "
                    "CASE WHEN message = 'cancelled' THEN message ELSE status END AS outcome, started, ended "
                    f"FROM trainings WHERE {_KNOWN} AND ended >= ?",
                    [since],
                )
            )
        return [Ended(**training) for training in found]

    def used_batches(self, model_id: str, but: Sequence[str]) -> set[str]:
        """All batches that trainings of a model have chosen, but for those of trainings with such a final message."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    "SELECT DISTINCT unnest(batch_ids) AS batch_id FROM trainings "
                    f"WHERE model_id = ? AND {_KNOWN} AND refresh_of IS NULL AND NOT list_contains(?, message)",
                    [model_id, list(but)],
                )
            )
        return {batch["batch_id"] for batch in found}

    def untold(self, before: datetime, most: int = 100) -> list[TrainingRow]:
        """Trainings and refreshes that ended before a time and that Prefect has not been told of, by their ends."""
        with self._database.reading() as connection:
            found = rows(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM trainings WHERE status IN ('completed', 'error') AND NOT told "
                    "AND ended < ? ORDER BY ended LIMIT ?",
                    [before, most],
                )
            )
        return [_training(training) for training in found]

    def set_told(self, model_id: str, version: int) -> None:
        self._update(model_id, version, "told = true", [])

    def models(self) -> list[str]:
        """Names of all models that were ever trained and not deleted, sorted."""
        with self._database.reading() as connection:
            found = rows(connection.execute(f"SELECT DISTINCT model_id FROM trainings WHERE {_KNOWN} ORDER BY 1"))
        return [model["model_id"] for model in found]

    def forget_model(self, model_id: str) -> None:
        """Forget all of a model but its highest version number, so that no number ever means two versions."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE model_id = ? AND due IS NULL", [model_id])
            connection.execute("DELETE FROM gates WHERE model_id = ?", [model_id])
            connection.execute(f"DELETE FROM trainings WHERE model_id = ? AND NOT {_RUNNING}", [model_id])
            connection.execute("UPDATE trainings SET status = 'deleted' WHERE model_id = ?", [model_id])

    def forget_ended(self, before: datetime, kept: Mapping[str, Collection[int]], *, dry_run: bool) -> int:
        """Forget trainings and refreshes that ended before a time (aware) and that nothing needs; returns how many.

        `kept` are versions that are there, by model. They are needed, with the training that each comes from; so are
        the latest training of each model, its highest version, and what deliveries and keys of requests tell of. What
        is kept and came from a refresh that is forgotten says from then on that it came from its training.
        """
        with self._database.reading() if dry_run else self._database.transaction() as connection:
            found = rows(
                connection.execute(
                    "SELECT model_id, version, refresh_of, status IN ('completed', 'error') AND "
                    "coalesce(ended, started) < ? AND NOT EXISTS (FROM deliveries d WHERE d.model_id = t.model_id AND "
                    "d.version = t.version) AND NOT EXISTS (FROM request_keys k WHERE k.model_id = t.model_id AND "
                    "k.version = t.version) AS old FROM trainings t ORDER BY version",
                    [before],
                )
            )
            by_model: dict[str, list[Row]] = {}
            for training in found:
                by_model.setdefault(training["model_id"], []).append(training)
            forgotten = 0
            for model_id, trainings in by_model.items():
                gone, origins = _not_needed(trainings, kept.get(model_id, ()))
                forgotten += len(gone)
                if gone and not dry_run:
                    connection.execute(
                        "DELETE FROM trainings WHERE model_id = ? AND list_contains(?, version)", [model_id, gone]
                    )
                    for version, origin in origins.items():
                        connection.execute(
                            "UPDATE trainings SET refresh_of = ? WHERE model_id = ? AND version = ?",
                            [origin, model_id, version],
                        )
        return forgotten

    def _update(self, model_id: str, version: int, assignments: str, values: Sequence[Any], only: str = "true") -> bool:
        """Change one version's row if it fulfils a condition; tells whether it did."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                f"UPDATE trainings SET {assignments} WHERE model_id = ? AND version = ? AND {only} RETURNING version",
                [*values, model_id, version],
            ).fetchall()
        return bool(changed)


def _not_needed(trainings: Sequence[Row], kept: Collection[int]) -> tuple[list[int], dict[int, int]]:
    """Versions of a model that may be forgotten, and what some of the others are a refresh of once they are."""
    parents: dict[int, int | None] = {training["version"]: training["refresh_of"] for training in trainings}

    def origin(version: int) -> int:
        while (parent := parents.get(version)) is not None and parent in parents:
            version = parent
        return version

    needed = {training["version"] for training in trainings if not training["old"]} | {*kept, max(parents)}
    needed |= {max((version for version, parent in parents.items() if parent is None), default=max(parents))}
    needed |= {origin(version) for version in needed}
    gone = [version for version in parents if version not in needed]
    moved = [version for version in needed if parents.get(version) in gone]
    return gone, {version: origin(version) for version in moved}


def _place_in_queue(connection: Connection, found: Row) -> str:
    """What a training that waits has before it, or a refresh."""
    kind = _TRAININGS if found["refresh_of"] is None else _REFRESHES
    (before,) = connection.execute(
        f"SELECT count(*) FROM trainings WHERE {_WAITING} AND {kind} AND started < ?", [found["started"]]
    ).fetchone() or (0,)
    return f"waits for its turn, {before:,} before it" if before else "waits for its turn, the next one"


def _status_of(connection: Connection, first: FirstRequest) -> ModelStatus:
    found = row(
        connection.execute(
            f"SELECT {_COLUMNS} FROM trainings WHERE model_id = ? AND version = ? AND {_KNOWN}",
            [first.model_id, first.version],
        )
    )
    if found is None:
        raise UnknownModel(
            f"the training of this Idempotency-Key was deleted with its model {first.model_id!r}; "
            "to train it again, send a new key"
        )
    return _training(found).status


def _training(found: Row) -> TrainingRow:
    # Cancelled trainings of earlier releases kept saying that they were being cancelled.
    has_ended = found["stage"] == "cancelling" and found["status"] != "running"
    status = ModelStatus(
        model_id=found["model_id"],
        version=found["version"],
        status=found["status"],
        stage="finished" if has_ended else found["stage"],
        progress=found["progress"],
        message=found["message"],
        start_timestamp=found["started"],
        end_timestamp=found["ended"],
        data_batch_ids=found["batch_ids"],
        flow_run_url=found["flow_run_url"],
        held=bool(found["held"]),
    )
    return TrainingRow(status, found["flow_run_id"], json.loads(found["request"]), found["refresh_of"])
