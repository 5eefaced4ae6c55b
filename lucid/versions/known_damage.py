"""What was found out about versions, as long as their files stay as they are."""

import os
from collections.abc import Generator
from pathlib import Path

from lucid.versions.version import Version

_Files = tuple[tuple[str, int, int, int], ...]
"""Names of a folder's files, with what changes when one is written, replaced or restored."""


class KnownDamage:
    """Remembers which versions were compared with their checksums and what was wrong; safe to share between threads."""

    def __init__(self) -> None:
        self._compared: dict[Version, tuple[_Files, str | None]] = {}

    def of(self, version: Version) -> str | None:
        """What is wrong with a version: what names and sizes tell now, or what was found before."""
        found = version.damage()
        files, known = self._compared.get(version, (None, None))
        return found or (known if known and files == _files(version.folder) else None)

    def condemn(self, version: Version, found: str) -> None:
        """Note what is wrong with a version."""
        self._compared[version] = _files(version.folder), found

    def comparing(self, version: Version) -> Generator[int, None, str | None]:
        """See `manifest.comparing`; versions that were compared already are not read again."""
        files, known = self._compared.get(version, (None, None))
        now = _files(version.folder)
        if files != now:
            known = yield from version.comparing()
            self._compared[version] = now, known
        return known


def _files(folder: Path) -> _Files:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except FileNotFoundError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_ctime_ns) for name, stat in found))
