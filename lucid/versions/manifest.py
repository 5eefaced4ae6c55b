"""The manifest of a version: what it is made of, and whether its files are as they were published.

The manifest is written last and names every other file with its size and checksum; a folder without one is half-done.
A version whose files are not as the manifest says is damaged and does not answer. Names, sizes and the checksums of
JSON are compared whenever a version is opened; the other checksums take a read of everything.
"""

import errno
import hashlib
import json
import struct
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lucid.errors import Damaged, DamagedVersion
from lucid.schema.fields import format_time
from lucid.store.documents import sealed
from lucid.store.files import checksum, fsync, write_text
from lucid.versions.files import FORMAT, MANIFEST

_PIECE_BYTES = 1 << 20
"""Read at a time where checksums are compared: about a millisecond."""
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    struct.error,
    OSError,
)
"""What reading a garbled file may raise."""
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}
"""What says something about this process or machine and nothing about a file."""


@dataclass(frozen=True)
class Manifest:
    """What a version is made of: sizes in bytes and SHA-256 of its files by name.

    `refresh_of` is the parent version of a refresh, None for a training; `created` is UTC. Versions of the earliest
    releases have no checksums: `sha256` is empty then.
    """

    model_id: str
    version: int
    refresh_of: int | None
    created: datetime
    files: Mapping[str, int]
    sha256: Mapping[str, str]
    format: int = FORMAT


def write_manifest(folder: Path, model_id: str, version: int, refresh_of: int | None, now: datetime) -> None:
    """Make a version complete by its manifest; survives a power cut at any point."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    checksums = {}
    for path in files:
        checksums[path.name] = checksum(path)  # read from memory: it was written moments ago
        fsync(path)
    manifest = {
        "format": FORMAT,
        "model_id": model_id,
        "version": version,
        "refresh_of": refresh_of,
        "created": format_time(now),
        "files": {path.name: path.stat().st_size for path in files},
        "sha256": checksums,
    }
    write_text(folder / MANIFEST, sealed(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Raises FileNotFoundError where the version is not complete, DamagedVersion where its manifest is garbled."""
    text = (folder / MANIFEST).read_bytes()
    try:
        return _manifest(text.decode())
    except _UNREADABLE as error:
        raise DamagedVersion(f"version {folder.name}", f"{MANIFEST}: garbled") from error


def _manifest(text: str) -> Manifest:
    raw: dict[str, Any] = json.loads(text)
    seal = raw.pop("seal", None)
    if not raw["files"] or ((seal or "sha256" in raw) and text != sealed(raw)):
        raise ValueError("a manifest is sealed and names files")
    return Manifest(
        raw["model_id"],
        raw["version"],
        raw["refresh_of"],
        datetime.fromisoformat(raw["created"]),
        dict(raw["files"]),
        raw.get("sha256", {}),
        raw.get("format", 1),
    )


def damage(folder: Path) -> str | None:
    """What is wrong with a version's files as far as names and sizes tell; None where nothing is."""
    if not folder.is_dir():
        return "its folder is missing"
    name = MANIFEST
    try:
        for name, size in read_manifest(folder).files.items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name}: {found:,} bytes instead of {size:,}"
    except DamagedVersion as error:
        return error.found
    except OSError as error:
        return f"{name}: {_said(error)}"
    return None


def comparing(folder: Path, only: str = "") -> Generator[int, None, str | None]:
    """Compare a version with its manifest, checksums included; returns what is wrong, None where nothing is.

    Says after each piece how many bytes it was, so that a reader can take its time. With `only`, it reads files whose
    names end so. What it reads is what others have mapped: both come from the system's one copy in memory.
    """
    if found := damage(folder):
        return found
    name = MANIFEST
    try:
        for name, expected in read_manifest(folder).sha256.items():
            if name.endswith(only):
                digest = hashlib.sha256()
                with (folder / name).open("rb", buffering=0) as file:
                    while piece := file.read(_PIECE_BYTES):
                        digest.update(piece)
                        yield len(piece)
                if digest.hexdigest() != expected:
                    return f"{name}: other bytes than were published"
    except OSError as error:
        return f"{name}: {_said(error)}"
    return None


def compare(folder: Path, only: str = "") -> str | None:
    """What `comparing` returns, without a pause."""
    steps = comparing(folder, only)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: str | None = end.value
            return found


def expect_sound(folder: Path, *, thoroughly: bool) -> None:
    """Raises DamagedVersion where a version's files are not as they were published.

    The checksums of JSON files are always compared, as a wrong digit there may go unnoticed; those of all others if it
    is to be done `thoroughly`: a version that is made out of this one would vouch for what is wrong in it.
    """
    if found := compare(folder, "" if thoroughly else ".json"):
        raise DamagedVersion(f"version {folder.name}", found)


def expect_untouched(folder: Path) -> None:
    """Raises DamagedVersion where a version's files are not as they were published, as far as a moment tells.

    The checksums of files are compared that somebody has written to since, and those of JSON files. What has changed
    without a trace, as on a failing disk, only a read of everything tells: `expect_sound`.
    """
    expect_sound(folder, thoroughly=False)
    published = (folder / MANIFEST).stat().st_mtime_ns
    for name, expected in read_manifest(folder).sha256.items():
        if (folder / name).stat().st_mtime_ns > published and checksum(folder / name) != expected:
            raise DamagedVersion(f"version {folder.name}", f"{name}: other bytes than were published")


@contextmanager
def telling_damage(folder: Path) -> Iterator[None]:
    """Read files of a version inside; raises DamagedVersion where one cannot be read or means nothing."""
    try:
        yield
    except DamagedVersion:
        raise
    except (*_UNREADABLE, Damaged) as error:
        raise DamagedVersion(f"version {folder.name}", f"it cannot be read: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says of a file, without its place on this machine; raised again where it says nothing of it."""
    if isinstance(error, Damaged):
        return error.message
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    if error.errno in _PASSING:
        raise error
    return "missing" if isinstance(error, FileNotFoundError) else (error.strerror or type(error).__name__)
