"""Answers: recommendations of a published version, looked up or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor torch, and a query never waits for the catalog. A `Shelf` keeps the versions in use open; a
version's files are let go when the last answer from it is finished.
"""

import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lucid.answers import OpenVersion
from lucid.artifact import LIVE, find_version, live_version, model_folder, version_folder
from lucid.errors import LucidError, UnknownModel
from lucid.rendering import Answer
from lucid.schema import RecommendationQuery

_log = logging.getLogger("lucid")


class Shelf:
    """Opens versions when they are first asked and keeps the live ones open; safe to share between threads.

    A shelf that is `patient` looks before every answer whether batches were uploaded; any other knows them from the
    last `keep_up`, so that no query waits for the catalog.
    """

    def __init__(self, home: Path, *, patient: bool = True) -> None:
        self._home, self._patient = home, patient
        self._live: dict[str, _Live] = {}
        self._opening = threading.Lock()

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query from the live version or the one it names.

        Raises UnknownModel, ModelNotReady, UnknownVersion, OutdatedVersion, UnknownType, InvalidRequest, and
        UnknownSource for a single unknown source; unknown ones in a list are reported in the answer.
        """
        if self._patient:
            self.keep_up()
        try:
            return self._version(query).recommend(query)
        except FileNotFoundError:  # it was removed a moment ago, as another took its place
            self._live.pop(query.model_id, None)
            return self._version(query).recommend(query)

    def recommend_quickly(self, query: RecommendationQuery, source_id: str) -> Answer | None:
        """The same for one source, whatever sources the query names, if its version is open and all was computed ahead.

        Takes some microseconds and a read of less than a kilobyte; None where more is needed.
        """
        live = self._live.get(query.model_id)
        if live is None or query.version is not None or not live.still():
            return None
        return live.version.recommend_quickly(query, source_id)

    def keep_up(self) -> None:
        """Notice what was uploaded, changed or deleted since the last time; open versions answer meanwhile."""
        for model_id, live in list(self._live.items()):
            if not live.still():  # the next query opens what took its place; the files of this one are let go
                self._live.pop(model_id, None)
                continue
            with suppress(FileNotFoundError, UnknownModel):  # removed a moment ago
                live.version.keep_up(self._home)

    def _version(self, query: RecommendationQuery) -> OpenVersion:
        if query.version is not None and query.version != live_version(self._home, query.model_id):
            return self._open(query.model_id, find_version(self._home, query.model_id, query.version))
        live = self._live.get(query.model_id)
        if live is None or not live.still():
            with self._opening:
                live = self._live.get(query.model_id)
                if live is None or not live.still():
                    live = self._live[query.model_id] = self._open_live(query.model_id)
        return live.version

    def _open_live(self, model_id: str) -> "_Live":
        live_version(self._home, model_id)  # raises where there is none
        pointer = model_folder(self._home, model_id) / LIVE
        stamp = _stamp(pointer)  # taken before it is read, so that no change goes unnoticed
        version = self._open(model_id, live_version(self._home, model_id))
        try:
            version.keep_up(self._home)
        except LucidError as error:  # the catalog is busy: answers come from the version alone until the next time
            _log.warning("could not read what was uploaded since %s was trained: %s", model_id, error)
        return _Live(str(pointer), stamp, version)

    def _open(self, model_id: str, number: int) -> OpenVersion:
        return OpenVersion(version_folder(self._home, model_id, number), model_id, number)


@dataclass(frozen=True)
class _Live:
    """The version that answers for a model, and the pointer file as it was when it said so."""

    pointer: str
    stamp: tuple[int, int]
    version: OpenVersion

    def still(self) -> bool:
        """Whether the pointer is the same file."""
        try:
            return _stamp(self.pointer) == self.stamp
        except FileNotFoundError:
            return False


def _stamp(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns
