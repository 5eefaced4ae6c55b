"""The versions of one model: which one answers, how they come to answer, and how they go.

A version is complete or invisible, and a file `live` names the one that answers. A version that has a review was held
back or rejected: it never answers by itself, in place of a damaged one neither.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

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
from lucid.store.locks import forget, working
from lucid.versions.experiments import Experiments
from lucid.versions.files import LIVE, REVIEW
from lucid.versions.reviews import Review, read_review, write_review
from lucid.versions.version import Version

REMOVED = ".removed-"
"""Begins the name of what is being removed."""
_PINNED = "pinned"
"""Follows the number in `live` where the version answers until it is unpinned."""
_POINTER, _POINTER_SECONDS = "live-", 30.0
"""The lock of changing `live`, which takes milliseconds."""


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

    def approved(self) -> list[Version]:
        """Complete versions that are neither held nor rejected, oldest first."""
        return [version for version in self.complete() if self.review(version) is None]

    def review(self, version: Version) -> Review | None:
        """Why a version does not answer by itself; None where nothing is against it, as of the live one."""
        with suppress(FileNotFoundError, DamagedVersion):
            if self.pointed_at() == version:
                return None
        return read_review(self._review_file(version))

    def reviews(self) -> list[Path]:
        """The files of all reviews."""
        return sorted(self.folder.glob(f"*{REVIEW}"))

    def _review_file(self, version: Version) -> Path:
        return self.folder / f"{version.number}{REVIEW}"

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
            return self.version(self._pointed()[0])
        except Damaged:
            raise DamagedVersion("the file `live`", "it names no version") from None

    @property
    def is_pinned(self) -> bool:
        """Whether the version that `live` names answers until it is unpinned."""
        with suppress(FileNotFoundError, Damaged):
            return self._pointed()[1]
        return False

    def _pointed(self) -> tuple[int, bool]:
        """What `live` says: a version's number, and whether it is pinned; raises FileNotFoundError, Damaged."""
        return read_text(self.pointer, _read_pointer, "")

    def is_live(self, number: int) -> bool:
        """Whether a version is the one that `live` names; raises ModelNotReady, UnknownModel."""
        try:
            return self.live().number == number
        except DamagedVersion:
            return False

    def answering(self) -> Version:
        """The live version or, where names and sizes of its files tell that it is damaged, the newest whole one.

        One that is held or rejected stands in for none.

        Raises ModelNotReady, UnknownModel, and DamagedVersion where none is whole.
        """
        try:
            live = self.live()
            if found := live.damage():
                raise DamagedVersion(f"version {live.number}", found)
        except DamagedVersion:
            whole = self.approved()
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

    def go_live(self, version: Version, *, despite_pin: bool = False) -> bool:
        """Let a complete version answer, unless it is under review, a newer one answers or another one is pinned.

        Tells whether it answers now.
        """
        with self._changing_pointer():
            if self.review(version):
                return False
            with suppress(FileNotFoundError, DamagedVersion):
                live = self.pointed_at()
                if live == version:
                    return True
                if (self.is_pinned and not despite_pin) or (live.number >= version.number and live.is_complete):
                    return False
            self._point_at(version, pinned=self.is_pinned)
        return True

    def switch(self, version: Version, *, pinned: bool = False) -> None:
        """Let a complete version answer, older or newer, because somebody wants that.

        It is pinned where the one before was, or is to be. What was against it does not count any more.
        """
        with self._changing_pointer():
            self._point_at(version, pinned=pinned or self.is_pinned)
        self.forget_review(version)

    def pin(self, *, pinned: bool) -> Version:
        """Let the live version answer until it is unpinned, or no longer than others; returns it.

        Raises ModelNotReady, UnknownModel, DamagedVersion.
        """
        with self._changing_pointer():
            live = self.live()
            if self.is_pinned != pinned:
                self._point_at(live, pinned=pinned)
        return live

    def set_review(self, version: Version, review: Review) -> None:
        """Hold a version back, or reject it; one that is being made is so from the moment in which it is complete."""
        write_review(self._review_file(version), review)

    def forget_review(self, version: Version) -> None:
        """Let nothing be against a version any more."""
        self._review_file(version).unlink(missing_ok=True)

    @contextmanager
    def _changing_pointer(self) -> Iterator[None]:
        """Be the only one that changes `live`; no lock stays behind."""
        name = f"{_POINTER}{self.model_id}"
        try:
            with working(self.home, name, _POINTER_SECONDS):
                yield
        except Timeout:
            raise Unavailable(f"another process changes what answers for {self.model_id!r}; try again") from None
        finally:
            forget(self.home, name)

    def _point_at(self, version: Version, *, pinned: bool) -> None:
        if self.pointer.is_dir():  # no file can take the place of a folder
            set_aside(self.pointer)
        write_text(self.pointer, f"{version.number} {_PINNED}" if pinned else str(version.number))

    def superfluous(self, keep: int) -> list[Version]:
        """All complete versions but the live one, those held, those that an experiment tries, and the newest `keep`
        trainings; refreshes do not count.

        Rejected ones are counted apart, so that they take the place of none that could answer. Raises ModelNotReady,
        UnknownModel, DamagedVersion.
        """
        live, known = self.live(), self.complete()
        reviews = {version.number: review for version in known if (review := self.review(version))}
        refreshes = [version for version in known if version.manifest.refresh_of is not None]
        trainings = [version for version in known if version.manifest.refresh_of is None]
        approved = [version for version in trainings if version.number not in reviews]
        rejected = [version for version in trainings if version.number in reviews and not reviews[version.number].held]
        old = refreshes + approved[:-keep] + rejected[:-keep]
        tried = Experiments(self.home).versions_of(self.model_id)
        left = (version for version in old if version != live and version.number not in tried)
        return sorted(left, key=lambda version: version.number)

    def prune(self, keep: int) -> None:
        """Remove what is `superfluous`."""
        for version in self.superfluous(keep):
            self.remove_version(version)

    def remove_version(self, version: Version) -> None:
        """Remove a version; renamed first, so that nobody sees a part of it."""
        _remove(version.folder)
        self.forget_review(version)

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


def _read_pointer(text: str) -> tuple[int, bool]:
    number, *marks = text.split()
    if not (number.isascii() and number.isdecimal() and marks in ([], [_PINNED])):
        raise ValueError("a number expected")
    return int(number), bool(marks)


def _remove(folder: Path) -> None:
    aside = folder.with_name(REMOVED + folder.name)
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
