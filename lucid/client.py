"""The Python API over HTTP: the verbs of `lucid.Workspace` on a service that runs elsewhere.

Loads neither pandas, DuckDB nor anything of the service; a table of recommendations needs pandas.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import orjson
from pydantic import TypeAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from lucid.errors import InvalidRequest, LucidError, ModelNotReady, TrainingFailed, Unavailable, UnusableFile, error_of
from lucid.schema.attribution import Attribution, By
from lucid.schema.auto_train import MIN_INTERVAL_SECONDS, QUIET_SECONDS, AutoTrain, AutoTrainRequest
from lucid.schema.batches import Batch, BatchChange, Erased, RejectedRow, naming_of
from lucid.schema.comparison import Comparison
from lucid.schema.deliveries import Delivery
from lucid.schema.events import MAX_EVENTS, EventsAccepted, WaitingEvent, as_json, joined, with_ids
from lucid.schema.experiments import Experiment, ExperimentReport, ExperimentRequest
from lucid.schema.fields import MAX_RECOMMENDATIONS, Exclude, ForAll, Ids, KeyUse, OnError, Use, check, ids_of
from lucid.schema.gate import Gate, GateRequest
from lucid.schema.lineage import Lineage
from lucid.schema.placements import Placement, PlacementRequest, Preview, PreviewRequest, dump
from lucid.schema.placements_yaml import read_placement
from lucid.schema.recommendations import EXPLANATION, PLACED, Recommendation, RecommendationQuery, session_of
from lucid.schema.schedules import Schedule, ScheduleRequest, Work
from lucid.schema.training import Model, ModelStatus, Rejection, TrainingEstimate, TrainingRequest, held_version
from lucid.store.files import open_new, replacing

if TYPE_CHECKING:
    import pandas as pd

    from lucid.typing import Progress

PATIENCE_SECONDS = 120.0
"""How long a call is repeated that the service puts off with 429 or 503, or whose connection breaks."""
AWAY_SECONDS = 30.0
"""How long a service is waited for that cannot be connected to: it may start again, or its address is wrong."""
_TIMEOUT_SECONDS = 60.0
_WAIT_SECONDS = 30.0
"""How long the service may wait for a piece of work before it answers that it still runs; less than the timeout."""
_DRY_RUN_SECONDS = 600.0
"""A dry run reads all data of a training, and waits for others."""
_POLL_SECONDS = 0.5
_REPEAT_SECONDS = 1.0
_KEY = "Idempotency-Key"
_BROKEN = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_UNCONNECTED = (httpx.ConnectError, httpx.ConnectTimeout)
_BLOCK_ROWS = 1000
_BATCHES, _MODELS = TypeAdapter(list[Batch]), TypeAdapter(list[Model])
_EVENTS = TypeAdapter(list[WaitingEvent])
_PLACEMENTS = TypeAdapter(list[Placement])
_EXPERIMENTS = TypeAdapter(list[Experiment])
_NOTED = "recommendation_id", "experiment", "variant", "variants"
"""What an answer says of its being noted."""
_DELIVERIES, _SCHEDULES = TypeAdapter(list[Delivery]), TypeAdapter(list[Schedule])


class _PutOff(Exception):
    """The service asks to repeat the call later."""

    def __init__(self, error: LucidError, seconds: float) -> None:
        super().__init__(error.message)
        self.error = error
        self.seconds = seconds


class Client:
    """A service and a key for it: import files, train models, get recommendations.

    >>> client = Client("http://127.0.0.1:8000", apikey="lucid_…")
    >>> client.import_files(["entities.csv", "interactions.csv"], tags=["2026"])
    >>> client.train("videos", maximum_interaction_age_days=365)
    >>> client.recommend("videos", source_id="user_1", target_type="video", max_recommendations=5)

    Every call raises the errors that `Workspace` raises, and Unauthorized, Forbidden, or Unavailable where the service
    cannot be reached. Calls that are put off (429, 503) are repeated for two minutes; where the connection breaks, so
    are those that change nothing, imports and trainings, which the service does once all the same. Safe to share
    between threads.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, apikey: str) -> None:
        """Open nothing yet; `url` is where the service listens, without the path of the API."""
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/v1/recommender", headers={"apikey": apikey}, timeout=_TIMEOUT_SECONDS
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def import_files(
        self,
        files: str | Path | Sequence[str | Path],
        tags: str | Sequence[str] = (),
        on_error: OnError = "set_aside",
        progress: "Progress | None" = None,
        *,
        source_type: str | None = None,
        target_type: str | None = None,
        namespace: bool = False,
    ) -> list[Batch]:
        """Upload CSV files, wait until they are imported, one batch each; all of them or, when one is unusable, none.

        `source_type`, `target_type` and `namespace` are those of `Workspace.import_files`. Raises UnusableFile, saying
        which file and why; nothing is stored then.
        """
        tell = progress or _silent
        fields = {"tags": _list(tags), "on_error": on_error, "wait_seconds": str(_WAIT_SECONDS)}
        naming = naming_of(source_type, target_type, namespace=namespace)
        fields |= {name: str(value) for name, value in asdict(naming).items() if value not in (None, False)}
        paths = _existing(_list(files))
        tell(0, "uploading")
        key = _new_key()
        answer = self._patiently(lambda: self._upload(paths, fields, key), repeatable=True)
        batches = _BATCHES.validate_json(answer.content)
        ids = [batch.batch_id for batch in batches]
        while any(batch.status == "running" for batch in batches):
            tell(50, "importing")
            time.sleep(_POLL_SECONDS)
            batches = self.batches(ids)
        failed = next((batch for batch in batches if batch.status == "error"), None)
        if failed:
            self.delete_batches(ids)
            raise error_of(failed.code or UnusableFile.code, failed.message)
        tell(100, "done")
        return batches

    def batches(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Batches in upload order; with `tags` those that carry all of them. Raises UnknownBatch."""
        return _BATCHES.validate_json(self._send("GET", "/data_batch", params=_named(batch_ids, tags)).content)

    def delete_batches(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Delete batches and return them; models trained with them stay as they are."""
        return _BATCHES.validate_json(self._send("DELETE", "/data_batch", params=_named(batch_ids, tags)).content)

    def update_batches(
        self,
        batch_ids: Sequence[str] | None = None,
        *,
        tags: Sequence[str] | None = None,
        new_tags: Sequence[str] | None = None,
        archived: bool | None = None,
    ) -> list[Batch]:
        """Give the named batches, or those that carry all of `tags`, new tags or the archive mark; return them."""
        change = check(BatchChange, {"tags": new_tags, "archived": archived}).model_dump(exclude_none=True)
        found = self._send("PATCH", "/data_batch", params=_named(batch_ids, tags), json=change)
        return _BATCHES.validate_json(found.content)

    def rejected_rows(self, batch_id: str) -> Iterator[list[RejectedRow]]:
        """All rows of a batch that were set aside, in blocks; raises UnknownBatch."""
        with self._stream("GET", f"/data_batch/{quote(batch_id, safe='')}/errors") as pieces:
            lines = csv.DictReader(io.TextIOWrapper(_file(pieces), encoding="utf-8", newline=""))
            rows = ({name: value or None for name, value in line.items()} for line in lines)
            while block := [RejectedRow.model_validate(row) for row in islice(rows, _BLOCK_ROWS)]:
                yield block

    def send_events(self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> EventsAccepted:
        """Send single interactions and entities, which count in recommendations soon; tells what became of each.

        An event is a mapping with the columns of a file of its kind, and perhaps an `event_id`, which counts once;
        those that have none get one, so that a call is repeated where its connection breaks. What is wrong with one
        keeps no other out. They are on the service's disk when this returns.
        """
        wanted, answers = with_ids(as_json(events)), []
        for start in range(0, len(wanted), MAX_EVENTS):
            body = orjson.dumps(wanted[start : start + MAX_EVENTS])
            headers = {"Content-Type": "application/json"}
            sent = self._patiently(lambda: self._http.post("/events", content=body, headers=headers), repeatable=True)  # noqa: B023 - called at once
            answers.append(EventsAccepted.model_validate_json(sent.content))
        return joined(answers)

    def waiting_events(self, after: int | None = None, limit: int = 100) -> list[WaitingEvent]:
        """Events that are not in a batch yet, in their order: the first after a number, or else the last ones."""
        params = {"limit": limit} if after is None else {"after": after, "limit": limit}
        return _EVENTS.validate_json(self._send("GET", "/events", params=params).content)

    def erase(self, entity_ids: Ids, progress: "Progress | None" = None) -> Erased:
        """Remove entities for good from batches, set-aside rows, models and cached recommendations; counts what went.

        Waits for imports and trainings that are under way.
        """
        tell = progress or _silent
        tell(0, "erasing")
        params = {"id": ids_of(entity_ids), "wait_seconds": 600}
        found = self._send("DELETE", "/entities", params=params, timeout=600 + _TIMEOUT_SECONDS)
        if found.status_code == httpx.codes.ACCEPTED:
            raise Unavailable("the erasure waits for other work and will be done after it; repeat the call to see it")
        tell(100, "done")
        return Erased.model_validate_json(found.content)

    def train(
        self,
        model_id: str | None = None,
        *,
        maximum_interaction_age_days: int | None = None,
        data_tags: str | Sequence[str] | None = None,
        callback_url: str | None = None,
        precompute: Sequence[dict[str, Any]] | None = None,
        data_filters: Mapping[str, Any] | None = None,
        metadata_rules: Mapping[str, KeyUse] | None = None,
        interaction_rules: Mapping[str, Any] | None = None,
        allow_type_changes: bool = False,
        max_minutes: float | None = None,
        progress: "Progress | None" = None,
    ) -> ModelStatus:
        """Train a model, wait until it is live, and return its final status; a model of that name is replaced.

        Raises TrainingFailed with what the customer can mend. The version that answered before goes on answering then.
        """
        wanted = {
            "model_id": model_id,
            "maximum_interaction_age_days": maximum_interaction_age_days,
            "data_tags": _list(data_tags) if data_tags is not None else None,
            "callback_url": callback_url,
            "precompute": precompute,
            "data_filters": data_filters,
            "metadata_rules": metadata_rules,
            "interaction_rules": interaction_rules,
            "allow_type_changes": allow_type_changes or None,
            "max_minutes": max_minutes,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        status = _status(self._send("POST", "/train", json=body, headers=_new_key()))
        return _ended(status, lambda: self.status(status.model_id), progress)

    def estimate(self, model_id: str | None = None, **asked: Any) -> TrainingEstimate:
        """What a training would select, about how long it would take, how much memory it would need; starts nothing.

        `asked` is what `train` takes, but for `progress`. Raises InvalidRequest, and LucidError for what would make the
        training fail while it selects.
        """
        wanted = check(TrainingRequest, {"model_id": model_id, **asked})
        body = {**wanted.model_dump(mode="json", exclude_defaults=True), "dry_run": True}
        answer = self._send("POST", "/train", json=body, timeout=_DRY_RUN_SECONDS)
        return TrainingEstimate.model_validate_json(answer.content)

    def status(self, model_id: str) -> ModelStatus:
        """The status of a model's latest training; raises UnknownModel."""
        return _status(self._send("GET", "/status", params={"model_id": model_id}))

    def refresh(self, model_id: str, progress: "Progress | None" = None) -> ModelStatus:
        """Precompute a model's recommendations again, with what was uploaded since, and return the final status.

        Raises UnknownModel, ModelNotReady, AlreadyTraining, and TrainingFailed where it fails.
        """
        entered = _status(self._send("POST", f"/models/{quote(model_id, safe='')}/refresh"))
        return _ended(entered, lambda: self.refresh_status(model_id), progress)

    def refresh_status(self, model_id: str) -> ModelStatus:
        """The status of a model's latest refresh; raises UnknownModel, UnknownVersion where it has had none."""
        return _status(self._send("GET", f"/models/{quote(model_id, safe='')}/refresh"))

    def cancel(self, model_id: str) -> ModelStatus:
        """End the running training or refresh of a model and return its final status.

        One that is being published completes. Raises UnknownModel, NotTraining.
        """
        path = f"/models/{quote(model_id, safe='')}/cancel"
        status = _status(self._send("POST", path))
        while status.status == "running":
            time.sleep(_POLL_SECONDS)
            model = self.model(model_id)
            same = (each for each in (model.training, model.refresh) if each and each.version == status.version)
            status = next(same)
        return status

    def models(self) -> list[Model]:
        """All models with their versions, by name."""
        return _MODELS.validate_json(self._send("GET", "/models").content)

    def model(self, model_id: str) -> Model:
        """A model, its versions and their training reports; raises UnknownModel."""
        return Model.model_validate_json(self._send("GET", f"/models/{quote(model_id, safe='')}").content)

    def lineage(self, model_id: str, version: int | None = None) -> Lineage:
        """What a version was made of and what it gives, by default of the live one.

        Raises UnknownModel, UnknownVersion, ModelNotReady, DamagedVersion.
        """
        path = self._path_of(model_id, version, "lineage")
        return Lineage.model_validate_json(self._send("GET", path).content)

    def delete_model(self, model_id: str) -> Model:
        """Delete a model and return what it was; raises UnknownModel, AlreadyTraining."""
        return Model.model_validate_json(self._send("DELETE", f"/models/{quote(model_id, safe='')}").content)

    def roll_back(self, model_id: str, version: int | None = None) -> Model:
        """Let an earlier version answer, by default the one before; raises UnknownModel, UnknownVersion."""
        body = {} if version is None else {"version": version}
        return Model.model_validate_json(
            self._send("POST", f"/models/{quote(model_id, safe='')}/rollback", json=body).content
        )

    def promote(self, model_id: str, version: int | None = None) -> Model:
        """Let a version answer, by default the one that is held.

        Raises UnknownModel, UnknownVersion, AlreadyTraining, DamagedVersion.
        """
        number = held_version(self.model(model_id)) if version is None else version
        return self._model("POST", f"/models/{quote(model_id, safe='')}/versions/{number}/promote")

    def reject(self, model_id: str, version: int | None = None, reason: str = "") -> Model:
        """Decide that a version shall not answer, by default the one that is held.

        Raises UnknownModel, UnknownVersion, AlreadyTraining, VersionAnswers.
        """
        number = held_version(self.model(model_id)) if version is None else version
        path = f"/models/{quote(model_id, safe='')}/versions/{number}/reject"
        return self._model("POST", path, json=check(Rejection, {"reason": reason}).model_dump())

    def pin(self, model_id: str, version: int | None = None) -> Model:
        """Let a version answer until it is unpinned, by default the one that answers; trainings go on, and wait."""
        body = {} if version is None else {"version": version}
        return self._model("PUT", f"/models/{quote(model_id, safe='')}/pin", json=body)

    def unpin(self, model_id: str) -> Model:
        """Let trainings go live again."""
        return self._model("DELETE", f"/models/{quote(model_id, safe='')}/pin")

    def _model(self, method: str, path: str, **arguments: Any) -> Model:
        return Model.model_validate_json(self._send(method, path, **arguments).content)

    def compare(self, model_id: str, a: int | None = None, b: int | None = None) -> Comparison:
        """How version b differs from version a, by default the newest other one from the one that answers.

        Raises UnknownModel, UnknownVersion, ModelNotReady, DamagedVersion.
        """
        params = {name: number for name, number in (("a", a), ("b", b)) if number is not None}
        answer = self._send("GET", f"/models/{quote(model_id, safe='')}/compare", params=params)
        return Comparison.model_validate_json(answer.content)

    def gate(self, model_id: str) -> Gate:
        """What a new training has to hold to go live by itself; raises UnknownModel."""
        return self._gate("GET", model_id)

    def set_gate(self, model_id: str, **limits: Any) -> Gate:
        """Set it, with the fields of `GateRequest`; what is left out is as by default.

        Raises InvalidRequest, UnknownModel.
        """
        return self._gate("PUT", model_id, json=check(GateRequest, limits).model_dump())

    def reset_gate(self, model_id: str) -> Gate:
        """Let the defaults hold again; raises UnknownModel."""
        return self._gate("DELETE", model_id)

    def _gate(self, method: str, model_id: str, **arguments: Any) -> Gate:
        answer = self._send(method, f"/models/{quote(model_id, safe='')}/gate", **arguments)
        return Gate.model_validate_json(answer.content)

    def attribution(
        self,
        model_id: str,
        from_time: datetime | None = None,
        to_time: datetime | None = None,
        by: By | None = None,
    ) -> Attribution:
        """What came of the noted answers of a model, shown from one moment to before another; without a zone in UTC.

        Raises UnknownModel, InvalidRequest where the time ends before it begins.
        """
        moments = {"from": from_time, "to": to_time}
        params = {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
        params |= {"by": by} if by else {}
        answer = self._send("GET", f"/models/{quote(model_id, safe='')}/attribution", params=params)
        return Attribution.model_validate_json(answer.content)

    def begin_experiment(self, name: str, model_id: str, variants: Sequence[Mapping[str, Any]]) -> Experiment:
        """Answer parts of the sources in different ways; each variant has the fields of `Variant`.

        Raises InvalidRequest, UnknownModel, UnknownVersion, ExperimentExists.
        """
        wanted = check(ExperimentRequest, {"name": name, "model_id": model_id, "variants": variants})
        made = self._send("POST", "/experiments", json=wanted.model_dump(exclude_none=True))
        return Experiment.model_validate_json(made.content)

    def experiments(self) -> list[Experiment]:
        """All experiments, by name."""
        return _EXPERIMENTS.validate_json(self._send("GET", "/experiments").content)

    def experiment(self, name: str) -> ExperimentReport:
        """An experiment and what came of it so far; raises UnknownExperiment."""
        return ExperimentReport.model_validate_json(self._send("GET", _experiment(name)).content)

    def stop_experiment(self, name: str) -> ExperimentReport:
        """Give everybody the live version again, and return what came of it; raises UnknownExperiment."""
        return ExperimentReport.model_validate_json(self._send("POST", f"{_experiment(name)}/stop").content)

    def delete_experiment(self, name: str) -> Experiment:
        """Delete an experiment and return what it was; what was shown stays noted. Raises UnknownExperiment."""
        return Experiment.model_validate_json(self._send("DELETE", _experiment(name)).content)

    def deliveries(self, model_id: str) -> list[Delivery]:
        """The callbacks of a model and what became of them, the newest first; raises UnknownModel."""
        path = f"/models/{quote(model_id, safe='')}/deliveries"
        return _DELIVERIES.validate_json(self._send("GET", path).content)

    def resend(self, model_id: str, event_id: str) -> Delivery:
        """Send a callback once more, within some seconds; raises UnknownModel, UnknownDelivery."""
        path = f"/models/{quote(model_id, safe='')}/deliveries/{quote(event_id, safe='')}/resend"
        return Delivery.model_validate_json(self._send("POST", path).content)

    def schedules(self, model_id: str) -> list[Schedule]:
        """When a model is trained or refreshed by itself; raises UnknownModel."""
        path = f"/models/{quote(model_id, safe='')}/schedules"
        return _SCHEDULES.validate_json(self._send("GET", path).content)

    def schedule(self, model_id: str, work: Work, cron: str, timezone: str = "UTC") -> Schedule:
        """Train or refresh a model by itself, at the times of a cron expression.

        Raises InvalidRequest, UnknownModel.
        """
        wanted = check(ScheduleRequest, {"work": work, "cron": cron, "timezone": timezone})
        path = f"/models/{quote(model_id, safe='')}/schedules"
        made = self._send("POST", path, json=wanted.model_dump())
        return Schedule.model_validate_json(made.content)

    def unschedule(self, model_id: str, schedule_id: str) -> Schedule:
        """Delete a schedule; raises UnknownModel, UnknownSchedule."""
        path = f"/models/{quote(model_id, safe='')}/schedules/{quote(schedule_id, safe='')}"
        return Schedule.model_validate_json(self._send("DELETE", path).content)

    def auto_train(self, model_id: str) -> AutoTrain:
        """How a model is trained by itself after uploads; raises UnknownModel, AutoTrainOff."""
        return self._auto_train("GET", model_id)

    def switch_auto_train_on(
        self,
        model_id: str,
        quiet_seconds: int = QUIET_SECONDS,
        min_interval_seconds: int = MIN_INTERVAL_SECONDS,
    ) -> AutoTrain:
        """Train a model by itself once uploads of its data have rested for a while, and not too often.

        Raises InvalidRequest, UnknownModel.
        """
        wanted = {"quiet_seconds": quiet_seconds, "min_interval_seconds": min_interval_seconds}
        return self._auto_train("PUT", model_id, json=check(AutoTrainRequest, wanted).model_dump())

    def switch_auto_train_off(self, model_id: str) -> AutoTrain:
        """Train a model after uploads no more, and return how it was; raises as `auto_train` does."""
        return self._auto_train("DELETE", model_id)

    def _auto_train(self, method: str, model_id: str, **arguments: Any) -> AutoTrain:
        answer = self._send(method, f"/models/{quote(model_id, safe='')}/auto_train", **arguments)
        return AutoTrain.model_validate_json(answer.content)

    def report(self, model_id: str, version: int | None = None) -> dict[str, Any]:
        """The training report of a version, by default of the live one.

        Raises UnknownModel, UnknownVersion, ModelNotReady, DamagedVersion.
        """
        found: dict[str, Any] = self._send("GET", self._path_of(model_id, version, "report")).json()
        return found

    def held_out(self, model_id: str, target: str | Path, version: int | None = None) -> None:
        """Write what the figures of a report are computed from into a file, which `lucid verify` reads.

        Raises as `report` does, and OutdatedVersion where an earlier release made the version and kept none.
        """
        with (
            self._stream("GET", self._path_of(model_id, version, "report/held_out")) as pieces,
            replacing(Path(target)) as new,
            open_new(new) as file,
        ):
            file.writelines(pieces)

    def save_placement(self, placement: Mapping[str, Any] | str | Path, model_id: str | None = None) -> Placement:
        """Save rules as a new version of a placement, from a mapping or a YAML file, unless its last one has them.

        With a model, rules on what none of its entities has are refused. Raises InvalidRequest, UnknownType, and for a
        model what `recommend` raises.
        """
        wanted = (
            check(PlacementRequest, dict(placement)) if isinstance(placement, Mapping) else read_placement(placement)
        )
        params = {} if model_id is None else {"model_id": model_id}
        saved = self._send("POST", "/placements", params=params, json=dump(wanted))
        return Placement.model_validate_json(saved.content)

    def placements(self) -> list[Placement]:
        """All placements by name, each in its last version."""
        return _PLACEMENTS.validate_json(self._send("GET", "/placements").content)

    def placement(self, name: str) -> Placement:
        """A placement in its last version, or in the one that `home@3` names; raises UnknownPlacement."""
        return Placement.model_validate_json(self._send("GET", f"/placements/{quote(name, safe='')}").content)

    def placement_versions(self, name: str) -> list[Placement]:
        """All versions of a placement, the last one first; raises UnknownPlacement."""
        return _PLACEMENTS.validate_json(self._send("GET", f"/placements/{quote(name, safe='')}/versions").content)

    def retire_placement(self, name: str) -> Placement:
        """End a placement, and return the version that did: only its versions can be asked for from now on.

        Raises UnknownPlacement.
        """
        return Placement.model_validate_json(self._send("DELETE", f"/placements/{quote(name, safe='')}").content)

    def preview_placements(self, model_id: str, source_id: Ids, **asked: Any) -> Preview:
        """What two rule sets would show to some sources; `asked` are the other fields of `PreviewRequest`.

        Raises InvalidRequest, UnknownType, UnknownPlacement, and as `recommend` does.
        """
        wanted = check(PreviewRequest, {"model_id": model_id, "source_id": ids_of(source_id), **asked})
        found = self._send("POST", "/placements/preview", json=dump(wanted))
        return Preview.model_validate_json(found.content)

    def recommend(
        self,
        model_id: str,
        *,
        target_type: str | Sequence[str] | None = None,
        source_id: Ids | None = None,
        source_type: str | Sequence[str] | None = None,
        sources: Sequence[Mapping[str, Any]] | None = None,
        session: Sequence[str | int | Mapping[str, Any]] | None = None,
        use: Use = "recommend",
        target_filter: Sequence[Mapping[str, Any]] | None = None,
        explain: bool = False,
        max_recommendations: int = MAX_RECOMMENDATIONS,
        threshold: float = 0,
        exclude_interacted: bool = True,
        exclude_disliked: bool = True,
        exclude: Exclude = "all",
        fallback: ForAll | None = None,
        window_days: int | None = None,
        half_life_days: float | None = None,
        version: int | None = None,
        placement: str | None = None,
        recommendation_id: bool = False,
        experiment: str | None = None,
    ) -> "pd.DataFrame":
        """Recommendations as a table: source_id, target_id, score, rank, probability, target_type, name, served_by.

        One of `source_id`, `source_type`, `sources` and `session` says for whom: `sources` takes several
        entities as one, each `{"id", "weight"}`; `session` what somebody came to, oldest first, each an id or
        `{"id", "type", "timestamp"}`. A whole number stands for an id. `use="similar"` stands for the source's own type
        instead of `target_type`, `target_filter` takes conditions as `data_filters` does, `explain` adds a column
        `explanation`. `exclude="learned"` recommends again what is known of a source but was kept from the model by its
        age limit or filters. With a `placement`, or a version of it as `home@3`, or one that a variant follows, the
        table has the columns `rules`, `propensity` and `placement` too. Unknown ids in a list have no rows; their list
        stands in the table's `attrs["unknown_source_ids"]`.

        Without a source, and with `use="popular"` or `use="trending"`, the rows are what is popular or trending, the
        same for all; `source_id` is empty where none was asked for. `fallback` is what unknown entities get instead of
        no rows. `window_days` and `half_life_days` say what counts as recent, by default what training has found.
        With `recommendation_id` it is noted what is shown, and `attrs["noted"]` has the id that events may name; so it
        is with `experiment`, beside the variants.
        """
        import pandas as pd

        wanted = {
            "model_id": model_id,
            "target_type": _list(target_type) if target_type is not None else None,
            "source_id": ids_of(source_id) if source_id is not None else None,
            "source_type": _list(source_type) if source_type is not None else None,
            "max_recommendations": max_recommendations,
            "threshold": threshold,
            "exclude_interacted": exclude_interacted,
            "exclude_disliked": exclude_disliked,
            "exclude": exclude,
            "version": version,
            "sources": sources,
            "session": session_of(session),
            "use": use,
            "fallback": fallback,
            "window_days": window_days,
            "half_life_days": half_life_days,
            "target_filter": target_filter,
            "explain": explain,
            "placement": placement,
            "recommendation_id": recommendation_id,
            "experiment": experiment,
            # Only JSON names unknown ids; a whole type has none, but may be large, and CSV becomes a table as it comes.
            "output_format": "csv" if source_type is not None and not explain else "json",
        }
        with self.answer(check(RecommendationQuery, wanted)) as pieces:
            if wanted["output_format"] == "csv":
                return _read_table(pieces)
            answer = json.loads(b"".join(pieces))
        placed = PLACED if any("placement" in part for part in (answer, *answer["recommendations"][:1])) else ()
        columns = [*Recommendation._fields, *placed, *([EXPLANATION] if explain else [])]
        table = pd.DataFrame(answer["recommendations"], columns=columns)
        table.attrs["unknown_source_ids"] = answer["unknown_source_ids"]
        if noted := {name: answer[name] for name in _NOTED if name in answer}:
            table.attrs["noted"] = noted
        return table

    @contextmanager
    def answer(self, query: RecommendationQuery) -> Iterator[Iterator[bytes]]:
        """The answer as the service writes it, JSON or CSV, in pieces: for what is too large for memory."""
        body = query.model_dump(mode="json", exclude_none=True)
        with self._stream("POST", "/recommended_items", json=body) as pieces:
            yield pieces

    # HTTP

    def _path_of(self, model_id: str, version: int | None, what: str) -> str:
        """Where something of a version is, by default of the live one; raises ModelNotReady."""
        number = self.model(model_id).live_version if version is None else version
        if number is None:
            raise ModelNotReady(model_id)
        return f"/models/{quote(model_id, safe='')}/versions/{number}/{what}"

    def _upload(self, paths: Sequence[Path], fields: Mapping[str, Any], key: Mapping[str, str]) -> httpx.Response:
        """Send files from their beginning, each time it is called."""
        with ExitStack() as stack:
            files = [("files", (path.name, stack.enter_context(path.open("rb")), "text/csv")) for path in paths]
            return self._http.post("/data_batch", files=files, data=dict(fields), headers=key)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        repeatable = method == "GET" or _KEY in arguments.get("headers", ())
        return self._patiently(lambda: self._http.request(method, path, **arguments), repeatable=repeatable)

    @contextmanager
    def _stream(self, method: str, path: str, **arguments: Any) -> Iterator[Iterator[bytes]]:
        """The body of an answer in pieces, while it comes in."""

        def open_answer() -> httpx.Response:
            return self._http.send(self._http.build_request(method, path, **arguments), stream=True)

        response = self._patiently(open_answer, repeatable=method == "GET")
        try:
            yield response.iter_bytes()
        except httpx.TransportError as error:
            raise Unavailable(f"the answer broke off ({error}); ask again") from error
        finally:
            response.close()

    def _patiently(self, call: Callable[[], httpx.Response], *, repeatable: bool) -> httpx.Response:
        """The answer to a call, repeated while the service puts it off; raises what the service's problem means.

        A repeatable call is also repeated where its connection broke, so that nobody knows whether it arrived.
        """
        attempts = Retrying(
            retry=retry_if_exception_type((_PutOff, *_BROKEN) if repeatable else _PutOff),
            wait=_as_asked,
            stop=_Patience(),
            reraise=True,
        )
        try:
            return attempts(self._once, call)
        except _PutOff as put_off:
            raise put_off.error from None
        except httpx.TransportError as error:
            raise Unavailable(f"the service at {self._http.base_url.host} does not answer ({error})") from error

    def _once(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        response = call()
        if response.is_success:
            return response
        response.read()
        error = _problem(response)
        if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            raise _PutOff(error, _seconds(response.headers.get("Retry-After", "")))
        raise error


def _file(pieces: Iterator[bytes]) -> io.BufferedReader:
    """Pieces of bytes as a file that is read once."""
    return io.BufferedReader(_Pieces(pieces))


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _read_table(pieces: Iterator[bytes]) -> "pd.DataFrame":
    """Rows that come as CSV, in a table."""
    import pandas as pd

    texts = [name for name in Recommendation._fields if name not in ("score", "rank", "probability")]
    table = pd.read_csv(
        _file(pieces),
        dtype=dict.fromkeys(texts, str),
        converters=dict.fromkeys(("score", "propensity"), float),  # exact to the last digit, whatever the pandas
        keep_default_na=False,  # an entity may be called NA
    )
    if "rules" in table:
        table["rules"] = [json.loads(moved_by) for moved_by in table["rules"]]
    table.attrs["unknown_source_ids"] = []
    return table


def _problem(response: httpx.Response) -> LucidError:
    """What an answer that is no success means."""
    try:
        problem = response.json()
        code, message = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):  # something in between has answered
        return Unavailable(f"{response.url} answered {response.status_code}, which is not Lucid's way")
    training, waits = problem.get("training"), response.headers.get("Retry-After")
    return error_of(
        code,
        message,
        **({"model_id": training["model_id"]} if training else {}),
        **({"retry_after": _seconds(waits)} if waits else {}),
    )


class _Patience:
    """Ends with a call that has failed for too long; what counts is its first failure, for an upload may take hours."""

    def __init__(self) -> None:
        self._failed: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        now = time.monotonic()
        self._failed = now if self._failed is None else self._failed
        return now - self._failed >= (AWAY_SECONDS if isinstance(_error(state), _UNCONNECTED) else PATIENCE_SECONDS)


def _as_asked(state: RetryCallState) -> float:
    error = _error(state)
    return error.seconds if isinstance(error, _PutOff) else _REPEAT_SECONDS


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _new_key() -> dict[str, str]:
    """The header that makes a call safe to repeat."""
    return {_KEY: f'"{uuid4()}"'}


def _seconds(retry_after: str) -> float:
    """A Retry-After in seconds; one second where it is missing or a date."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else _REPEAT_SECONDS


def _status(response: httpx.Response) -> ModelStatus:
    return ModelStatus.model_validate_json(response.content)


def _existing(files: Sequence[str | Path]) -> list[Path]:
    missing = [str(file) for file in files if not Path(file).is_file()]
    if missing:
        raise InvalidRequest(f"{', '.join(missing)}: no such file", code="no_such_file")
    return [Path(file) for file in files]


def _named(batch_ids: Sequence[str] | None, tags: Sequence[str] | None) -> dict[str, list[str]]:
    conditions = {"batch_id": batch_ids, "tags": tags}
    # An empty list names nothing, which is not the same as no condition.
    return {name: _list(values) or [""] for name, values in conditions.items() if values is not None}


def _list(values: str | Path | Sequence[Any]) -> list[Any]:
    """Several values, or one that was given alone; whether it is what it should be is for others to check."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]


def _ended(status: ModelStatus, look: Callable[[], ModelStatus], progress: "Progress | None") -> ModelStatus:
    """Look how far a training or refresh has come until it has ended; raises TrainingFailed where it failed."""
    while status.status == "running":
        (progress or _silent)(status.progress, status.message or status.stage)
        time.sleep(_POLL_SECONDS)
        status = look()
    if status.status == "error":
        raise TrainingFailed(status.message)
    return status


def _experiment(name: str) -> str:
    return f"/experiments/{quote(name, safe='')}"


def _silent(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""
