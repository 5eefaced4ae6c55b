"""The live versions of models, kept open; the newest sound one stands in for one that is damaged.

Needs neither Prefect nor torch, and never waits for the catalog but in `refresh`.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lucid.errors import DamagedVersion, LucidError, UnknownModel
from lucid.health import HealthWarnings
from lucid.schema.fields import utc_now
from lucid.serving.predictor import Predictor
from lucid.versions.known_damage import KnownDamage
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version

_UNSEEN = "what was uploaded since model {!r} was trained could not be read, and does not count yet"


class LiveVersions:
    """The version of each model that answers; safe to share between threads.

    A version is opened when it is first asked, and its files are let go when the last answer from it is finished.
    Models whose live version does not answer are told to `warnings`, until another is published or its files are as
    they were. What is found damaged is remembered in `damage`.
    """

    def __init__(self, home: Path, warnings: HealthWarnings, damage: KnownDamage) -> None:
        self._home, self._warnings, self._damage = home, warnings, damage
        self._live: dict[str, _Live] = {}
        self._unwell: set[str] = set()
        self._opening = threading.Lock()

    def predictor(self, model_id: str, number: int | None = None) -> Predictor:
        """The live version of a model or the one with a number, open.

        Raises UnknownModel, ModelNotReady, UnknownVersion, OutdatedVersion, and DamagedVersion where the version with
        the number is damaged or no sound one is left.
        """
        versions = ModelVersions(self._home, model_id)
        if number is not None and not versions.is_live(number):
            return self._open(versions.named(number))
        predictor = self._live_of(model_id).predictor
        if number is not None and number != predictor.version.number:  # which stands in for it
            return self._open(versions.version(number))
        return predictor

    def opened(self, model_id: str) -> Predictor | None:
        """The live version of a model if it is open; takes a microsecond or two."""
        live = self._live.get(model_id)
        return live.predictor if live is not None and live.still() else None

    def forget(self, model_id: str) -> None:
        """Find out anew which version of a model answers, when it is next asked."""
        self._live.pop(model_id, None)

    def refresh(self) -> None:
        """Notice what was uploaded, changed, deleted or damaged since the last time; open versions answer meanwhile."""
        with self._warnings.round("uploads since") as each:
            for model_id, live in list(self._live.items()):
                with each.apart(model_id, _UNSEEN.format(model_id)):
                    self._look_after(model_id, live)
        for model_id in self._unwell - self._live.keys():
            self._reopen(model_id)

    def take_events(self) -> None:
        """Count the events that have come since the last time; open versions answer meanwhile."""
        with self._warnings.round("events since") as each:
            for model_id, live in list(self._live.items()):
                with each.apart(model_id, _UNSEEN.format(model_id)), suppress(FileNotFoundError, duckdb.Error):
                    # What was removed, or cannot be read, `refresh` tells.
                    live.predictor.take_events(utc_now())

    def verify(self) -> Iterator[int]:
        """Compare the versions that answer with their checksums, each once; what is damaged does not answer any more.

        Says after each piece how many bytes it read, so that the caller sets the pace.
        """
        for model_id, live in list(self._live.items()):
            found = yield from self._damage.comparing(live.predictor.version)
            if found and live.still():
                self._reopen(model_id)

    def _look_after(self, model_id: str, live: "_Live") -> None:
        if not live.still():  # the next query opens what took its place; the files of this one are let go
            self._live.pop(model_id, None)
        elif self._is_out_of_place(live):
            self._reopen(model_id)
        else:
            self._read_uploads(model_id, live.predictor)

    # Opening

    def _live_of(self, model_id: str) -> "_Live":
        live = self._live.get(model_id)
        if live is None or not live.still():
            with self._opening:
                live = self._live.get(model_id)
                if live is None or not live.still():
                    live = self._live[model_id] = self._open_live(ModelVersions(self._home, model_id))
        return live

    def _open_live(self, versions: ModelVersions) -> "_Live":
        with suppress(DamagedVersion):
            versions.live()  # raises where there is none
        stamp = _stamp(versions.pointer)  # taken before it is read, so that no change goes unnoticed
        pointed_at: Version | None = None
        try:
            pointed_at = versions.live()
            predictor = self._open(pointed_at)
            self._settle(versions.model_id)
        except DamagedVersion as error:
            if _stamp(versions.pointer) != stamp:  # it was removed a moment ago, as another took its place
                return self._open_live(versions)
            predictor = self._open_instead(versions, error)
        # The catalog may be busy: answers come from the version alone until the next time.
        with self._warnings.apart(f"uploads since/{versions.model_id}", _UNSEEN.format(versions.model_id)):
            self._read_uploads(versions.model_id, predictor)
        return _Live(str(versions.pointer), stamp, predictor, pointed_at if pointed_at != predictor.version else None)

    def _open_instead(self, versions: ModelVersions, error: DamagedVersion) -> Predictor:
        """The newest sound version that was approved, in place of one that should answer and is damaged.

        Raises DamagedVersion where there is none.
        """
        for version in reversed(versions.approved()):
            with suppress(DamagedVersion):
                predictor = self._open(version)
                advice = f"version {version.number} answers; train again or run: lucid check --repair"
                self._warn(versions.model_id, error, advice)
                return predictor
        advice = "no sound version is left; train the model again"
        self._warn(versions.model_id, error, advice)
        raise DamagedVersion(error.what, error.found, advice)

    def _open(self, version: Version) -> Predictor:
        if found := self._damage.of(version):
            raise DamagedVersion(f"version {version.number}", found)
        try:
            with version.reading():
                return Predictor(version)
        except DamagedVersion as error:
            self._damage.condemn(version, error.found)
            raise

    def _reopen(self, model_id: str) -> None:
        """Let the version answer that should answer now, if there is one."""
        self._live.pop(model_id, None)
        try:
            self._live_of(model_id)
        except DamagedVersion:
            return  # which is in the warning
        except (LucidError, FileNotFoundError):  # the model was removed
            self._settle(model_id)

    def _is_out_of_place(self, live: "_Live") -> bool:
        """Whether a version that answers is damaged now, or what it stands in for is sound again."""
        if self._damage.of(live.predictor.version):
            return True
        return live.instead_of is not None and not self._damage.of(live.instead_of)

    def _read_uploads(self, model_id: str, predictor: Predictor) -> None:
        about = f"uploads for model {model_id}"
        try:
            with suppress(FileNotFoundError, UnknownModel):  # removed a moment ago
                predictor.refresh(utc_now())
            self._warnings.settle(about)
        except duckdb.Error as error:  # a batch, or the version's own table of entities: answers go on without
            what = f"what was uploaded since version {predictor.version.number} was trained cannot be read"
            self._warnings.warn(about, f"model {model_id!r}: {what} ({type(error).__name__}); run: lucid check")

    # Warnings

    def _warn(self, model_id: str, error: DamagedVersion, advice: str) -> None:
        self._unwell.add(model_id)
        self._warnings.warn(_about(model_id), f"model {model_id!r}: {error.what} is damaged ({error.found}); {advice}")

    def _settle(self, model_id: str) -> None:
        self._unwell.discard(model_id)
        self._warnings.settle(_about(model_id))


@dataclass(frozen=True)
class _Live:
    """What answers for a model, and the pointer file as it was when it said so.

    `instead_of` is the version that the pointer names, where that is damaged.
    """

    pointer: str
    stamp: tuple[int, int]
    predictor: Predictor
    instead_of: Version | None

    def still(self) -> bool:
        """Whether the pointer is the same file."""
        try:
            return _stamp(self.pointer) == self.stamp
        except FileNotFoundError:
            return False


def _about(model_id: str) -> str:
    """What a warning is about."""
    return f"model {model_id}"


def _stamp(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns
