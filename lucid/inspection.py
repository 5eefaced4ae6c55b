"""Looks for files in the home that cannot be read, so that their owner learns of them before a customer does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lucid import artifact
from lucid.errors import Damaged, DamagedVersion, OutdatedVersion
from lucid.health import HealthWarnings, Round
from lucid.locks import text_of
from lucid.reading import below_home
from lucid.report import read_report

_FILES: dict[str, Callable[[Path], Any]] = {
    artifact.MANIFEST: artifact.read_manifest,
    artifact.CONFIG: artifact.read_config,
    artifact.ORIGIN: artifact.read_origin,
    artifact.REPORT: read_report,
}
"""The small files of a complete version, and what reads each."""


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was read last, and what was wrong with it."""

    stamp: tuple[int, int, int]
    wrong: str | None


class Inspection:
    """Reads the small files of all models again and again; one that has not changed is not opened again."""

    def __init__(self, home: Path, warnings: HealthWarnings) -> None:
        self._home, self._warnings = home, warnings
        self._seen: dict[Path, _Seen] = {}

    def look(self) -> None:
        """Warn of each file that cannot be read, and of no other any more."""
        before, self._seen = self._seen, {}
        with self._warnings.round("models") as each:
            for folder in (self._home / "models").glob("*"):
                with each.apart(folder.name, f"models/{folder.name} cannot be looked at"):
                    self._look_at_model(folder, before, each)

    def _look_at_model(self, folder: Path, before: dict[Path, _Seen], each: Round) -> None:
        model_id = text_of(folder.name)
        if model_id is None or not folder.is_dir():  # not ours
            return
        try:
            artifact.live_number(self._home, model_id)
        except FileNotFoundError:  # no training has finished yet
            pass
        except Damaged as error:
            each.warn(f"{folder.name}/{artifact.LIVE}", _said(f"models/{folder.name}/{artifact.LIVE}", error))
        for number in artifact.begun_versions(self._home, model_id):
            version = folder / str(number)
            if (version / artifact.MANIFEST).exists():  # else it is not complete yet
                for name, read in _FILES.items():
                    self._look_at_file(version / name, read, before, each)

    def _look_at_file(self, file: Path, read: Callable[[Path], Any], before: dict[Path, _Seen], each: Round) -> None:
        try:
            found = file.stat()
        except FileNotFoundError:  # removed in this moment
            return
        stamp, seen = (found.st_ino, found.st_mtime_ns, found.st_size), before.get(file)
        if seen is None or seen.stamp != stamp:
            seen = _Seen(stamp, _what_is_wrong(file, read))
        self._seen[file] = seen
        if seen.wrong:
            each.warn(str(file.relative_to(self._home)), seen.wrong)


def _what_is_wrong(file: Path, read: Callable[[Path], Any]) -> str | None:
    try:
        read(file.parent)
    except (FileNotFoundError, OutdatedVersion):  # removed in this moment; look-ups say it
        return None
    except Damaged as error:
        return _said(below_home(file), error)
    return None


def _said(name: str, error: Damaged) -> str:
    """What is wrong with a file, with its name."""
    if isinstance(error, DamagedVersion):
        return f"{name} cannot be read: {error.message}"
    return error.message
