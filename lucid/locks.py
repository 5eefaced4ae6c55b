"""Locks that tell whether the process behind a piece of work still lives.

A lock is held by the operating system for a process, so it is free as soon as the process is gone, however
it ended. What the catalog calls running while its lock is free is therefore dead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from lucid.disk import make_folder

PATIENCE_SECONDS = 1.0
"""Another process may hold a lock for an instant, only to see whether it is free."""


def file_name(text: str) -> str:
    """Encode any text as one file name, reversible and never `.` or `..`; a model id grows by two bytes at most."""
    encoded = quote(text, safe=":")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


@contextmanager
def working(home: Path, name: str) -> Iterator[None]:
    """Hold the lock of a piece of work; raises Timeout if another process or thread works on it."""
    with _lock(home, name).acquire(timeout=PATIENCE_SECONDS):
        yield


def forget(home: Path, name: str) -> None:
    """Remove the file of a lock whose name will never be used again."""
    Path(_lock(home, name).lock_file).unlink(missing_ok=True)


def is_worked_on(home: Path, name: str) -> bool:
    """Whether a living process holds the lock of this piece of work."""
    if not was_worked_on(home, name):
        return False
    try:
        with _lock(home, name).acquire(timeout=0):
            return False
    except Timeout:
        return True


def was_worked_on(home: Path, name: str) -> bool:
    """Whether a process has ever begun this piece of work and not forgotten its lock."""
    return Path(_lock(home, name).lock_file).exists()


def _lock(home: Path, name: str) -> FileLock:
    folder = home / "locks"
    make_folder(folder)
    return FileLock(folder / f"{file_name(name)}.lock", mode=0o600, thread_local=False)
