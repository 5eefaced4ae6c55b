"""Records of a CSV file, found without the database: how many there are, where each begins, which can be read.

A file of which the quotes are all where they belong is counted at the speed of the disk (`count_records`). Any other is
taken apart record by record (`take_apart`): good records are written anew in one plain form, bad ones are told by their
line, and where a broken quote leaves open where a record ends, the file is refused by the line on which that begins.
A quote begins a value only at its start, after spaces at most; elsewhere it is a character as any other. A record ends
with a line break of any system: LF, CR LF, or CR alone.
"""

import mmap
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lucid.data.csv_file import SHOWN_VALUE, Plain, check_lines, count_breaks
from lucid.errors import UnusableFile
from lucid.settings import Settings
from lucid.store.files import open_new

Places = NDArray[np.int64]

_STEP = 1 << 22
_RUN = 10_000
"""Records that are looked at together; so many are copied as they are."""
_LF, _CR, _QUOTE = 10, 13, 34
_QUOTED_OR_END = re.compile(rb'("(?:[^"]++|"")*+")|\r\n?')


@dataclass(frozen=True)
class Dialect:
    """What stands between the values, and how many lines before the header say so (`sep=;`)."""

    separator: str = ","
    skipped: int = 0


@dataclass(frozen=True)
class Counted:
    """What a look at quotes and line breaks tells of a file.

    `rows` are the records after the header, empty lines left out. Where the file is not `plain`, some quote does not
    stand where it belongs, or lines end in more than one way, and the numbers mean nothing.
    """

    plain: bool
    rows: int
    empty: int
    quoted_breaks: bool


@dataclass(frozen=True)
class Misfit:
    """A record that cannot be read: the line on which it starts, why, and how it begins."""

    line: int
    code: str
    message: str
    value: str


@dataclass
class TakenApart:
    """What `take_apart` has found.

    `good` records lie on so many `lines` of the file `path`, without the header. Its line n is line n + shift of the
    original, with the shift of the last entry of `shifts` (first line, shift) that begins at or before n.
    """

    path: Path
    good: int = 0
    lines: int = 0
    misfits: list[Misfit] = field(default_factory=list)
    shifts: list[tuple[int, int]] = field(default_factory=list)

    def original_lines(self, lines: Places) -> Places:
        """Lines of the original file for lines of `path`, both from 1."""
        firsts, shifts = (np.array(column, np.int64) for column in zip(*self.shifts, strict=True))
        return lines + shifts[np.searchsorted(firsts, lines, side="right") - 1]


@dataclass(frozen=True)
class _Problem:
    """What is wrong with a record, and how many cells that spoils: those that lack, or else one."""

    code: str
    message: str
    cells: int


class _Grammar:
    """Patterns of the records that a separator makes; all of them go forward only, whatever they meet."""

    def __init__(self, separator: str) -> None:
        stop = rb"[^%b\r\n]*+" % re.escape(separator.encode())
        comma = re.escape(separator.encode())
        any_field = rb'(?: *+"(?:[^"]++|"")*+"?)?+' + stop
        self.separator = separator.encode()
        self.field = re.compile(any_field)
        self.quoted = re.compile(rb' *+"((?:[^"]++|"")*+)("?)')
        self.record = re.compile(rb"(?!\Z)" + any_field + rb"(?:" + comma + any_field + rb")*+(?:\r\n?|\n|\Z)")
        self._regular, self._comma = rb'(?:"(?:[^"]++|"")*+"|[^"%b\r\n]*+)' % comma, comma

    def run(self, columns: int) -> re.Pattern[bytes]:
        """Records of just so many columns, with quotes only where RFC 4180 has them."""
        row = self._regular + rb"(?:" + self._comma + self._regular + rb"){%d}+(?:\r\n?+|\n)" % (columns - 1)
        return re.compile(rb"(?:%b){0,%d}+" % (row, _RUN))


# Counting


def count_records(plain: Plain, dialect: Dialect) -> Counted:
    """Count the records of a file by its quotes and line breaks."""
    mapped = np.memmap(plain.path, np.uint8, "r")
    content = mapped[_mark_length(mapped[:3].tobytes()) :]
    quotes = breaks = empty = returns = 0
    quoted_breaks = False
    for start in range(0, len(content), _STEP):
        end = min(start + _STEP, len(content))
        part = content[start:end]
        places = np.flatnonzero(part == _QUOTE) + start
        if not _are_regular(content, places, quotes % 2, ord(dialect.separator)):
            return Counted(False, 0, 0, False)
        ends = np.flatnonzero(part == _LF) + start
        outside = ends[(np.searchsorted(places, ends) + quotes) % 2 == 0]
        quoted_breaks |= len(outside) < len(ends)
        after_return = _before(content, outside) == _CR
        first = _before(content, outside, 1 + after_return.astype(np.int64))
        quotes, breaks = quotes + len(places), breaks + len(outside)
        returns, empty = returns + int(after_return.sum()), empty + int((first == _LF).sum())
    ended = breaks + (content[-1] != _LF)
    one_end = returns in (0, breaks) and not plain.has_lone_return
    regular = one_end and quotes % 2 == 0 and dialect.skipped == 0
    return Counted(bool(regular), int(ended) - empty - 1, empty, quoted_breaks)


