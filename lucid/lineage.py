"""The lineage of a version, read from the catalog and the version's files."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from lucid.errors import DamagedVersion, ModelNotReady, UnknownModel, UnknownVersion
from lucid.schema.batches import Batch
from lucid.schema.lineage import (
    Ancestor,
    Lineage,
    MadeBy,
    PairAnswers,
    SelectionStep,
    UsedBatch,
    UsedSelection,
    VersionFile,
)
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.trainings import TrainingRow
from lucid.training.report import read_report
from lucid.versions.counts import count_precomputed
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version


def lineage(settings: Settings, model_id: str, version: int | None = None) -> Lineage:
    """What a version was made of and what it gives; without a number, the one that answers.

    Raises UnknownModel, UnknownVersion where it was never finished, ModelNotReady where none is asked for and none
    answers, and DamagedVersion where a file of it cannot be read.
    """
    catalog, versions = Catalog(settings.home), ModelVersions(settings.home, model_id)
    catalog.trainings.get(model_id)
    number = versions.answering().number if version is None else version
    line = _line(catalog, model_id, number)
    row, training = line[0], line[-1]
    made = versions.version(number)
    told = Lineage(
        model_id=model_id,
        version=number,
        made_by=_made_by(row),
        kept=made.is_begun,
        live=_answers(versions, number),
        started=row.status.start_timestamp,
        flow_run_url=row.status.flow_run_url,
        ancestors=[
            Ancestor(version=one.status.version, made_by=_made_by(one), started=one.status.start_timestamp)
            for one in line[1:]
        ],
        batches=_batches(catalog, line),
        selection=_selection(training),
    )
    if told.kept:
        with suppress(FileNotFoundError):  # removed in this moment
            return _with_files(told, made)
    return told


def _line(catalog: Catalog, model_id: str, number: int) -> list[TrainingRow]:
    """The records of a version and of all that it was derived from, as far as there are any."""
    try:
        row = catalog.trainings.get(model_id, number)
    except UnknownModel:
        raise UnknownVersion(f"model {model_id!r} has no version {number}") from None
    if row.kind is None or row.status.status != "completed":
        raise UnknownVersion(f"version {number} of model {model_id!r} was never finished ({row.status.status})")
    line = [row]
    with suppress(UnknownModel):
        while (parent := line[-1].refresh_of) is not None:
            line.append(catalog.trainings.get(model_id, parent))
    return line


def _made_by(row: TrainingRow) -> MadeBy:
    assert row.kind is not None
    return row.kind


def _answers(versions: ModelVersions, number: int) -> bool:
    with suppress(ModelNotReady, DamagedVersion):
        return versions.answering().number == number
    return False


def _batches(catalog: Catalog, line: Sequence[TrainingRow]) -> list[UsedBatch]:
    """What the training used, and what refreshes have folded in since."""
    trained = set(line[-1].status.data_batch_ids)
    used = trained.union(*(row.status.data_batch_ids for row in line))
    known = {batch.batch_id: batch for batch in catalog.batches.find() if batch.batch_id in used}
    return [
        _batch(batch_id, known.get(batch_id), trained=batch_id in trained)
        for batch_id in [*known, *sorted(used - known.keys())]
    ]


def _batch(batch_id: str, known: Batch | None, *, trained: bool) -> UsedBatch:
    used: Literal["trained", "folded in"] = "trained" if trained else "folded in"
    if known is None:
        return UsedBatch(batch_id=batch_id, used=used, state="deleted")
    return UsedBatch(
        batch_id=batch_id,
        used=used,
        state="archived" if known.archived else "completed",
        file_name=known.file_name,
        tags=known.tags,
        entities=known.entity_count,
        interactions=known.interaction_count,
        uploaded=known.timestamp,
    )


def _selection(training: TrainingRow) -> UsedSelection:
    """What the training was asked; the catalog's record of it names no erased entity."""
    return UsedSelection.model_validate({name: training.request.get(name) for name in UsedSelection.model_fields})


def _with_files(told: Lineage, made: Version) -> Lineage:
    """With what stands in the version's files: counts only, for examples in its report are values of rows."""
    with made.reading():
        steps = [
            SelectionStep(step=step.step, kept=step.kept, removed=step.removed)
            for step in read_report(made.folder).steps
        ]
        pairs = [
            PairAnswers(
                source_type=pair.source_type,
                target_type=pair.target_type,
                max_recommendations=pair.asked,
                recommendations=pair.recommendations,
            )
            for pair in count_precomputed(made)
        ]
        manifest, config = made.manifest, made.config
    return told.model_copy(
        update={
            "published": manifest.created,
            "selection": told.selection.model_copy(update={"steps": steps}),
            "seed": config.seed,
            "erased": len(config.erased),
            "pairs": pairs,
            "files": [
                VersionFile(name=name, bytes=size, sha256=manifest.sha256.get(name))
                for name, size in sorted(manifest.files.items())
            ],
        }
    )
