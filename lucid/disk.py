"""Files that survive a power cut, and that nobody finds half-written: written aside, then put in their place."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Of what hashlib has, it is the fastest where the processor has instructions for it, as nearly all have today (1.2 GB
    a second against 0.5 of BLAKE2b), and everybody can compare it with what `sha256sum` prints.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def aside(path: Path) -> Path:
    """Where the next content of a file is written; what an earlier attempt left there is removed."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    return new


def take_place(new: Path, path: Path) -> None:
    """Put a file that was written aside in its place: readers see the old content or the new one."""
    fsync(new)
    os.replace(new, path)
    fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole file at once."""
    new = aside(path)
    new.write_text(text)
    take_place(new, path)


def write_once(path: Path, text: str) -> str:
    """The whole content of a file that only its owner reads: the text, unless another was written there before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        new.touch(0o600)
        new.write_text(text)
        fsync(new)
        with suppress(FileExistsError):
            os.link(new, path)  # unlike a rename, it never takes the place of what another process has written
        new.unlink()
        fsync(path.parent)
    return path.read_text()