def _are_regular(content: NDArray[np.uint8], places: Places, open_before: int, separator: int) -> bool:
    """Whether quotes begin and end values, with nothing beside them, or stand doubled within."""
    opening = (np.arange(len(places)) + open_before) % 2 == 0
    before = _before(content, places[opening])
    closing = places[~opening] + 1
    after = np.where(closing < len(content), content[np.minimum(closing, len(content) - 1)], _LF)
    return bool(np.isin(before, (separator, _LF, _QUOTE)).all() and np.isin(after, (separator, _LF, _CR, _QUOTE)).all())


def _before(content: NDArray[np.uint8], places: Places, distance: int | Places = 1) -> NDArray[np.uint8]:
    """The byte so far before each place; a line break before the beginning."""
    wanted = places - distance
    return np.where(wanted < 0, np.uint8(_LF), content[np.maximum(wanted, 0)])


# Taking apart


def take_apart(
    path: Path, plain: Plain, dialect: Dialect, columns: int, settings: Settings, target: Path
) -> TakenApart:
    """Write the good records of a file to `target`, each ending with LF and its values as RFC 4180 quotes them.

    Raises UnusableFile where a quote leaves open where a record ends, and where a limit is passed: rows, empty lines,
    bytes of a row (`misfits` then), and cells that rows lack or rows that are otherwise bad.
    """
    with _mapped(plain.path) as content, open_new(target) as file:
        return _TakingApart(path, content, file, dialect, columns, settings).all(target)


