"""Whatever the bytes of a file, each of its records is loaded or set aside, or the file is refused by a line.

The oracle is a small state machine, or the csv module where files are large; neither knows anything of DuckDB.
"""

import csv
import gzip
import io
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.csv_load import load_file
from lucid.errors import UnusableFile
from lucid.schema.batches import LoadedFile
from lucid.settings import Settings
from lucid.workspace import Workspace

HEADER = "id,type,name,metadata,media_url"
SMALL_ROWS = 1_000
"""The reader has buffers of sixteen rows of the largest size, so with these they are of 16 kB."""


# The oracle


@dataclass
class Record:
    """The line on which a record begins, its values, and whether something stands beside a quoted one."""

    line: int
    values: list[str] = field(default_factory=list)
    beside: bool = False
    broken_on: int | None = None
    quotes: int = 0


class Unknowable(Exception):
    """Where a record ends cannot be told; the line is that of the quote to blame."""

    def __init__(self, line: int) -> None:
        self.line = line


def read_records(text: str, separator: str = ",") -> list[Record]:
    """Records of a text, character by character; empty lines are none. Raises Unknowable."""
    records, record, value, state, line = list[Record](), Record(1), "", "start", 1
    opened, swallowed, place = 0, False, 0
    while place < len(text):
        char, after = text[place], text[place + 1 : place + 2]
        place += 1
        if char == "\r" and after == "\n":
            char, place = "\r\n", place + 1
        is_break = char in ("\r", "\n", "\r\n")
        record.quotes += char == '"'
        if state == "quoted":
            if char == '"' and after == '"':
                value, place = value + '"', place + 1
                record.quotes += 1
            elif char == '"':
                state = "closed"
            else:
                value, swallowed = value + char, swallowed or is_break
            line += is_break
        elif char == separator or is_break:
            record.values.append(value)
            value, state = "", "start"
            if is_break:
                end_record(records, record)
                line += 1
                record = Record(line)
        elif state == "start" and char == '"':
            value, state, opened, swallowed = "", "quoted", line, False
        elif state == "closed":
            if char != " ":
                state, record.beside = "beside", True
                record.broken_on = record.broken_on or opened
                if swallowed:
                    raise Unknowable(opened)
        else:
            value += char
            state = state if state == "beside" or (char == " " and state == "start") else "unquoted"
    if state == "quoted":
        raise Unknowable(opened)
    record.values.append(value)
    end_record(records, record)
    return records


def end_record(records: list[Record], record: Record) -> None:
    if record.broken_on and record.quotes % 2:
        raise Unknowable(record.broken_on)
    if record.values != [""] or record.quotes:
        records.append(record)


def is_good(record: Record) -> bool:
    if len(record.values) < 5 or any(record.values[5:]) or record.beside or not all(record.values[:2]):
        return False
    entity_id, entity_type, _, metadata, url = record.values[:5]
    return "\0" not in entity_id + entity_type + metadata + url and is_object(metadata) and is_url(url)


def is_object(metadata: str) -> bool:
    try:
        return not metadata or isinstance(json.loads(metadata), dict)
    except ValueError:
        return False


def is_url(url: str) -> bool:
    return not url or url.startswith("http://a")


# The law


def load(content: bytes, **limits: int) -> tuple[LoadedFile, list[tuple[str, ...]], list[int]]:
    """What loading counts, the good rows, and the lines of the others."""
    with tempfile.TemporaryDirectory() as folder:
        path, batch = Path(folder) / "a.csv", Path(folder) / "batch"
        path.write_bytes(content)
        loaded = load_file(Settings.model_validate({"home": Path(folder), **limits}), path, batch, "set_aside")
        with duckdb.connect() as connection:
            rows = connection.execute(
                "SELECT id, type, name, coalesce(metadata, ''), coalesce(media_url, '') FROM read_parquet(?)",
                [str(batch / "rows.parquet")],
            ).fetchall()
            lines = connection.execute(
                "SELECT line FROM read_parquet(?) ORDER BY 1", [str(batch / "rejects.parquet")]
            ).fetchall()
        assert {"rows.parquet", "rejects.parquet"} == {left.name for left in batch.iterdir()}
    return loaded, rows, [line for (line,) in lines]


