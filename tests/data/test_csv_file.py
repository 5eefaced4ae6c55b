"""What a file may cost: rows, empty lines, columns and misfits are limited before anything parses the file."""

import csv
import gzip
import io
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data import csv_file, csv_load, csv_records
from lucid.data.csv_load import load_file, read_file_type
from lucid.data.csv_records import Dialect, record_lines
from lucid.errors import UnusableFile
from lucid.schema.batches import LoadedFile
from lucid.settings import Settings

HEADER = b"id,type,name,metadata,media_url\n"
LIMIT = 10
FORMS = {"plain": lambda content: content, "gzip": gzip.compress}


def load_bytes(folder: Path, content: bytes, rows: int = LIMIT, **limits: int) -> LoadedFile:
    file = folder / "a.csv"
    file.write_bytes(content)
    settings = Settings.model_validate({"home": folder / "home", "max_file_rows": rows, **limits})
    return load_file(settings, file, folder / "batch", "set_aside")


def refusal(folder: Path, content: bytes, **limits: int) -> str:
    with pytest.raises(UnusableFile, match=r"^a\.csv: ") as caught:
        load_bytes(folder, content, **limits)
    return caught.value.code


# Rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "row",
    [
        b"u,user,,,\n",
        b",,,,\n",
        b"a\n",
        b'""\n',
        b"u,user,,,\r\n",
        b'u,user,"two\nlines",,\n',
        b'u,user, "two\n\n\nlines",,\n',
        b'u,user,"say ""two\nlines""",,\n',
        b'u,user,5" tv,,\n',
        b"\n\nu,user,,,\n",
        b"u,user,,,\n\n",
        b'u,user,"a,\n"",\nb",,\n',
    ],
)
def test_as_many_rows_as_the_limit_load_and_one_more_is_refused(tmp_path: Path, form: str, row: bytes) -> None:
    """Line breaks in quotes and empty lines are no rows; whatever else a line is, it is one."""
    good = b"u,user,,,\n"
    found = load_bytes(tmp_path, FORMS[form](HEADER + good + (LIMIT - 1) * row))

    assert LIMIT == found.loaded + found.rejected
    assert "too_big" == refusal(tmp_path, FORMS[form](HEADER + (LIMIT + 1) * row))


@pytest.mark.parametrize("row", [b",,,,\n", b'u,user,"two\nlines",,\n', b'"a"x,,,,\n'])
def test_too_many_rows_are_noticed_before_the_file_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: bytes
) -> None:
    """A file over the limit costs no parsing, with quotes in it or without."""
    monkeypatch.delattr(csv_load, "copy")

    assert "too_big" == refusal(tmp_path, gzip.compress(HEADER + (LIMIT + 1) * row))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", [b"x", b'"x"'])
def test_empty_lines_have_a_limit_of_their_own(tmp_path: Path, end: bytes, name: bytes) -> None:
    """Some hurt nobody, very many are refused; in quotes they are text."""
    header, row, quoted = HEADER[:-1] + end, b"u,user," + name + b",," + end, b'u,user,"' + 50 * end + b'",,' + end

    assert 3 == load_bytes(tmp_path, header + row + 20 * end + row + quoted, max_empty_lines=20).loaded
    assert "too_big" == refusal(tmp_path, header + LIMIT * row + 21 * end, max_empty_lines=20)


_CELLS = st.sampled_from(["", "a", "two\nlines", "\n\n", 'say "x"', '"', ",", " a", "a,\nb", "é", "\r\n", 'x",\n"y'])


@examples(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.one_of(st.just([]), st.lists(_CELLS, min_size=2, max_size=7)), max_size=30),
    newline=st.sampled_from(["\n", "\r\n"]),
    pieces=st.integers(1, 40),
)
def test_records_and_lines_are_those_of_a_csv_reader(rows: list[list[str]], newline: str, pieces: int) -> None:
    """Where each record begins, which lines are empty, and the count of breaks whatever pieces are read."""
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows(rows)
    content = text.getvalue().encode()
    reader, line, expected = csv.reader(io.StringIO(text.getvalue(), newline="")), 1, []
    for cells in reader:
        expected.append((line, bool(cells)))
        line = reader.line_num + 1
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "_CHUNK", pieces)
        patch.setattr(csv_records, "_STEP", pieces)
        file = Path(folder) / "a.csv"
        file.write_bytes(content or b"\n")

        plain = csv_file.unpack(file, Path(folder) / "plain.csv", Settings(home=Path(folder)))

        assert (content or b"\n").count(b"\n") == plain.breaks
        assert (expected or [(1, False)]) == list(record_lines(plain.path, Dialect()))


# Columns