class _TakingApart:
    """The walk through a file: where it stands, in bytes and lines, and what it has found."""

    def __init__(
        self, path: Path, content: mmap.mmap, file: BinaryIO, dialect: Dialect, columns: int, settings: Settings
    ) -> None:
        self._path, self._content, self._file = path, content, file
        self._dialect, self._columns, self._settings = dialect, columns, settings
        self._grammar = _Grammar(dialect.separator)
        self._place, self._line = _mark_length(content[:3]), 1
        self._empty = self._misfits = 0

    def all(self, target: Path) -> TakenApart:
        found, run = TakenApart(target), self._grammar.run(self._columns)
        for _ in range(self._dialect.skipped + 1):  # the header has been read
            self._pass(self._grammar.record)
        while self._place < len(self._content):
            match = run.match(self._content, self._place, self._place + self._settings.max_row_bytes)
            if match and match.end() > self._place:
                self._copy(found, match.group())
            else:
                self._take_one(found)
            check_lines(self._path, self._settings, found.good + len(found.misfits), self._empty)
        return found

    def _pass(self, record: re.Pattern[bytes]) -> None:
        match = record.match(self._content, self._place)
        if match:
            self._line += count_breaks(match.group())
            self._place = match.end()

    def _copy(self, found: TakenApart, run: bytes) -> None:
        """Take over records that are as they shall be, but for how they end."""
        text = _QUOTED_OR_END.sub(lambda match: match.group(1) or b"\n", run) if b"\r" in run else run
        records = sum(1 for _ in self._grammar.record.finditer(text)) if b'"' in text else text.count(b"\n")
        self._write(found, text, records, count_breaks(run))
        self._place += len(run)

    def _write(self, found: TakenApart, text: bytes, records: int, breaks: int) -> None:
        shift = self._line - found.lines - 1
        if not found.shifts or found.shifts[-1][1] != shift:
            found.shifts.append((found.lines + 1, shift))
        self._file.write(text)
        found.good += records
        found.lines += count_breaks(text)
        self._line += breaks

    def _take_one(self, found: TakenApart) -> None:
        """One record, whatever it is."""
        match = self._grammar.record.match(self._content, self._place)
        assert match is not None, "any bytes begin with a record"
        start, end = match.span()
        breaks = _breaks_between(self._content, start, end)
        if end - start <= 2 and not self._content[start:end].strip(b"\r\n"):
            self._empty += 1
            self._line += breaks
        else:
            values, problem = self._values(start, end)
            if problem is None:
                text = self._dialect.separator.encode().join(map(_quoted, values)) + b"\n"
                self._write(found, text, 1, breaks)
            else:
                self._set_aside(found, start, problem)
                self._line += breaks
        self._place = end

    def _values(self, start: int, end: int) -> tuple[list[bytes], _Problem | None]:
        """The values of a record, or the code and the message of what is wrong with it.

        Raises UnusableFile where it may not end where it seems to.
        """
        values, fields, full, beside = list[bytes](), 0, 0, False
        too_long = end - start > self._settings.max_row_bytes
        place = start
        while True:
            match = self._grammar.field.match(self._content, place, end)
            assert match is not None, "a field may be empty"
            quoted = self._grammar.quoted.match(self._content, place, match.end())
            if quoted:
                beside |= self._is_beside(start, end, quoted, match.end())
            fields += 1
            # A value may be nearly all of the file, so it is only looked at where it is short.
            empty = match.end() - match.start() <= 2 and match.group() in (b"", b'""')
            full = full if empty else fields
            if not too_long and fields <= self._columns:
                values.append(quoted.group(1).replace(b'""', b'"') if quoted else match.group())
            place = match.end()
            if place >= end or self._content[place : place + 1] != self._grammar.separator:
                break
            place += 1
        # Separators at the end of a row are let pass, by the database too.
        return values, self._problem(end, min(fields, max(full, self._columns)), beside, too_long)

    def _is_beside(self, start: int, end: int, quoted: re.Match[bytes], field_end: int) -> bool:
        """Whether something stands beside a quoted value; raises UnusableFile where that leaves its end open."""
        closed = quoted.group(2) == b'"'
        if closed and not self._content[quoted.end() : field_end].strip(b" "):
            return False
        swallows = any(self._content.find(end_of_line, *quoted.span()) >= 0 for end_of_line in (b"\n", b"\r"))
        if not closed or swallows or self._content[start:end].count(b'"') % 2:
            line = self._line + count_breaks(self._content[start : quoted.start()])
            raise UnusableFile(
                f"{self._path.name}: line {line}: a quote begins here ({self._shown(quoted.start())!r}) and does not "
                "end where its value does, so nobody can tell where this row ends; double the quotes within a value, "
                "or export the file again"
            )
        return True

    def _problem(self, end: int, fields: int, beside: bool, too_long: bool) -> _Problem | None:
        wanted = f"expected the {self._columns} of the header"
        if too_long:
            message = f"the row is over {self._settings.max_row_bytes:,} bytes (LUCID_MAX_ROW_BYTES)"
            return _Problem("line_size_over_maximum", message, 1)
        if fields < self._columns:
            cut = end == len(self._content) and self._content[end - 1 : end] not in (b"\n", b"\r")
            hint = "; the file ends within this row, is it complete?" if cut else ""
            message = f"the row has {fields} {'value' if fields == 1 else 'values'}, {wanted}{hint}"
            return _Problem("missing_columns", message, self._columns - fields)
        if fields > self._columns:
            message = f"the row has {fields} values, {wanted}; quote values that hold a {self._dialect.separator!r}"
            return _Problem("too_many_columns", message, 1)
        if beside:
            return _Problem("unquoted_value", "something stands beside a quoted value; double the quotes within it", 1)
        return None

    def _set_aside(self, found: TakenApart, start: int, problem: _Problem) -> None:
        found.misfits.append(Misfit(self._line, problem.code, problem.message, self._shown(start)))
        self._misfits += problem.cells
        if self._misfits > self._settings.max_misfits:
            raise UnusableFile(
                f"{self._path.name}: too many rows do not have the {self._columns} columns of the header, the first of "
                f"them in line {found.misfits[0].line}; is it {self._dialect.separator!r} that stands between the "
                "values?"
            )

    def _shown(self, start: int) -> str:
        """How a record begins, in characters."""
        text = self._content[start : start + 4 * SHOWN_VALUE].decode(errors="replace")
        return text.splitlines()[0][:SHOWN_VALUE] if text.strip("\r\n") else ""


def _quoted(value: bytes) -> bytes:
    """A value as it is written anew; one that is empty stays so, for quoted or not it is nothing."""
    return b'"' + value.replace(b'"', b'""') + b'"' if value else b""


# Lines


def record_lines(path: Path, dialect: Dialect) -> Iterator[tuple[int, bool]]:
    """Every record of a CSV file: the line on which it starts, and whether it is more than an empty line."""
    line = 1
    with _mapped(path) as content:
        for record in _Grammar(dialect.separator).record.finditer(content, _mark_length(content[:3])):
            start, end = record.span()
            yield line, end - start > 2 or content[start:end].strip(b"\r\n") != b""
            line += _breaks_between(content, start, end)


def _mark_length(first_bytes: bytes) -> int:
    """Bytes of the byte order mark, which is no part of the first value."""
    return len(BOM_UTF8) if first_bytes == BOM_UTF8 else 0


def _breaks_between(content: mmap.mmap, start: int, end: int) -> int:
    """Line breaks of a part of a file that may be nearly all of it."""
    breaks, last = 0, b""
    for at in range(start, end, _STEP):
        piece = content[at : min(at + _STEP, end)]
        breaks, last = breaks + count_breaks(last + piece) - count_breaks(last), piece[-1:]
    return breaks


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
