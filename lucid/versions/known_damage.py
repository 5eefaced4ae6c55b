"""What was found out about versions, as long as their files stay as they are."""

import os
import threading
from collections.abc import Generator
from pathlib import Path

from lucid.versions.version import Version

_Files = tuple[tuple[str, int, int, int], ...]
"""Names of a folder's files, with what changes when one is written, replaced or restored."""


class KnownDamage:
    """Remembers which versions were compared with their checksums and what was wrong; safe to share between threads."""

    def __init__(self) -> None:
        # By folder: the handle of a version that is open would keep its files open, and on disk, once it was removed.
        self._compared: dict[Path, tuple[_Files, str | None]] = {}
        self._noting = threading.Lock()

    def of(self, version: Version) -> str | None:
        """What is wrong with a version: what names and sizes tell now, or what was found before."""
        found = version.damage()
        files, known = self._compared.get(version.folder, (None, None))
        return found or (known if known and files == _files(version.folder) else None)

    def condemn(self, version: Version, found: str) -> None:
        """Note what is wrong with a version."""
        self._note(version.folder, _files(version.folder), found)

    def comparing(self, version: Version) -> Generator[int, None, str | None]:
        """See `manifest.comparing`; versions that were compared already are not read again."""
        files, known = self._compared.get(version.folder, (None, None))
        now = _files(version.folder)
        if files != now:
            known = yield from version.comparing()
            self._note(version.folder, now, known)
        return known

    def _note(self, folder: Path, files: _Files, found: str | None) -> None:
        """Remember what was found, and nothing more of versions that are gone."""
        with self._noting:
            there = {known: what for known, what in self._compared.items() if known.is_dir()}
            self._compared = {**there, folder: (files, found)}


def _files(folder: Path) -> _Files:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except FileNotFoundError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_ctime_ns) for name, stat in found))
