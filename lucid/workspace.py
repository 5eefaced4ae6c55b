"""The Python API: everything Lucid does, on a folder, without a server."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lucid import auto_train, backup, lineage, models, reports, schedules
from lucid.backup import Backup
from lucid.data.batches import batches_of, delete_batches, import_files, rejected_rows, update_batches
from lucid.data.batches import sweep as sweep_imports
from lucid.data.event_batches import compact_events, compaction_due
from lucid.data.events import EventIntake, waiting_events
from lucid.disk import DiskMeter
from lucid.erasure import erase
from lucid.errors import MachineError, Unavailable
from lucid.experiments import lifecycle
from lucid.experiments.answers import NotedAnswers
from lucid.experiments.attribution import attribution
from lucid.health import HealthWarnings
from lucid.maintenance import Removed, maintain, upkeep_now
from lucid.placements.files import Placements
from lucid.schema.attribution import Attribution, By
from lucid.schema.auto_train import MIN_INTERVAL_SECONDS, QUIET_SECONDS, AutoTrain, AutoTrainRequest
from lucid.schema.batches import Batch, BatchChange, Erased, RejectedRow, naming_of
from lucid.schema.comparison import Comparison
from lucid.schema.deliveries import Delivery
from lucid.schema.disk import DiskUse
from lucid.schema.events import MAX_EVENTS, EventsAccepted, WaitingEvent, as_json, joined
from lucid.schema.experiments import Experiment, ExperimentReport, ExperimentRequest
from lucid.schema.fields import MAX_RECOMMENDATIONS, Exclude, ForAll, Ids, KeyUse, OnError, Use, check, ids_of, utc_now
from lucid.schema.gate import Gate, GateRequest
from lucid.schema.lineage import Lineage
from lucid.schema.placements import Placement, PlacementRequest, Preview, PreviewRequest
from lucid.schema.placements_yaml import read_placement
from lucid.schema.recommendations import RecommendationQuery, session_of
from lucid.schema.schedules import Schedule, ScheduleRequest, Work
from lucid.schema.training import Model, ModelStatus, Rejection, TrainingEstimate, TrainingRequest, held_version
from lucid.service.run import prefect_calls
from lucid.serving.preview import check_rules, preview
from lucid.serving.registry import ModelRegistry
from lucid.serving.rendering import Answer, noted_json
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.files import open_new, replacing
from lucid.store.machine import telling, told
from lucid.training import run, soundness, steps, versions_compared
from lucid.training.dry_run import dry_run
from lucid.typing import Progress
from lucid.webhooks.sender import Sender

_POLL_SECONDS = 0.2


class Workspace:
    """One `LUCID_HOME`: import files, train models, get recommendations.

    What only reads needs no right to write. Every call raises MachineError where the machine does not give what it
    needs: room on the disk, the right to read or write, open files, memory.

    >>> workspace = Workspace("my-data")
    >>> workspace.import_files(["entities.csv", "interactions.csv"], tags=["2026"])
    >>> workspace.train("videos", maximum_interaction_age_days=365)
    >>> workspace.recommend("videos", source_id="user_1", target_type="video", max_recommendations=5)
    """

    def __init__(self, home: str | Path | None = None, settings: Settings | None = None) -> None:
        """Open a home, which is made if it does not exist; without one, `LUCID_HOME` or `./.lucid`."""
        self.settings = settings = _settings(home, settings)
        self._catalog = Catalog(settings.home)
        self._warnings = HealthWarnings(no_news=(MachineError,))
        self._registry = ModelRegistry(settings.home, warnings=self._warnings)
        self._placements = Placements(settings.home)
        self._noted = NotedAnswers(settings.home, self._registry)
        self._sender = Sender(settings, self._warnings)

    def import_files(
        self,
        files: str | Path | Sequence[str | Path],
        tags: str | Sequence[str] = (),
        on_error: OnError = "set_aside",
        progress: Progress | None = None,
        *,
        source_type: str | None = None,
        target_type: str | None = None,
        namespace: bool = False,
    ) -> list[Batch]:
        """Import CSV files, one batch each; all of them or, when one is unusable, none.

        With `namespace` an id belongs to its type, and the entity is called `type:id`; the types of the ends of
        interactions are columns of their file, `source_type` and `target_type`, or else these parameters. Raises
        UnusableFile, saying which file and why; nothing is stored then.
        """
        naming = naming_of(source_type, target_type, namespace=namespace)
        paths = [Path(file) for file in _list(files)]
        batches = batches_of(paths, _list(tags))
        self._sweep()
        try:
            return import_files(self.settings, self._catalog, paths, batches, on_error, progress or _silent, naming)
        except BaseException:
            with suppress(MachineError):  # they stay as failed ones
                self._catalog.batches.delete([batch.batch_id for batch in batches])
            raise

    def batches(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Batches in upload order; with `tags` those that carry all of them. Raises UnknownBatch."""
        return self._catalog.batches.find(batch_ids, tags)

    def delete_batches(self, batch_ids: Sequence[str] | None = None, tags: Sequence[str] | None = None) -> list[Batch]:
        """Delete batches and return them; see `lucid.data.batches.delete_batches`."""
        with telling(self.settings.home):
            return delete_batches(self.settings.home, self._catalog, batch_ids, tags)

    def update_batches(
        self,
        batch_ids: Sequence[str] | None = None,
        *,
        tags: Sequence[str] | None = None,
        new_tags: Sequence[str] | None = None,
        archived: bool | None = None,
    ) -> list[Batch]:
        """Give the named batches, or those that carry all of `tags`, new tags or the archive mark; return them.

        Raises InvalidRequest without any condition or change, UnknownBatch for an unknown id.
        """
        change = check(BatchChange, {"tags": new_tags, "archived": archived})
        return update_batches(self._catalog, batch_ids, tags, change)

    def rejected_rows(self, batch_id: str) -> Iterator[list[RejectedRow]]:
        """All rows of a batch that were set aside, in blocks; raises UnknownBatch."""
        return rejected_rows(self.settings.home, self._catalog, batch_id)

    def send_events(self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> EventsAccepted:
        """Take single interactions and entities, which count in recommendations at once; tells what became of each.

        An event is a mapping with the columns of a file of its kind, and perhaps an `event_id`, which counts once.
        What is wrong with one keeps no other out. They are on the disk when this returns.
        """
        wanted = as_json(events)
        intake = EventIntake(self.settings)
        try:
            calls = [wanted[start : start + MAX_EVENTS] for start in range(0, len(wanted), MAX_EVENTS)]
            answer = joined([intake.accept([call])[0] for call in calls])
        finally:
            intake.close()
        if compaction_due(self.settings, self._catalog):
            compact_events(self.settings, self._catalog)
        return answer

    def waiting_events(self, after: int | None = None, limit: int = 100) -> list[WaitingEvent]:
        """Events that are not in a batch yet, in their order: the first after a number, or else the last ones."""
        return waiting_events(self.settings, after, limit)

    def erase(self, entity_ids: Ids, progress: Progress | None = None) -> Erased:
        """Remove entities for good from batches, set-aside rows, models and cached recommendations; counts what went.

        Waits for imports and trainings that are under way. Models answer without the entities at once, from a version
        of its own; older versions that hold one of them are removed. Raises InvalidRequest for an empty id.
        """
        self._sweep()
        with telling(self.settings.home):
            return erase.erase(self.settings, ids_of(entity_ids), progress or _silent)

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
        progress: Progress | None = None,
    ) -> ModelStatus:
        """Train a model in this process and return its final status; a model of that name is replaced.

        Raises InvalidRequest for a value the contract forbids, AlreadyTraining, and TrainingFailed with what the
        customer can mend. The version that answered before goes on answering then.
        """
        request = check(
            TrainingRequest,
            {
                "model_id": model_id,
                "maximum_interaction_age_days": maximum_interaction_age_days,
                "data_tags": _list(data_tags) if data_tags is not None else None,
                "callback_url": callback_url,
                "precompute": precompute,
                "data_filters": data_filters,
                "metadata_rules": metadata_rules,
                "interaction_rules": interaction_rules,
                "allow_type_changes": allow_type_changes,
                "max_minutes": max_minutes,
            },
        )
        self._sweep()
        return steps.train(self.settings, request, progress)

    def estimate(self, model_id: str | None = None, **asked: Any) -> TrainingEstimate:
        """What a training would select, about how long it would take, how much memory it would need; starts nothing.

        `asked` is what `train` takes, but for `progress`. Raises InvalidRequest, and TrainingFailed for what would fail
        while it selects.
        """
        self._sweep()
        return dry_run(self.settings, check(TrainingRequest, {"model_id": model_id, **asked}))

    def status(self, model_id: str) -> ModelStatus:
        """The status of a model's latest training; raises UnknownModel."""
        self._sweep()
        return self._catalog.trainings.get(model_id).status

    def refresh(self, model_id: str, progress: Progress | None = None) -> ModelStatus:
        """Precompute a model's recommendations again in this process, with what was uploaded since.

        Returns the final status of the version that this makes; where nothing is left to refresh with, none is made,
        and the message says so. Raises UnknownModel, ModelNotReady, AlreadyTraining.
        """
        self._sweep()
        return steps.refresh(self.settings, model_id, progress)

    def refresh_status(self, model_id: str) -> ModelStatus:
        """The status of a model's latest refresh; raises UnknownModel, UnknownVersion where it has had none."""
        self._sweep()
        return models.refresh_status(self.settings, model_id)

    def cancel(self, model_id: str) -> ModelStatus:
        """End the running training or refresh of a model, wherever it runs, and return its final status.

        Waits for the process that works on it: Prefect ends that of a training's flow run, any other one looks up
        whenever it reports progress. What is being published completes. Raises UnknownModel, NotTraining.
        """
        row = run.cancel(self.settings, model_id)
        if row.flow_run_id and row.refresh_of is None:
            with suppress(Unavailable), prefect_calls(self.settings) as prefect:
                prefect.cancel(row.flow_run_id)
        while not (cancelled := run.find(self.settings, model_id, row.status.version)).has_ended:
            time.sleep(_POLL_SECONDS)
            self._sweep()
        return cancelled.status

    def models(self) -> list[Model]:
        """All models with their versions, by name."""
        self._sweep()
        with telling(self.settings.home):
            return models.list_models(self.settings)

    def model(self, model_id: str) -> Model:
        """A model, its versions and their training reports; raises UnknownModel."""
        self._sweep()
        with telling(self.settings.home):
            return models.show_model(self.settings, model_id)

    def lineage(self, model_id: str, version: int | None = None) -> Lineage:
        """What a version was made of and what it gives, by default of the live one; see `lucid.lineage.lineage`."""
        with telling(self.settings.home):
            return lineage.lineage(self.settings, model_id, version)

    def delete_model(self, model_id: str) -> Model:
        """Delete a model and return what it was; see `lucid.models.delete_model`."""
        with telling(self.settings.home):
            return models.delete_model(self.settings, model_id)

    def roll_back(self, model_id: str, version: int | None = None) -> Model:
        """Let an earlier version answer, by default the one before; see `lucid.models.roll_back`."""
        with telling(self.settings.home):
            return models.roll_back(self.settings, model_id, version)

    def promote(self, model_id: str, version: int | None = None) -> Model:
        """Let a version answer, by default the one that is held; see `lucid.models.promote`."""
        with telling(self.settings.home):
            number = held_version(models.show_model(self.settings, model_id)) if version is None else version
            return models.promote(self.settings, model_id, number)

    def reject(self, model_id: str, version: int | None = None, reason: str = "") -> Model:
        """Decide that a version shall not answer, by default the one that is held; see `lucid.models.reject`."""
        wanted = check(Rejection, {"reason": reason})
        with telling(self.settings.home):
            number = held_version(models.show_model(self.settings, model_id)) if version is None else version
            return models.reject(self.settings, model_id, number, wanted.reason)

    def pin(self, model_id: str, version: int | None = None) -> Model:
        """Let a version answer until it is unpinned, by default the one that answers; see `lucid.models.pin`."""
        with telling(self.settings.home):
            return models.pin(self.settings, model_id, version)

    def unpin(self, model_id: str) -> Model:
        """Let trainings go live again; see `lucid.models.unpin`."""
        with telling(self.settings.home):
            return models.unpin(self.settings, model_id)

    def compare(self, model_id: str, a: int | None = None, b: int | None = None) -> Comparison:
        """How version b differs from version a, by default the newest other one from the one that answers.

        Raises as `lucid.training.versions_compared.compare` does.
        """
        with telling(self.settings.home):
            return versions_compared.compare(self.settings, model_id, a, b)

    def gate(self, model_id: str) -> Gate:
        """What a new training has to hold to go live by itself; raises UnknownModel."""
        return models.gate(self.settings, model_id)

    def set_gate(self, model_id: str, **limits: Any) -> Gate:
        """Set it, with the fields of `GateRequest`; what is left out is as by default.

        Raises InvalidRequest, UnknownModel.
        """
        return models.set_gate(self.settings, model_id, check(GateRequest, limits))

    def reset_gate(self, model_id: str) -> Gate:
        """Let the defaults hold again; raises UnknownModel."""
        return models.set_gate(self.settings, model_id, None)

    def attribution(
        self,
        model_id: str,
        from_time: datetime | None = None,
        to_time: datetime | None = None,
        by: By | None = None,
    ) -> Attribution:
        """What came of the noted answers of a model; see `lucid.experiments.attribution.attribution`."""
        return attribution(self.settings, model_id, from_time, to_time, by)

    def begin_experiment(self, name: str, model_id: str, variants: Sequence[Mapping[str, Any]]) -> Experiment:
        """Answer parts of the sources in different ways; each variant has the fields of `Variant`.

        Raises InvalidRequest, UnknownModel, UnknownVersion, ExperimentExists.
        """
        wanted = check(ExperimentRequest, {"name": name, "model_id": model_id, "variants": variants})
        with telling(self.settings.home):
            return lifecycle.begin_experiment(self.settings, wanted)

    def experiments(self) -> list[Experiment]:
        """All experiments, by name."""
        with telling(self.settings.home):
            return lifecycle.list_experiments(self.settings)

    def experiment(self, name: str) -> ExperimentReport:
        """An experiment and what came of it so far; raises UnknownExperiment."""
        with telling(self.settings.home):
            return lifecycle.show_experiment(self.settings, name)

    def stop_experiment(self, name: str) -> ExperimentReport:
        """Give everybody the live version again, and return what came of it; raises UnknownExperiment."""
        with telling(self.settings.home):
            return lifecycle.stop_experiment(self.settings, name)

    def delete_experiment(self, name: str) -> Experiment:
        """Delete an experiment and return what it was; what was shown stays noted. Raises UnknownExperiment."""
        with telling(self.settings.home):
            return lifecycle.delete_experiment(self.settings, name)

    def deliveries(self, model_id: str) -> list[Delivery]:
        """The callbacks of a model and what became of them, the newest first; raises UnknownModel."""
        with telling(self.settings.home):
            return models.deliveries(self.settings, model_id)

    def resend(self, model_id: str, event_id: str) -> Delivery:
        """Send a callback once more, in the background; raises UnknownModel, UnknownDelivery.

        What is not sent when this process ends is sent by the service, or by the next one that opens the home.
        """
        with telling(self.settings.home):
            owed = models.resend(self.settings, model_id, event_id)
        self._sender.send()
        return owed

    def schedules(self, model_id: str) -> list[Schedule]:
        """When a model is trained or refreshed by itself; raises UnknownModel, Unavailable without a Prefect server."""
        return schedules.of_model(self.settings, model_id)

    def schedule(self, model_id: str, work: Work, cron: str, timezone: str = "UTC") -> Schedule:
        """Train or refresh a model by itself, at the times of a cron expression.

        Raises InvalidRequest, UnknownModel, and Unavailable without a Prefect server.
        """
        wanted = check(ScheduleRequest, {"work": work, "cron": cron, "timezone": timezone})
        return schedules.add(self.settings, model_id, wanted)

    def unschedule(self, model_id: str, schedule_id: str) -> Schedule:
        """Delete a schedule; raises UnknownModel, UnknownSchedule, and Unavailable without a Prefect server."""
        return schedules.remove(self.settings, model_id, schedule_id)

    def auto_train(self, model_id: str) -> AutoTrain:
        """How a model is trained by itself after uploads; raises UnknownModel, AutoTrainOff, Unavailable."""
        return auto_train.of_model(self.settings, model_id)

    def switch_auto_train_on(
        self,
        model_id: str,
        quiet_seconds: int = QUIET_SECONDS,
        min_interval_seconds: int = MIN_INTERVAL_SECONDS,
    ) -> AutoTrain:
        """Train a model by itself once uploads of its data have rested for a while, and not too often.

        Raises InvalidRequest, UnknownModel, and Unavailable without a Prefect server.
        """
        wanted = {"quiet_seconds": quiet_seconds, "min_interval_seconds": min_interval_seconds}
        return auto_train.switch_on(self.settings, model_id, check(AutoTrainRequest, wanted))

    def switch_auto_train_off(self, model_id: str) -> AutoTrain:
        """Train a model after uploads no more, and return how it was; raises as `auto_train` does."""
        return auto_train.switch_off(self.settings, model_id)

    def check(self, model_id: str | None = None, *, repair: bool = False) -> Iterator[soundness.Finding]:
        """Whether all that was published is as it was published; see `lucid.training.soundness.check`."""
        return soundness.check(self.settings, model_id, repair=repair)

    def disk(self) -> DiskUse:
        """What the home takes of the disk, by what it is for, model and version."""
        return DiskMeter(self.settings.home).look()

    def maintain(self, keep_history_days: float | None = None, *, dry_run: bool = False) -> dict[str, Removed]:
        """Remove what nothing needs any more, as the service does each day; see `lucid.maintenance`.

        History is kept as long as the settings say, or as is given. Returns what each step has removed, or would
        remove in a dry run. Raises InvalidRequest for days that are none, Unavailable where a database stays busy; what
        has been removed by then is gone.
        """
        upkeep = upkeep_now(self.settings, keep_history_days, dry_run=dry_run)
        if not dry_run:
            self._sweep()
        return {step.what: removed for step, removed in maintain(upkeep)}

    def back_up(self, target: str | Path, progress: Progress | None = None) -> Backup:
        """Copy the home into a new folder, whatever works on it meanwhile; see `lucid.backup.back_up`."""
        return backup.back_up(self.settings, Path(target), progress or _silent)

    @classmethod
    def restore(
        cls,
        source: str | Path,
        home: str | Path | None = None,
        progress: Progress | None = None,
        *,
        replace: bool = False,
    ) -> "Workspace":
        """Make a home of a backup, and open it; see `lucid.backup.restore`."""
        settings = _settings(home)
        backup.restore(settings, Path(source), progress or _silent, replace=replace)
        return cls(settings=settings)

    def report(self, model_id: str, version: int | None = None) -> dict[str, Any]:
        """The training report of a version, by default of the one that answers; see `lucid.reports.report_of`."""
        with telling(self.settings.home):
            return reports.report_of(self.settings, model_id, version)

    def held_out(self, model_id: str, target: str | Path, version: int | None = None) -> None:
        """Write what the figures of a report are computed from into a file; see `lucid.reports.held_out_of`."""
        with telling(self.settings.home):
            pieces = reports.held_out_of(self.settings, model_id, version)
        with telling(Path(target)), replacing(Path(target)) as new, open_new(new) as file:
            file.writelines(pieces)

    def save_placement(self, placement: Mapping[str, Any] | str | Path, model_id: str | None = None) -> Placement:
        """Save rules as a new version of a placement, from a mapping or a YAML file, unless its last one has them.

        With a model, rules on what none of its entities has are refused. Raises InvalidRequest, UnknownType, and for a
        model what `recommend` raises.
        """
        wanted = (
            check(PlacementRequest, dict(placement)) if isinstance(placement, Mapping) else read_placement(placement)
        )
        with telling(self.settings.home):
            if model_id is not None:
                check_rules(wanted, self._registry.predictor(model_id).version.names)
            return self._placements.save(wanted, utc_now())

    def placements(self) -> list[Placement]:
        """All placements by name, each in its last version."""
        with telling(self.settings.home):
            return self._placements.all()

    def placement(self, name: str) -> Placement:
        """A placement in its last version, or in the one that `home@3` names; raises UnknownPlacement."""
        with telling(self.settings.home):
            return self._placements.find(name)

    def placement_versions(self, name: str) -> list[Placement]:
        """All versions of a placement, the last one first; raises UnknownPlacement."""
        with telling(self.settings.home):
            return self._placements.versions(name)

    def retire_placement(self, name: str) -> Placement:
        """End a placement, and return the version that did: only its versions can be asked for from now on.

        Raises UnknownPlacement.
        """
        with telling(self.settings.home):
            return self._placements.retire(name, utc_now())

    def preview_placements(self, model_id: str, source_id: Ids, **asked: Any) -> Preview:
        """What two rule sets would show to some sources; `asked` are the other fields of `PreviewRequest`.

        Raises InvalidRequest, UnknownType, UnknownPlacement, and as `recommend` does.
        """
        wanted = check(PreviewRequest, {"model_id": model_id, "source_id": ids_of(source_id), **asked})
        with telling(self.settings.home):
            return preview(self._registry, self._placements, wanted)

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
    ) -> pd.DataFrame:
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
        Raises as `ModelRegistry.recommend` does.
        """
        query = check(
            RecommendationQuery,
            {
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
            },
        )
        answer = self.answer(query)
        tables = [pd.DataFrame(block.table()) for block in answer.blocks if block.rows]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(answer.columns))
        table.attrs["unknown_source_ids"] = answer.unknown_source_ids
        if answer.noted:
            table.attrs["noted"] = noted_json(answer.noted)
        return table

    def answer(self, query: RecommendationQuery) -> Answer:
        """The answer in blocks, for one too large for memory."""
        with telling(self.settings.home):
            answer = (self._noted if query.is_noted else self._registry).recommend(query)
        return replace(answer, blocks=told(self.settings.home, answer.blocks))

    def _sweep(self) -> None:
        """End what died, where that can be written; what waits for a flow run is the service's concern."""
        with suppress(MachineError), telling(self.settings.home):
            run.sweep(self.settings, is_lost=_never, warnings=self._warnings)
            sweep_imports(self.settings, self._catalog, is_lost=_never, warnings=self._warnings)
            self._sender.send()


def _settings(home: str | Path | None, settings: Settings | None = None) -> Settings:
    """The given settings, or those of the environment, for a home if one is named."""
    settings = settings or load_settings()
    return settings if home is None else Settings.model_validate({**settings.model_dump(), "home": Path(home)})


def _never(_flow_run_id: str | None, _entered: datetime) -> bool:
    return False


def _list(values: str | Path | Sequence[Any]) -> list[Any]:
    """Several values, or one that was given alone; whether it is what it should be is for others to check."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]


def _silent(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""
