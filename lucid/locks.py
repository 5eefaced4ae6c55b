"""Locks that tell whether the process behind a piece of work still lives.

A lock is held by the operating system for a process, so it is free as soon as the process is gone, however
it ended. What the catalog calls running while its lock is free is therefore dead.
"""

from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout


def file_name(text: str) -> str:
    """Encode any text as one safe file name, reversible and never `.` or `..`."""
    encoded = quote(text, safe="")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def work_lock(home: Path, name: str) -> FileLock:
    """The lock of a piece of work; `with work_lock(…):` raises Timeout at once if another process works on it."""
    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{file_name(name)}.lock", timeout=0, thread_local=False)


def is_worked_on(home: Path, name: str) -> bool:
    """Whether a living process holds the lock of this piece of work."""
    lock = work_lock(home, name)
    try:
        with lock:
            return False
    except Timeout:
        return True


def forget_lock(home: Path, name: str) -> None:
    """Remove the file of a lock whose work has ended."""
    Path(work_lock(home, name).lock_file).unlink(missing_ok=True)
