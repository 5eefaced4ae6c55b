"""Answers: recommendations of a published version, looked up or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor torch, and a query never waits for the catalog. A `Shelf` keeps the versions in use open; a
version's files are let go when the last answer from it is finished. Where the live version is damaged, the newest sound
one of the model answers, and a warning says so until another is published or the files are as they were.
"""

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import duckdb

from lucid.errors import DamagedVersion, LucidError, UnknownModel
from lucid.health import HealthWarnings
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.predictor import OpenVersion
from lucid.serving.rendering import Answer
from lucid.versions.lifecycle import (
    LIVE,
    comparing,
    damage,
    find_version,
    is_live,
    live_version,
    model_folder,
    reading,
    version_folder,
    versions,
)

_UNSEEN = "what was uploaded since model {!r} was trained could not be read, and does not count yet"


class Shelf:
    """Opens versions when they are first asked and keeps the live ones open; safe to share between threads.

    A shelf that is `patient` looks before every answer whether batches were uploaded; any other knows them from the
    last `keep_up`, so that no query waits for the catalog. Models whose live version does not answer are told to
    `warnings`.
    """

    def __init__(self, home: Path, *, patient: bool = True, warnings: HealthWarnings | None = None) -> None:
        self._home, self._patient = home, patient
        self._warnings = warnings or HealthWarnings()
        self._known = _Known(home)
        self._live: dict[str, _Live] = {}
        self._unwell: set[str] = set()
        self._opening = threading.Lock()

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query from the live version or the one it names.

        Raises UnknownModel, ModelNotReady, UnknownVersion, OutdatedVersion, UnknownType, InvalidRequest, UnknownSource
        for a single unknown source (unknown ones in a list are reported in the answer), and DamagedVersion where the
        query names a damaged version or the model has no sound one left.
        """
        if self._patient:
            self.keep_up()
        try:
            return self._answer(query)
        except FileNotFoundError:  # it was removed a moment ago, as another took its place
            self._live.pop(query.model_id, None)
            return self._answer(query)

    def recommend_quickly(self, query: RecommendationQuery, source_id: str) -> Answer | None:
        """The same for one source, whatever sources the query names, if its version is open and all was computed ahead.

        Takes some microseconds and a read of less than a kilobyte; None where more is needed.
        """
        live = self._live.get(query.model_id)
        if live is None or query.version is not None or not live.still():
            return None
        try:
            return live.version.recommend_quickly(query, source_id)
        except (DamagedVersion, LookupError, ValueError):  # the long way finds out what is wrong with the files
            return None

    def keep_up(self) -> None:
        """Notice what was uploaded, changed, deleted or damaged since the last time; open versions answer meanwhile."""
        with self._warnings.round("uploads since") as each:
            for model_id, live in list(self._live.items()):
                with each.apart(model_id, _UNSEEN.format(model_id)):
                    self._look_after(model_id, live)
        for model_id in self._unwell - self._live.keys():
            self._reopen(model_id)

    def _look_after(self, model_id: str, live: "_Live") -> None:
        if not live.still():  # the next query opens what took its place; the files of this one are let go
            self._live.pop(model_id, None)
        elif self._is_out_of_place(model_id, live):
            self._reopen(model_id)
        else:
            self._keep_up(model_id, live.version)

    def verify(self) -> Iterator[int]:
        """Compare the versions that answer with their checksums, each once; what is damaged does not answer any more.

        Says after each piece how many bytes it read, so that the caller sets the pace.
        """
        for model_id, live in list(self._live.items()):
            found = yield from self._known.comparing(model_id, live.version.number)
            if found and live.still():
                self._reopen(model_id)

    # Answering

    def _answer(self, query: RecommendationQuery) -> Answer:
        version = self._version(query)
        try:
            return _begun(version.recommend(query))
        except Exception as error:  # damaged numbers lead anywhere: beyond arrays, to types that there are not
            if not self._is_damaged(query.model_id, version.number, error):
                raise
        self._live.pop(query.model_id, None)
        return self._answer(query)  # from another: this one is known now, and there are only so many

    def _is_damaged(self, model_id: str, number: int, error: Exception) -> bool:
        """Whether an answer failed because of the version's files, and not for a reason in the query or in our code."""
        if isinstance(error, DamagedVersion):
            self._known.condemn(model_id, number, error.found)
            return True
        if isinstance(error, LucidError | FileNotFoundError):
            return False
        steps = self._known.comparing(model_id, number)
        for _ in steps:
            pass
        return self._known.damage(model_id, number) is not None

    # Opening

    def _version(self, query: RecommendationQuery) -> OpenVersion:
        named = query.version
        if named is not None and not is_live(self._home, query.model_id, named):
            return self._open(query.model_id, find_version(self._home, query.model_id, named))
        live = self._live_of(query.model_id)
        if named is not None and named != live.version.number:  # which stands in for it
            return self._open(query.model_id, named)
        return live.version

    def _live_of(self, model_id: str) -> "_Live":
        live = self._live.get(model_id)
        if live is None or not live.still():
            with self._opening:
                live = self._live.get(model_id)
                if live is None or not live.still():
                    live = self._live[model_id] = self._open_live(model_id)
        return live

    def _reopen(self, model_id: str) -> None:
        """Let the version answer that should answer now, if there is one."""
        self._live.pop(model_id, None)
        try:
            self._live_of(model_id)
        except DamagedVersion:
            return  # which is in the warning
        except (LucidError, FileNotFoundError):  # the model was removed
            self._settle(model_id)

    def _is_out_of_place(self, model_id: str, live: "_Live") -> bool:
        """Whether a version that answers is damaged now, or what it stands in for is sound again."""
        if self._known.damage(model_id, live.version.number):
            return True
        return live.instead_of is not None and not self._known.damage(model_id, live.instead_of)

    def _open_live(self, model_id: str) -> "_Live":
        with suppress(DamagedVersion):
            live_version(self._home, model_id)  # raises where there is none
        pointer = model_folder(self._home, model_id) / LIVE
        stamp = _stamp(pointer)  # taken before it is read, so that no change goes unnoticed
        number = None
        try:
            number = live_version(self._home, model_id)
            version = self._open(model_id, number)
            self._settle(model_id)
        except DamagedVersion as error:
            if _stamp(pointer) != stamp:  # it was removed a moment ago, as another took its place
                return self._open_live(model_id)
            version = self._open_instead(model_id, error)
        # The catalog may be busy: answers come from the version alone until the next time.
        with self._warnings.apart(f"uploads since/{model_id}", _UNSEEN.format(model_id)):
            self._keep_up(model_id, version)
        return _Live(str(pointer), stamp, version, number if number != version.number else None)

    def _open_instead(self, model_id: str, error: DamagedVersion) -> OpenVersion:
        """The newest sound version, in place of one that should answer and is damaged; raises DamagedVersion."""
        for number in reversed(versions(self._home, model_id)):
            with suppress(DamagedVersion):
                version = self._open(model_id, number)
                advice = f"version {number} answers; train again or run: lucid check --repair"
                self._warn(model_id, error, advice)
                return version
        advice = "no sound version is left; train the model again"
        self._warn(model_id, error, advice)
        raise DamagedVersion(error.what, error.found, advice)

    def _open(self, model_id: str, number: int) -> OpenVersion:
        if found := self._known.damage(model_id, number):
            raise DamagedVersion(f"version {number}", found)
        try:
            with reading(version_folder(self._home, model_id, number)) as folder:
                return OpenVersion(folder, model_id, number)
        except DamagedVersion as error:
            self._known.condemn(model_id, number, error.found)
            raise

    def _keep_up(self, model_id: str, version: OpenVersion) -> None:
        about = f"uploads for model {model_id}"
        try:
            with suppress(FileNotFoundError, UnknownModel):  # removed a moment ago
                version.keep_up(self._home)
            self._warnings.settle(about)
        except duckdb.Error as error:  # a batch, or the version's own table of entities: answers go on without
            what = f"what was uploaded since version {version.number} was trained cannot be read"
            self._warnings.warn(about, f"model {model_id!r}: {what} ({type(error).__name__}); run: lucid check")

    # Warnings

    def _warn(self, model_id: str, error: DamagedVersion, advice: str) -> None:
        self._unwell.add(model_id)
        self._warnings.warn(_about(model_id), f"model {model_id!r}: {error.what} is damaged ({error.found}); {advice}")

    def _settle(self, model_id: str) -> None:
        self._unwell.discard(model_id)
        self._warnings.settle(_about(model_id))


