"""The versions of one model: which one answers, how they come to answer, and how they go.

A version is complete or invisible, and a file `live` names the one that answers.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lucid.errors import (
    Damaged,
    DamagedVersion,
    LucidError,
    ModelNotReady,
    Unavailable,
    UnknownModel,
    UnknownVersion,
)
from lucid.store.catalog import Catalog
from lucid.store.documents import read_text, set_aside
from lucid.store.files import write_text
from lucid.store.home import Home
from lucid.versions.files import LIVE
from lucid.versions.version import Version

REMOVED = ".removed-"
"""Begins the name of what is being removed."""


@dataclass(frozen=True)
class ModelVersions:
    """The versions of a model under a home."""

    home: Path
    model_id: str

    @property
    def folder(self) -> Path:
        return Home(self.home).model(self.model_id)

    @property
    def pointer(self) -> Path:
        """The file that names the version that answers."""
        return self.folder / LIVE

    def version(self, number: int) -> Version:
        """The handle of a version, whether it is there or not."""
        return Version(self.home, self.model_id, number)

    # Which are there

    def begun(self) -> list[Version]:
        """Versions that have a folder, complete or not, oldest first."""
        folders = self.folder.glob("[0-9]*")
        numbers = sorted(int(folder.name) for folder in folders if folder.name.isdecimal() and folder.is_dir())
        return [self.version(number) for number in numbers]

    def complete(self) -> list[Version]:
        """Complete versions, oldest first."""
        return [version for version in self.begun() if version.is_complete]

    def named(self, number: int) -> Version:
        """The version asked for, of which names and sizes of files tell that it is whole.

        Raises UnknownVersion where it was never finished, DamagedVersion where it is not whole.
        """
        version, is_pointed_at = self.version(number), self.is_live(number)
        found = version.damage()
        if found and (is_pointed_at or version.is_begun):
            raise DamagedVersion(f"version {number}", found)
        if found:
            answering = self.answering().number
            raise UnknownVersion(
                f"model {self.model_id!r} has no finished version {number}; version {answering} answers"
            )
        return version

    # Which one answers

    def live(self) -> Version:
        """The version that should answer.

        Raises ModelNotReady where no training has finished yet, UnknownModel where none was ever started,
        DamagedVersion where the file names no version. Whether the version is whole is not looked at.
        """
        try:
            return self.pointed_at()
        except FileNotFoundError:
            raise self._without_version() from None

    def pointed_at(self) -> Version:
        """The version that the file `live` names, without a look at the catalog where there is none.

        Raises FileNotFoundError then, DamagedVersion where it cannot be read or names no version.
        """
        try:
            return self.version(read_text(self.pointer, _version_number, ""))
        except Damaged:
            raise DamagedVersion("the file `live`", "it names no version") from None

    def is_live(self, number: int) -> bool:
        """Whether a version is the one that `live` names; raises ModelNotReady, UnknownModel."""
        try:
            return self.live().number == number
        except DamagedVersion:
            return False

    def answering(self) -> Version:
        """The live version or, where names and sizes of its files tell that it is damaged, the newest that is whole.

        Raises ModelNotReady, UnknownModel, and DamagedVersion where none is whole.
        """
        try:
            live = self.live()
            if found := live.damage():
                raise DamagedVersion(f"version {live.number}", found)
        except DamagedVersion:
            whole = self.complete()
            if not whole:
                raise
            return whole[-1]
        return live

    def _without_version(self) -> LucidError:
        """What to say of a model for which no version answers; only the catalog knows whether it was ever trained.

        Where that does not answer, a folder tells that a training has begun.
        """
        try:
            Catalog(self.home).trainings.get(self.model_id)
        except UnknownModel as unknown:
            return unknown
        except Unavailable:
            if not self.folder.is_dir():
                return UnknownModel(f"no model {self.model_id!r}; train it first")
        return ModelNotReady(self.model_id)

    # How they come and go

    def go_live(self, version: Version) -> None:
        """Let a complete version answer, unless a newer one does."""
        with suppress(ModelNotReady, DamagedVersion):
            live = self.live()
            if live.number >= version.number and live.is_complete:
                return
        self.switch(version)

    def switch(self, version: Version) -> None:
        """Let a complete version answer, older or newer."""
        if self.pointer.is_dir():  # no file can take the place of a folder
            set_aside(self.pointer)
        write_text(self.pointer, str(version.number))

    def superfluous(self, keep: int) -> list[Version]:
        """All complete versions but the live one and the newest `keep` trainings; refreshes do not count.

        Raises ModelNotReady, UnknownModel, DamagedVersion.
        """
        live, known = self.live(), self.complete()
        refreshes = [version for version in known if version.manifest.refresh_of is not None]
        trainings = [version for version in known if version.manifest.refresh_of is None]
        return [version for version in refreshes + trainings[:-keep] if version != live]

    def prune(self, keep: int) -> None:
        """Remove what is `superfluous`."""
        for version in self.superfluous(keep):
            self.remove_version(version)

    def remove_version(self, version: Version) -> None:
        """Remove a version; renamed first, so that nobody sees a part of it."""
        _remove(version.folder)

    def remove(self) -> None:
        """Remove the model with all its versions, in the same way."""
        _remove(self.folder)

    def remove_set_aside(self) -> None:
        """Remove the folders of versions that were set aside."""
        for folder in self.folder.glob("damaged-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def remove_empty(self) -> None:
        """Remove the model's folder if it has nothing in it; nobody else may work on the model meanwhile."""
        with suppress(OSError):  # mostly it is not there, or not empty
            self.folder.rmdir()


def _version_number(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise ValueError("a number expected")
    return int(text)


def _remove(folder: Path) -> None:
    aside = folder.with_name(REMOVED + folder.name)
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
