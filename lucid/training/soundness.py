"""Whether everything published is as it was published, and what can safely be done where it is not.

Looks at the files of every version, checksums included, at which of them `live` names, and at the batches. Looking
changes nothing and holds no lock, so it can be done while the service runs.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from lucid.data.csv_load import REJECTS, ROWS
from lucid.errors import AlreadyTraining, DamagedVersion, ModelNotReady, UnknownBatch, UnknownModel
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.store.home import Home
from lucid.training.run import alone_with
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version

State = Literal["ok", "no checksums", "damaged", "repaired"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing; `no checksums`: an earlier release published it, and its files have their sizes."""

    about: str
    state: State
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.state}" + (f" ({self.detail})" if self.detail else "")


def check(settings: Settings, model_id: str | None = None, *, repair: bool = False) -> Iterator[Finding]:
    """Check all models and batches, or one model; raises UnknownModel.

    To `repair` means: the newest sound version answers in place of a damaged one, and what is damaged is set aside,
    never removed. A model that another process works on is left alone, and so are batches, which are there only once.
    """
    catalog = Catalog(settings.home)
    for name in catalog.trainings.models() if model_id is None else [model_id]:
        if model_id is not None:
            catalog.trainings.get(name)  # raises where there is none
        findings = list(_check_model(settings.home, catalog, name))
        if repair and any(finding.state == "damaged" for finding in findings):
            findings = _repaired(settings, name, findings)
        yield from findings
    if model_id is None:
        yield from _check_batches(settings.home, catalog)


def repair_model(home: Path, catalog: Catalog, model_id: str) -> list[Finding]:
    """Let the newest sound version answer if a damaged one should, and set damaged ones aside; says what there is now.

    The caller holds the model's lock.
    """
    versions = ModelVersions(home, model_id)
    states = _states(versions, catalog)
    sound = [version for version, found in states.items() if found.state != "damaged"]
    findings = [states[version] for version in sound]
    if not _is_live_sound(versions, sound):
        if approved := _approved(versions, sound):
            versions.switch(approved[-1])
            findings.append(Finding(f"{model_id} live", "repaired", f"version {approved[-1].number} answers"))
        elif states or versions.pointer.exists():
            advice = f"no sound version is left; run: lucid train --model-id {model_id}"
            findings.append(Finding(f"{model_id} live", "damaged", advice))
    for version, found in states.items():
        if version not in sound:
            with suppress(FileNotFoundError):  # there is no folder of it
                detail = f"{found.detail}; set aside as {version.set_aside().relative_to(home)}"
                findings.append(Finding(found.about, "repaired", detail))
    return findings


def _repaired(settings: Settings, model_id: str, findings: list[Finding]) -> list[Finding]:
    try:
        with alone_with(settings, model_id):
            return repair_model(settings.home, Catalog(settings.home), model_id)
    except AlreadyTraining:
        return [*findings, Finding(f"{model_id} repair", "damaged", "a process works on the model; repeat it later")]


def _check_model(home: Path, catalog: Catalog, model_id: str) -> Iterator[Finding]:
    versions = ModelVersions(home, model_id)
    states = _states(versions, catalog)
    yield from states.values()
    sound = [version for version, found in states.items() if found.state != "damaged"]
    approved = _approved(versions, sound)
    instead = f"; version {approved[-1].number} answers" if approved else "; no sound version is left"
    about = f"{model_id} live"
    try:
        live = versions.live()
        if _is_live_sound(versions, sound):
            yield Finding(about, "ok", f"version {live.number}")
        else:
            yield Finding(about, "damaged", f"names version {live.number}, which is damaged or missing{instead}")
    except DamagedVersion as error:
        yield Finding(about, "damaged", f"{error.found}{instead}")
    except ModelNotReady:
        # A version is complete for an instant before `live` names it.
        yield Finding(about, "damaged", f"missing{instead}") if sound else Finding(about, "ok", "no finished version")
    except UnknownModel:
        with suppress(UnknownModel):  # deleted in this moment
            if catalog.trainings.get(model_id).status.status == "completed":
                yield Finding(about, "damaged", f"no folder of the model; run: lucid train --model-id {model_id}")


def _is_live_sound(versions: ModelVersions, sound: list[Version]) -> bool:
    """Whether `live` names one of the sound versions, or one that was published since they were looked at."""
    try:
        live = versions.live()
    except (DamagedVersion, ModelNotReady, UnknownModel):
        return False
    newest = max((version.number for version in sound), default=0)
    return live in sound or (live.number > newest and _compared(live).state != "damaged")


def _approved(versions: ModelVersions, sound: list[Version]) -> list[Version]:
    """Those of some versions that may answer in place of another one."""
    return [version for version in sound if versions.review(version) is None]


def _states(versions: ModelVersions, catalog: Catalog) -> dict[Version, Finding]:
    """What is to be said of each version that was finished once, oldest first."""
    states = {version: _compared(version) for version in versions.begun() if _was_finished(version, catalog)}
    # Those whose folder is gone were removed meanwhile, because newer ones took their place.
    return {version: found for version, found in states.items() if version.folder.exists()}


def _was_finished(version: Version, catalog: Catalog) -> bool:
    """What a training has only begun, or left when it died, is no version."""
    if version.is_begun:
        return True
    with suppress(UnknownModel):
        return catalog.trainings.get(version.model_id, version.number).status.status == "completed"
    return False


def _compared(version: Version) -> Finding:
    about = f"{version.model_id} version {version.number}"
    if found := version.compare():
        return Finding(about, "damaged", found)
    with suppress(FileNotFoundError):  # removed in this moment
        if not version.manifest.sha256:
            return Finding(about, "no checksums")
    return Finding(about, "ok")


def _check_batches(home: Path, catalog: Catalog) -> Iterator[Finding]:
    """One line for each batch that cannot be read, and one for all others."""
    sound = 0
    for batch in catalog.batches.find():
        if batch.status == "completed":
            found = _unreadable(Home(home).batch(batch.batch_id))
            with suppress(UnknownBatch):  # deleted meanwhile
                if found and catalog.batches.find([batch.batch_id]):
                    advice = f"upload {batch.file_name!r} again, then run: lucid batches delete {batch.batch_id}"
                    yield Finding(f"batch {batch.batch_id}", "damaged", f"{found}; {advice}")
            sound += not found
    yield Finding("batches", "ok", f"{sound:,} can be read")


def _unreadable(folder: Path) -> str | None:
    """What is wrong with the files of a batch, as far as their ends tell, where Parquet keeps what is in them."""
    for name in (ROWS, REJECTS):
        try:
            with connect() as connection:
                connection.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(folder / name)]).fetchall()
        except duckdb.Error:
            return f"{name}: not a readable Parquet file" if (folder / name).exists() else f"{name}: missing"
    return None