def check_law(text: str, content: bytes | None = None, **limits: int) -> str:
    """Loading agrees with the oracle; returns what has become of the file."""
    content = text.encode() if content is None else content
    try:
        records = read_records(text)[1:]
    except Unknowable as unknowable:
        with pytest.raises(UnusableFile, match=rf"line {unknowable.line}: a quote begins here"):
            load(content, **limits)
        return "refused"
    good = [record for record in records if is_good(record)]
    if not good:
        with pytest.raises(UnusableFile) as caught:
            load(content, **limits)
        assert ("no_good_rows" if records else "no_rows") == caught.value.code
        return caught.value.code

    loaded, rows, lines = load(content, **limits)

    assert (len(good), len(records) - len(good)) == (loaded.loaded, loaded.rejected)
    assert [tuple(record.values[:5]) for record in good] == [
        (*row[:2], row[2].replace("\ufffd", "\0"), *row[3:]) for row in rows
    ]
    assert [record.line for record in records if not is_good(record)] == lines
    return "loaded"


GOOD = st.sampled_from(
    [
        "u1,user,,,",
        'u2,user,"two\nlines",,',
        'u3,user,"say ""hi""",,',
        'u4,user,5" tv,,',
        '"u,5","user",é,{},http://a.b',
        'u6, "user" ,"a\rb",,',
        'u7,user,"x\r\ny\n\nz","{""a"": 1}",',
        "u8,user,a\0b,,",
        " u9,user,,,",
        "u10,user,,,  ",
    ]
)
ODD = st.sampled_from(
    [
        "u,user",
        "u,user,,,,",
        "u,user,,,,more",
        'u,user,,,,,""',
        ",user,,,",
        '"u"x,user,,,',
        'u,user,"open',
        'u,user,"The "Best" film",,',
        "   ",
        ",,,,",
        '""',
        'u,user,"a\nb" c,,',
        'u,user,end",,',
        "u\0,user,,,",
        'u,user,"say "hi",,',
        "u,user,,[1],",
        '"',
        "u;user;;;",
    ]
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\r\r"])
TOKENS = st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "\r", "a", " ", "é", "\0", ",,", "u1,user,,,", '"x"', '\n"', '",', "{}"]
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Rows, mostly good ones, with one end of line or several, perhaps cut off somewhere."""
    ends = st.just(draw(LINE_ENDS)) if draw(st.booleans()) else LINE_ENDS
    odd = draw(st.integers(0, 3))
    rows = draw(st.lists(st.one_of(*[GOOD] * 4, *[ODD] * odd), max_size=30))
    text = HEADER + draw(st.sampled_from(["\n", "\r\n", "\r"])) + "".join(row + draw(ends) for row in rows)
    cut = draw(st.integers(0, 8)) if draw(st.booleans()) else 0
    return text[: max(len(HEADER) + 1, len(text) - cut)]


def soups() -> st.SearchStrategy[str]:
    return st.lists(TOKENS, max_size=40).map(lambda tokens: f"{HEADER}\nu0,user,,,\n" + "".join(tokens))


@examples(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.one_of(files(), soups()), mark=st.booleans(), packed=st.booleans())
@example(text=f'{HEADER}\nu1,user,,,\nu2,user,"open,,\nu3,user,,,\n', mark=False, packed=False)
@example(text=f'{HEADER}\nu1,user,,,\nu2,user,"open,,\nu3,user,"A",,\n', mark=False, packed=False)
@example(text=f"{HEADER}\ru1,user,,,\ru2,user,,,\r", mark=True, packed=True)
@example(text=f"{HEADER}\nu1,user,,,\r\nu2,user,,,\ru3,user,,,", mark=False, packed=False)
def test_every_record_is_loaded_or_set_aside_or_the_file_is_refused_by_the_line(
    text: str, mark: bool, packed: bool
) -> None:
    """Quotes, ends of line, empty lines, NUL, byte order mark, truncation, gzip: rows, values and lines agree."""
    content = ("\ufeff" if mark else "").encode() + text.encode()

    check_law(text, gzip.compress(content) if packed else content)


@examples(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), row=st.one_of(GOOD, ODD), end=LINE_ENDS, broken=st.booleans())
def test_no_row_is_lost_where_a_buffer_ends(seed: int, row: str, end: str, broken: bool) -> None:
    """Files of many of the reader's buffers, with an odd row or end of line anywhere, and long quoted texts."""
    rng = random.Random(seed)
    like_rows = "".join(f'x{number},user,""A"",,\n' for number in range(30))
    plain = [f"p{number},user,{'n' * rng.randrange(60)},," for number in range(1_500)]
    quoted = [f'q{number},user,"{like_rows[: rng.randrange(600)].rpartition(chr(10))[0]}",,' for number in range(200)]
    rows = rng.sample(plain + quoted, 1_700)
    for _ in range(rng.randrange(1, 4)):
        rows.insert(rng.randrange(len(rows)), row)
    ends = [end if broken and rng.random() < 0.01 else "\n" for _ in rows]

    check_law(f"{HEADER}\n" + "".join(map(str.__add__, rows, ends)), max_row_bytes=SMALL_ROWS)


