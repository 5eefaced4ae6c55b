"""What the machine does not give - room, the right to write, open files, memory - told as one of our errors.

The only place that knows how the system and the libraries say so.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
from safetensors import SafetensorError

from lucid.errors import MachineError

T = TypeVar("T")


@dataclass(frozen=True)
class _Lack:
    """A kind of trouble: its code, what an operator should do, and the system's numbers for it."""

    code: str
    advice: str
    numbers: tuple[int, ...]


_LACKS = (
    _Lack(
        "storage_full",
        "make room on that disk, or raise the quota or the limit of file sizes, and try again",
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    ),
    _Lack(
        "storage_unavailable",
        "see that this user may read and write there, and try again",
        (
            *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE),
            *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
        ),
    ),
    _Lack(
        "out_of_resources",
        "raise the limit of open files (ulimit -n), or end what holds them, and try again",
        (errno.EMFILE, errno.ENFILE),
    ),
    _Lack(
        "out_of_resources",
        "use less data (data_tags, maximum_interaction_age_days), or give more memory, threads or processes",
        (errno.ENOMEM, errno.EAGAIN),
    ),
)

RAW = (OSError, MemoryError, RuntimeError, duckdb.Error, SafetensorError)
"""The errors among which `machine_error` finds what it knows."""

_IN_WORDS = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException, SafetensorError, RuntimeError)
"""Those that give the system's words instead of its number; others may hold words of a customer."""
_FILE = re.compile(r'(?:file|directory|path) "([^"\n]+)"')


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Raise MachineError where the machine does not give what is needed, about `path` where the system names none."""
    try:
        yield
    except RAW as error:
        if (told := machine_error(error, path)) is None:
            raise
        raise told from error


def told(path: Path, pieces: Iterator[T]) -> Iterator[T]:
    """Raise MachineError in the same way while pieces are read later."""
    with telling(path):
        yield from pieces


def machine_error(error: BaseException, path: Path) -> MachineError | None:
    """What an error says of the machine; None where it says nothing of it."""
    number = _number(error)
    for lack in _LACKS:
        if number in lack.numbers:
            place = _named(error) or path
            return MachineError(f"{place}: {os.strerror(number)}; {lack.advice}", code=lack.code)
    return None


def _number(error: BaseException) -> int:
    """The system's number of an error; 0 where it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return errno.ENOSPC if "failed to offload" in text else errno.ENOMEM  # the disk that it spills to is full
    if isinstance(error, RuntimeError):  # torch and Python's threads
        if "out of memory" in text or "can't allocate memory" in text:
            return errno.ENOMEM
        return errno.EAGAIN if "can't start new thread" in text else 0
    if isinstance(error, _IN_WORDS):
        known = (number for lack in _LACKS for number in lack.numbers)
        return next((number for number in known if os.strerror(number) in text), 0)
    return 0


def _named(error: BaseException) -> str | None:
    """The file that an error names."""
    if isinstance(error, OSError):
        return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    found = _FILE.search(str(error))
    return found[1] if found else None
