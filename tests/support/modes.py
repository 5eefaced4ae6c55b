"""Who may look into a home, as the file system sees it."""

import stat
from pathlib import Path


def open_to_others(home: Path) -> list[Path]:
    """The home itself and all that is in it, as far as a group or everybody has any right to it.

    Links have no mode of their own; what goes away while this looks is left out.
    """
    return [path for path in (home, *sorted(home.rglob("*"))) if _mode(path) & 0o077]


def _mode(path: Path) -> int:
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(found) else stat.S_IMODE(found)
