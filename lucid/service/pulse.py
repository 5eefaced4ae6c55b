"""The pulse of the process that runs flows: a file that says since when it does, and by its own time that it lives."""

import time
from datetime import datetime
from pathlib import Path

from lucid.schema.fields import utc_now
from lucid.store.files import write_text
from lucid.store.home import Home

BEAT_SECONDS = 2.0
_LATE_SECONDS = 10.0


def begin(home: Path) -> None:
    """Say that the process that runs flows is ready for work, since now."""
    write_text(_file(home), utc_now().isoformat())


def beat(home: Path) -> None:
    """Say that it still is; to be repeated every `BEAT_SECONDS`."""
    _file(home).touch()


def began(home: Path) -> datetime | None:
    """Since when a process runs flows on this home; UTC, None where that is not known."""
    try:
        return datetime.fromisoformat(_file(home).read_text())
    except (OSError, ValueError):
        return None


def beats(home: Path) -> bool:
    """Whether there was a beat a moment ago."""
    try:
        return time.time() - _file(home).stat().st_mtime < _LATE_SECONDS
    except OSError:
        return False


def end(home: Path) -> None:
    """Forget an earlier pulse, before another process takes over."""
    _file(home).unlink(missing_ok=True)


def _file(home: Path) -> Path:
    return Home(home).pulse