def test_a_header_has_at_most_so_many_columns(tmp_path: Path) -> None:
    """Every column costs something in every row, so a file of many is refused by its header."""
    more = ",".join(f"c{number}" for number in range(15)).encode()
    fits = HEADER[:-1] + b"," + more + b"\nu,user,,," + 15 * b"," + b"\n"

    assert 1 == load_bytes(tmp_path, fits, max_file_columns=20).loaded
    assert "too_big" == refusal(tmp_path, fits, max_file_columns=19)


@pytest.mark.parametrize("form", FORMS)
def test_a_first_line_without_end_is_no_header(tmp_path: Path, form: str) -> None:
    """What is no CSV file at all is refused after its first 64 kB."""
    assert "not_csv" == refusal(tmp_path, FORMS[form](HEADER[:-1] + csv_file.HEADER_BYTES * b"x" + b"\nu,user,,,\n"))


MISFITS = [b"a\n", b"a,b,c,d\n", b"a,b,c,d,e,f\n", b'"a"x,b,c,d,e\n', b'""\n', b'a,"b,b","c,\n",d\n', b'"a" x,,,,\n']


@pytest.mark.parametrize("row", MISFITS)
def test_very_many_rows_that_cannot_be_read_refuse_the_file(tmp_path: Path, row: bytes) -> None:
    """Then it is another separator that stands between the values; some among good rows are set aside as ever."""
    good = b'u,user,"a, ""b""\nc",,\n\nu,user,a,,\n'

    assert (60, 5) == _counts(load_bytes(tmp_path, HEADER + 30 * good + 5 * row, rows=100, max_misfits=20))
    with pytest.raises(UnusableFile, match="5 columns of the header") as caught:
        load_bytes(tmp_path, HEADER + 30 * good + 21 * row, rows=100, max_misfits=20)
    assert "not_csv" == caught.value.code


def test_a_file_in_another_encoding_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a character that is cut in two where pieces are read hides it."""
    monkeypatch.setattr(csv_file, "_CHUNK", 7)

    for bad in (b"Zo\xeb", b"\xff", b"\xc3", b"\xed\xa0\x80"):
        with pytest.raises(UnusableFile, match="line 4 is not UTF-8"):
            load_bytes(
                tmp_path, HEADER + "u1,user,Zoë,,\nu2,user,€,,\n".encode() + b"u3,user," + bad + b",,\nu4,user,,,\n"
            )


# Unpacking


def test_members_of_a_gzip_file_are_one_file(tmp_path: Path) -> None:
    """Parts packed one by one, a name in the header, and zeros that fill up the end change nothing."""
    named = io.BytesIO()
    with gzip.GzipFile("entities.csv", "wb", fileobj=named) as file:
        file.write(HEADER + b"u1,us")

    found = load_bytes(tmp_path, named.getvalue() + gzip.compress(b"") + gzip.compress(b"er,,,\n") + 5000 * b"\0")

    assert (1, 0) == _counts(found)


PACKED = gzip.compress(HEADER + 3 * b"u,user,,,\n")
_NAMED = b"\x1f\x8b\x08\x08" + 6 * b"\0"  # a header in which a file name follows


@pytest.mark.parametrize(
    "content",
    [
        PACKED[:-1],
        PACKED[:-9],
        PACKED + b"garbage",
        PACKED + PACKED[:20],
        PACKED[:-8] + 8 * b"x",
        _NAMED + 3_000_000 * b"n" + b"\0" + PACKED[10:],
        100_000 * gzip.compress(b"") + PACKED,
        PACKED + 100_000 * gzip.compress(b"", compresslevel=1),
        PACKED + 100_001 * gzip.compress(b"\n", compresslevel=1),
        b"\x1f\x8b",
    ],
    ids=[
        "cut",
        "no check",
        "garbage",
        "half a member",
        "wrong check",
        "name",
        "empty first",
        "empty",
        "many",
        "nothing",
    ],
)
def test_what_is_hardly_a_gzip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Neither endless names nor parts without end are gone through."""
    assert "not_csv" == refusal(tmp_path, content)


def test_a_look_at_the_header_unpacks_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload is refused or taken by its first line; the rest is the import's, in a process of its own."""
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(HEADER + bytes(range(256)) * 200_000))
    unpacked = []

    class Counting:
        def __init__(self, bits: int) -> None:
            self._inner = zlib_decompressobj(bits)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def decompress(self, packed: bytes, most: int) -> bytes:
            unpacked.append(self._inner.decompress(packed, most))
            return unpacked[-1]

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)

    assert "entities" == read_file_type(file, Settings(home=tmp_path))
    assert sum(map(len, unpacked)) <= csv_file.HEADER_BYTES


def _counts(found: LoadedFile) -> tuple[int, int]:
    return found.loaded, found.rejected
