"""The plain bytes of a CSV file, within limits, before anything parses them.

A few kilobytes may unpack to a gigabyte of empty rows, or hold millions of rows that no reader likes. What such a file
costs is bounded here: by the bytes that it unpacks to, by its rows, and by the rows that lack columns or have too many.
"""

import codecs
import mmap
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lucid.errors import UnusableFile
from lucid.settings import Settings
from lucid.store.files import open_new

HEADER_BYTES = 65_536
MAX_COLUMNS = 1_000
MAX_EMPTY_LINES = 10_000_000
"""Empty lines are no rows, and so not limited as such; but they take as much time to read."""
MAX_MISFITS = 1_000_000
"""Cells that rows lack, and rows that cannot be read otherwise: DuckDB keeps a kilobyte of memory for each."""
_CHUNK = 1 << 20
_PACKED = 1 << 16
_SILENT_BYTES = 1 << 20
_MAX_MEMBERS = 100_000
_AT_ONCE = 10_000
_GZIP = 16 + zlib.MAX_WBITS

# The records of a CSV file as DuckDB reads them: a quote begins a value only at its start, after spaces at most.
_FIELD = rb'(?: *+"(?:[^"]++|"")*+"?)?+[^,\n]*+'
_GOOD_FIELD = rb'(?: *+"(?:[^"]++|"")*+" *+\r?|(?! *+")[^,\n]*+)'
_END = rb"(?:\n|\Z)"
_EMPTY = rb"\r?\n"
_LINE = rb"(?!\Z)" + _FIELD + rb"(?:," + _FIELD + rb")*+" + _END
_ROW = rb"(?:" + _EMPTY + rb")*+" + _LINE
_RECORD = re.compile(_LINE)


@dataclass(frozen=True)
class Plain:
    """A file as it can be parsed: `breaks` counts the line breaks in it, quoted ones included."""

    path: Path
    breaks: int
    has_nul: bool


def read_head(path: Path) -> bytes:
    """The first bytes of a file, unpacked, with its first line in them; nothing beyond is read or unpacked.

    Raises UnusableFile where that line is too long.
    """
    head = b""
    for chunk in _chunks(path, HEADER_BYTES):
        head += chunk
        if b"\n" in head or len(head) > HEADER_BYTES:
            break
    if len(head.partition(b"\n")[0]) > HEADER_BYTES:
        raise UnusableFile(
            f"{path.name}: the first line is longer than {HEADER_BYTES:,} bytes, and no header of a CSV file"
        )
    return head


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
    size = breaks = empty = 0
    has_nul = has_quote = False
    before = b"  "
    for chunk in _chunks(path, _CHUNK):
        size += len(chunk)
        if size > settings.max_file_bytes:
            raise _too_large(path, settings)
        write(chunk)
        has_nul, has_quote = has_nul or b"\0" in chunk, has_quote or b'"' in chunk
        found = _line_breaks(before, chunk)
        breaks, empty, before = breaks + found[0], empty + found[1], (before + chunk)[-2:]
        if not has_quote:  # so every line break ends a line
            _check_lines(path, settings, breaks - empty - 1, empty)
    return Plain(plain, breaks, has_nul)


def _line_breaks(before: bytes, chunk: bytes) -> tuple[int, int]:
    """How many line breaks a chunk has, and how many of them end an empty line; two bytes stand before it."""
    found = np.frombuffer(before + chunk, np.uint8)
    is_break = found == ord("\n")
    follows = is_break[1:-1]
    if b"\r" in chunk or b"\r" in before:
        follows = follows | ((found[1:-1] == ord("\r")) & is_break[:-2])
    return int(np.count_nonzero(is_break[2:])), int(np.count_nonzero(is_break[2:] & follows))


def check_records(path: Path, plain: Plain, settings: Settings) -> None:
    """Refuse a file with too many rows or empty lines, breaks in quotes not counted; nearly always that costs nothing.

    Raises UnusableFile only where the rows are too many for certain; where quotes are broken, they may be and pass.
    """
    rows = settings.max_file_rows
    if plain.breaks > rows:
        with _mapped(plain.path) as content:
            if _holds(content, _ROW, rows + 2):  # the header is one
                _check_lines(path, settings, rows + 1, 0)
            if _holds(content, _LINE, rows + MAX_EMPTY_LINES + 2):
                _check_lines(path, settings, 0, MAX_EMPTY_LINES + 1)


def _holds(content: mmap.mmap, record: bytes, count: int) -> bool:
    """Whether a file has at least so many records."""
    place = 0
    for repeats in (*[_AT_ONCE] * (count // _AT_ONCE), count % _AT_ONCE):
        match = re.compile(rb"(?:%b){%d}+" % (record, repeats)).match(content, place)
        if match is None:
            return False
        place = match.end()
    return True


def _check_lines(path: Path, settings: Settings, rows: int, empty: int) -> None:
    for count, what, limit in ((rows, "rows", settings.max_file_rows), (empty, "empty lines", MAX_EMPTY_LINES)):
        if count > limit:
            raise UnusableFile(f"{path.name}: more than the limit of {limit:,} {what}; split it", code="too_big")


def check_misfits(path: Path, plain: Plain, columns: int) -> None:
    """Refuse a file in which very many rows lack columns, have too many, or have something beside a quoted value."""
    fits = re.compile(rb"(?:%b|(?!\Z)%b(?:,%b){%d}+%b)*+" % (_EMPTY, _GOOD_FIELD, _GOOD_FIELD, columns - 1, _END))
    has_all = re.compile(rb"%b(?:,%b){%d}+" % (_FIELD, _FIELD, columns - 1))
    field = re.compile(rb"(?:\A|,)" + _FIELD)
    misfits = 0
    with _mapped(plain.path) as content:
        place = 0
        while record := _RECORD.match(content, _end(fits, content, place)):
            place, row = record.end(), record.group()
            misfits += 1 if has_all.match(row) else columns - sum(1 for _ in field.finditer(row))
            if misfits > MAX_MISFITS:
                raise UnusableFile(
                    f"{path.name}: too many rows do not have the {columns} columns of the header; "
                    "is it a comma that stands between the values?"
                )


def _end(pattern: re.Pattern[bytes], content: mmap.mmap, place: int) -> int:
    match = pattern.match(content, place)
    assert match is not None, "a pattern that may be empty matches everywhere"
    return match.end()


# Records and lines


def records(path: Path) -> Iterator[tuple[int, bool]]:
    """Every record of a CSV file: the line on which it starts, and whether it is more than an empty line."""
    line = 1
    with _mapped(path) as content:
        for record in _RECORD.finditer(content):
            start, end = record.span()
            yield line, end - start > 2 or content[start:end].strip(b"\r\n") != b""
            line += sum(content[at : min(at + _CHUNK, end)].count(b"\n") for at in range(start, end, _CHUNK))


def first_undecodable_line(path: Path) -> int | None:
    """The line of the first byte that is not UTF-8; None where all are."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            if not chunk:
                return None
            line += chunk.count(b"\n")


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


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _too_large(path: Path, settings: Settings) -> UnusableFile:
    limit = settings.max_file_bytes
    return UnusableFile(f"{path.name}: larger than the limit of {limit:,} bytes; split it", code="too_big")
