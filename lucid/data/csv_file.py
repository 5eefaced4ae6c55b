"""The plain bytes of a CSV file, within limits, before anything parses them.

A few kilobytes may unpack to a gigabyte of empty rows, or hold millions of rows that no reader likes. What such a file
costs is bounded here: by the bytes that it unpacks to, by its rows, and by the rows that lack columns or have too many.
"""

import codecs
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lucid.errors import UnusableFile
from lucid.settings import Settings
from lucid.store.files import open_new

HEADER_BYTES = 65_536
SHOWN_VALUE = 100
"""Characters of a bad value that are shown."""
_CHUNK = 1 << 20
_PACKED = 1 << 16
_SILENT_BYTES = 1 << 20
_MAX_MEMBERS = 100_000
_GZIP = 16 + zlib.MAX_WBITS
_LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class Plain:
    """A file as it can be parsed.

    `breaks` counts the line feeds in it, quoted ones included; a lone return is one that no line feed follows.
    """

    path: Path
    breaks: int
    has_nul: bool
    has_lone_return: bool


def read_head(path: Path, lines: int = 1) -> list[bytes]:
    """The first lines of a file, unpacked, without their ends and the byte order mark; fewer where it has not so many.

    Nothing beyond is read or unpacked. Raises UnusableFile where they are too long.
    """
    head = b""
    for chunk in _chunks(path, HEADER_BYTES):
        head += chunk
        if len(_LINE_END.findall(head)) >= lines or len(head) > HEADER_BYTES:
            break
    found = _LINE_END.split(head.removeprefix(codecs.BOM_UTF8))[:lines]
    if sum(map(len, found)) > HEADER_BYTES:
        raise UnusableFile(
            f"{path.name}: the first line is longer than {HEADER_BYTES:,} bytes, and no header of a CSV file"
        )
    return found if head else []


def unpack(path: Path, plain: Path, settings: Settings) -> Plain:
    """Make `plain` the unpacked copy of a file, or a link to it; raises UnusableFile as soon as it is over a limit."""
    if not _is_gzip(path):
        if path.stat().st_size > settings.max_file_bytes:
            raise _too_large(path, settings)
        plain.symlink_to(path.absolute())
        return _count(path, plain, settings, lambda _chunk: None)
    with open_new(plain) as target:
        return _count(path, plain, settings, target.write)


def _count(path: Path, plain: Path, settings: Settings, write: Callable[[bytes], object]) -> Plain:
    size = breaks = empty = lone = 0
    has_nul = has_quote = False
    before = b"  "
    for chunk in _chunks(path, _CHUNK):
        size += len(chunk)
        if size > settings.max_file_bytes:
            raise _too_large(path, settings)
        write(chunk)
        has_nul, has_quote = has_nul or b"\0" in chunk, has_quote or b'"' in chunk
        found = _line_breaks(before, chunk)
        lone += chunk.count(b"\r") - (before[-1:] + chunk).count(b"\r\n")
        breaks, empty, before = breaks + found[0], empty + found[1], (before + chunk)[-2:]
        if not has_quote:  # so every line break ends a line
            check_lines(path, settings, breaks - empty - 1, empty)
    return Plain(plain, breaks, has_nul, lone > 0)


def _line_breaks(before: bytes, chunk: bytes) -> tuple[int, int]:
    """How many line breaks a chunk has, and how many of them end an empty line; two bytes stand before it."""
    found = np.frombuffer(before + chunk, np.uint8)
    is_break = found == ord("\n")
    follows = is_break[1:-1]
    if b"\r" in chunk or b"\r" in before:
        follows = follows | ((found[1:-1] == ord("\r")) & is_break[:-2])
    return int(np.count_nonzero(is_break[2:])), int(np.count_nonzero(is_break[2:] & follows))


def check_lines(path: Path, settings: Settings, rows: int, empty: int) -> None:
    """Raise UnusableFile where a file has more rows or more empty lines than it may have."""
    limits = (
        (rows, "rows", settings.max_file_rows, "MAX_FILE_ROWS"),
        (empty, "empty lines", settings.max_empty_lines, "MAX_EMPTY_LINES"),
    )
    for count, what, limit, name in limits:
        if count > limit:
            raise UnusableFile(
                f"{path.name}: more than the limit of {limit:,} {what} (LUCID_{name}); split it", code="too_big"
            )


def first_undecodable_line(path: Path) -> int | None:
    """The line of the first byte that is not UTF-8; None where all are."""
    decoder, line, last = codecs.getincrementaldecoder("utf-8")(), 1, b""
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return line + count_breaks(last + error.object[: error.start]) - count_breaks(last)
            if not chunk:
                return None
            line += count_breaks(last + chunk) - count_breaks(last)
            last = chunk[-1:]


def count_breaks(text: bytes) -> int:
    """Line breaks as an editor counts them: LF, CR LF, or CR alone."""
    breaks = text.count(b"\n")
    return breaks + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else breaks


# The bytes


def _chunks(path: Path, most: int) -> Iterator[bytes]:
    """The bytes of a file, unpacked, in chunks of at most so many; raises UnusableFile where it cannot be unpacked."""
    with path.open("rb") as file:
        if not _is_gzip(path):
            yield from iter(lambda: file.read(most), b"")
            return
        try:
            yield from _inflated(file, most)
        except zlib.error as error:
            raise UnusableFile(f"{path.name}: not a readable gzip file ({error})") from error


def _inflated(file: BinaryIO, most: int) -> Iterator[bytes]:
    """What the members of a gzip file hold, one after the other; zeros after a member are padding.

    Raises zlib.error, also where members are very many or much of the file unpacks to nothing. The `gzip` module would
    go through all of them, and through a file name of any length in a header byte by byte.
    """
    member, members, silent, packed = None, 0, 0, b""
    while packed or (packed := file.read(_PACKED)):
        if member is None:
            packed = packed.lstrip(b"\0")
            if not packed:
                continue
            member, members = zlib.decompressobj(_GZIP), members + 1
        chunk, given = member.decompress(packed, most), len(packed)
        packed = member.unused_data if member.eof else member.unconsumed_tail
        silent = 0 if chunk else silent + given - len(packed)
        if members > _MAX_MEMBERS or silent > _SILENT_BYTES:
            raise zlib.error("it unpacks to next to nothing")
        if chunk:
            yield chunk
        if member.eof:
            member = None
    if member is not None:
        raise zlib.error("it ends too early")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _too_large(path: Path, settings: Settings) -> UnusableFile:
    limit = settings.max_file_bytes
    return UnusableFile(f"{path.name}: larger than the limit of {limit:,} bytes; split it", code="too_big")
