"""Files that survive a power cut, that nobody finds half-written, and that are nobody else's business.

What stands in a home is for the user it belongs to alone. Our own programs say so once, by their umask; where Lucid
runs as a library the umask belongs to somebody else's program, so files and folders also get their mode from here.
"""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

OTHERS = 0o077
"""The bits of a mode that let a group and everybody in; as a umask, it keeps both out."""
_FILE, _FOLDER = 0o600, 0o700
_PIECE_BYTES = 1 << 20


def close_home(home: Path) -> None:
    """Keep others out of a home that exists already; one that is another user's, or a place for all, stays as it is."""
    with suppress(FileNotFoundError):
        found = home.stat()
        if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
            keep_private(home)


def keep_private(path: Path) -> None:
    """Take a file or folder away from everybody but its owner."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        with suppress(PermissionError):  # another user's, or on a file system that keeps no modes
            path.chmod(mode & ~OTHERS)


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Make a folder and those above it that are missing, for nobody else; one that exists stays as it is."""
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(_FOLDER, exist_ok=exist_ok)


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing, empty and for nobody else."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE), "wb")


def fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut; such a file is for nobody else from now on."""
    if path.is_file():
        keep_private(path)
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


def copy_new(source: BinaryIO, target: Path) -> tuple[int, str]:
    """Copy what an open file holds into a new one, for nobody else; returns how many bytes that were, and `checksum`.

    The copy survives a power cut once its folder does.
    """
    make_folder(target.parent)
    digest, size = hashlib.sha256(), 0
    with open_new(target) as file:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            size += file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def aside(path: Path) -> Path:
    """Where the next content of a file is written; what an earlier attempt left there is removed."""
    new = path.with_name(path.name + ".new")
    _discard(new)
    return new


def _discard(new: Path) -> None:
    new.unlink(missing_ok=True)
    new.with_name(new.name + ".wal").unlink(missing_ok=True)  # DuckDB would take it for the log of the next one


def take_place(new: Path, path: Path) -> None:
    """Put a file that was written aside in its place: readers see the old content or the new one."""
    fsync(new)
    os.replace(new, path)
    fsync(path.parent)


def check_writable(folder: Path) -> None:
    """Make a folder where there is none, and a file in it for a moment; raises OSError where that cannot be done."""
    make_folder(folder)
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what takes a file's place at the end; nothing of it stays where that fails."""
    new = aside(path)
    try:
        yield new
        take_place(new, path)
    except BaseException:
        _discard(new)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole file at once."""
    with replacing(path) as new, open_new(new) as file:
        file.write(text.encode())


def write_once(path: Path, text: str) -> str:
    """The whole content of a file that only its owner reads: the text, unless another was written there before."""
    if not path.exists():
        make_folder(path.parent)
        write_new(path, text)
    return path.read_text()


def write_new(path: Path, text: str) -> bool:
    """Write a whole file where there is none, in a folder that is there; False where there is one, which stays."""
    new = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    with open_new(new) as file:
        file.write(text.encode())
    fsync(new)
    try:
        os.link(new, path)  # unlike a rename, it never takes the place of what another process has written
    except FileExistsError:
        return False
    finally:
        new.unlink()
    fsync(path.parent)
    return True