class _Known:
    """What was found out about versions, as long as their files stay the same; safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._compared: dict[tuple[str, int], tuple[_Files, str | None]] = {}

    def damage(self, model_id: str, number: int) -> str | None:
        """What is wrong with a version: what names and sizes tell now, or what was found before."""
        folder = version_folder(self._home, model_id, number)
        found = damage(folder)
        files, known = self._compared.get((model_id, number), (None, None))
        return found or (known if known and files == _files(folder) else None)

    def condemn(self, model_id: str, number: int, found: str) -> None:
        """Note what is wrong with a version."""
        self._compared[model_id, number] = _files(version_folder(self._home, model_id, number)), found

    def comparing(self, model_id: str, number: int) -> Generator[int, None, str | None]:
        """See `artifact.comparing`; versions that were compared already are not read again."""
        folder = version_folder(self._home, model_id, number)
        files, known = self._compared.get((model_id, number), (None, None))
        now = _files(folder)
        if files != now:
            known = yield from comparing(folder)
            self._compared[model_id, number] = now, known
        return known


_Files = tuple[tuple[str, int, int, int], ...]
"""Names of a folder's files, with what changes when one is written, replaced or restored."""


def _files(folder: Path) -> _Files:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except FileNotFoundError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_ctime_ns) for name, stat in found))


@dataclass(frozen=True)
class _Live:
    """The version that answers for a model, and the pointer file as it was when it said so.

    `instead_of` is the version that the pointer names, where that is damaged.
    """

    pointer: str
    stamp: tuple[int, int]
    version: OpenVersion
    instead_of: int | None

    def still(self) -> bool:
        """Whether the pointer is the same file."""
        try:
            return _stamp(self.pointer) == self.stamp
        except FileNotFoundError:
            return False


def _begun(answer: Answer) -> Answer:
    """The answer with its first rows found, so that what goes wrong goes wrong before anything is sent."""
    first = list(islice(answer.blocks, 1))
    return replace(answer, blocks=chain(first, answer.blocks))


def _about(model_id: str) -> str:
    """What a warning is about."""
    return f"model {model_id}"


def _stamp(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns
