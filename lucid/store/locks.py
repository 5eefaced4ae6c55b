"""Locks that tell whether the process behind a piece of work still lives.

A lock is held by the operating system for a process, so it is free as soon as the process is gone, however
it ended. What the catalog calls running while its lock is free is therefore dead.

The file of a lock is removed by nobody but its holder. A process that opened it before and gets the lock after sees
that the file has no name any more and opens the one that has (filelock from 4.2 looks), so two never hold one lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lucid.store.files import make_folder
from lucid.store.home import LOCK, Home, text_of

PATIENCE_SECONDS = 1.0
"""Another process may hold a lock for an instant, only to see whether it is free."""


@contextmanager
def working(home: Path, name: str, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of a piece of work; raises Timeout if another process or thread works on it."""
    lock = _lock(home, name)
    make_folder(Path(lock.lock_file).parent)
    with lock.acquire(timeout=patience_seconds):
        yield


def forget(home: Path, name: str) -> None:
    """Remove the file of a lock that nobody holds and that says nothing any more; one that is held stays."""
    lock = _lock(home, name)
    file = Path(lock.lock_file)
    if file.exists():
        with suppress(Timeout, OSError), lock.acquire(timeout=0):  # what is closed to us stays too
            file.unlink(missing_ok=True)


def begun(home: Path, prefix: str) -> list[str]:
    """What follows the prefix in the name of every piece of work that was begun and whose lock was not forgotten."""
    names = [text_of(file.stem) for file in Home(home).locks.glob(f"*{LOCK}") if file.is_file()]
    return sorted(name.removeprefix(prefix) for name in names if name and name.startswith(prefix))


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
    return FileLock(Home(home).lock(name), mode=0o600, thread_local=False)