BUFFER = 64_000_000
DEFECTS: dict[str, Callable[[str], str]] = {
    "a stray quote": lambda row: row.replace("name", '5" tv'),
    "a missing column": lambda row: row.replace(",,\n", "\n"),
    "CR": lambda row: row.replace("\n", "\r"),
    "a quoted line break": lambda row: row.replace("name", '"two\nu,user,,,\nlines"'),
}


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_no_row_of_a_large_file_is_lost(tmp_path: Path, defect: str) -> None:
    """Larger than the reader's buffers, with a defect right where the first of them ends."""
    row = "u{:08},user,name,,\n"
    rows = [row.format(number) for number in range(BUFFER // len(row.format(0)) + 200_000)]
    boundary = BUFFER // len(rows[0])
    for place in range(boundary - 50, boundary + 50):
        rows[place] = DEFECTS[defect](rows[place])
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\n" + "".join(rows), newline="")
    with path.open(newline="") as file:
        records = [len(record) for record in csv.reader(file) if record][1:]

    loaded = load_file(Settings(home=tmp_path), path, tmp_path / "batch", "set_aside")

    assert (records.count(5), len(records)) == (loaded.loaded, loaded.loaded + loaded.rejected)
    assert len(rows) == len(records)


def test_a_file_of_bad_rows_only_is_an_error(tmp_path: Path) -> None:
    """With the count and the first of them; nothing of it stays, nor of the other files of the call."""
    fine, bad = tmp_path / "fine.csv", tmp_path / "bad.csv"
    fine.write_text(f"{HEADER}\nu1,user,,,\n")
    bad.write_text(f"{HEADER}\n" + "u,user,,nonsense,\n" * 40)
    workspace = Workspace(tmp_path / "home")

    with pytest.raises(
        UnusableFile, match=r"bad\.csv: none of its 40 rows is good.* line 2, column metadata"
    ) as caught:
        workspace.import_files([fine, bad])

    assert "no_good_rows" == caught.value.code
    assert [] == workspace.batches()


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("declared", ["", "sep={}\n", '"sep={}"\r\n'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_separator_is_told_by_the_header_or_by_a_line_before_it(separator: str, declared: str, mark: str) -> None:
    """Decimal commas stay text, other separators too; lines are those of the file."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(
        [HEADER.split(","), ["u1", "user", "12,99;a|b\tc", '{"price": "12,99"}', ""], ["", "user", "", "", ""]]
    )

    loaded, rows, lines = load((mark + declared.format(separator) + text.getvalue()).encode())

    assert (1, 1) == (loaded.loaded, loaded.rejected)
    assert [("u1", "user", "12,99;a|b\tc", '{"price": "12,99"}', "")] == rows
    assert [4 if declared else 3] == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sep=^\nid^type^name^metadata^media_url\nu^user^^^\n", "sep=.*expected one of comma, semicolon, tab"),
        ("id:type:name:metadata:media_url\nu:user:::\n", "separated by one of comma, semicolon, tab"),
        ("sep=;\n" + HEADER + "\nu1,user,,,\n", "is missing"),
        ("sep=;\n", "is missing"),
    ],
)
def test_another_separator_is_refused_with_a_word_on_it(content: str, message: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UnusableFile, match=message):
        load(content.encode())


def test_a_row_that_a_file_ends_within_is_told_as_such(tmp_path: Path) -> None:
    """A truncated file has all but its last row, and that one says so."""
    loaded, _, _ = load(f"{HEADER}\nu1,user,,,\nu2,us".encode())

    assert ["missing_columns"] == [error.code for error in loaded.errors]
    assert "the file ends within this row, is it complete?" in loaded.errors[0].message


def test_limits_of_a_row_are_settings() -> None:
    """Longer metadata and larger rows load where the settings say so, and not where they do not."""
    text = f'{HEADER}\nu1,user,,,\nu2,user,,"{{""a"": ""{"x" * 2_000}""}}",\n'

    assert 1 == load(text.encode(), max_metadata_characters=2_000)[0].loaded
    assert 2 == load(text.encode(), max_metadata_characters=2_100)[0].loaded
    assert 1 == load(text.encode(), max_row_bytes=2_000)[0].loaded
