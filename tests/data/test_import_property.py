"""Import and selection agree with a naive reading of the contract, on generated files.

The naive reading knows nothing of DuckDB: it takes the bytes of each file, reads them with the csv module, judges cell
by cell and selects with dictionaries. Set PROPERTY_EXAMPLES to run thousands of other examples by hand. Not
covered: files that are refused as a whole, and metadata with numbers, whose ranges are ours to choose.
"""

import csv
import gzip
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.selection import STEP_TYPES, Selection, select
from lucid.errors import TrainingFailed
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS, Batch
from lucid.schema.fields import FileType
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.workspace import Workspace

EXAMPLES_BY_HAND = os.environ.get("PROPERTY_EXAMPLES")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS: dict[FileType, tuple[str, ...]] = {"entities": ENTITY_COLUMNS, "interactions": INTERACTION_COLUMNS}

Cells = tuple[str, ...]
Stored = tuple[object, ...]


@dataclass(frozen=True)
class File:
    """The bytes of one upload."""

    content: bytes


@dataclass(frozen=True)
class Call:
    """Files that are imported together, under the same tags."""

    files: list[File]
    tags: list[str]


@dataclass(frozen=True)
class Case:
    """What happens to one workspace: imports, deletions (by place among all batches), then a selection."""

    calls: list[Call]
    deleted: set[int]
    data_tags: list[str] | None
    age_days: int | None


# Cells. The pools are small, so that ids repeat, interactions are equal and metadata meets uploaded entities.

IDS = ["u1", "v#1", "ü, 3", 'q"4', " w5 ", "genre:Drama", "Drama"]
DANGLING = ["nobody", "genre:Crime", "zwölf", "NULL", "ghost\nof two lines", "x1", "x2"]
TYPES = ["user", "video", "genre", "writer", "main cast"]
NAMES = ["", "Ann", "Drama", "Crime", "two\nlines", "two\r\nlines", 'say "hi"', "a, b", "NULL", "#", "\\", "名前"]
KEYS = ["genre", "writer", "main cast", "größe", "a.b"]
VALUES = ["Drama", "Crime", "Ann", "u1", " Ann ", "", "  ", "Bob: the 2nd", 'q"4', "名前"]
DAYS = [1, 30, 365]

BAD_METADATA = ["[1]", "[]", '"text"', "1", "null", "true", "{", "}", '{"a":}', "{'a': 1}", '{"a": 1} x', "  ", "text"]
GOOD_URLS = ["", "http://a", "HTTPS://a.b/c?d=e#f", "http://[::1]:80/", "https://ü.de/ä%20"]
BAD_URLS = [
    "ftp://a.b",
    "http://",
    "https:///path",
    "a.b/c",
    "http://a b",
    " http://a",
    "//a.b",
    "mailto:a@b.c",
    " ",
    "http://a\0",
]
BAD_TIMES = [
    *["yesterday", "2024-13-01", "2023-02-29", "01/02/2024", "2024-01-01T25:00", "2024-01-01T10:61:00Z", "now", " "],
    *["infinity", "nan", "1e400", "1.", ".5", "-", "99999999999999", "2024-01-01T10:00:00+24:00", "2024-01-01Z"],
    *["2019", "20190401", "43556.5", "0", "-86400", "1554076800000", "2300-01-01", "2999-12-31T23:59:59Z"],
]
BASIC_FORMS = ["%Y%m%dT%H%M%S", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S.%f"]
FORMS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f"]
SHORT_FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
near_a_limit = st.builds(
    lambda days, seconds: NOW - timedelta(days=days, seconds=seconds),
    st.sampled_from(DAYS),
    st.sampled_from([-1, 0, 1]),
)
moments = st.one_of(near_a_limit, st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)))


@st.composite
def written_times(draw: st.DrawFn) -> str:
    """A moment in one of the forms that the contract accepts."""
    moment = draw(moments)
    if draw(st.booleans()):
        return draw(st.sampled_from([str(int(moment.timestamp())), f"{moment.timestamp():.3f}"]))
    minutes = draw(st.sampled_from([0, 120, -570, 1439, None]))
    local = moment.astimezone(timezone(timedelta(minutes=minutes or 0)))
    if minutes is None:
        return local.strftime(draw(st.sampled_from(FORMS + SHORT_FORMS + BASIC_FORMS)))
    offsets = [local.strftime("%z"), f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:]]
    offsets += [f"{local:%z}"[:3]] if minutes % 60 == 0 else []
    offsets += ["Z"] if minutes == 0 else []
    return local.strftime(draw(st.sampled_from([*FORMS, *SHORT_FORMS[1:]]))) + draw(st.sampled_from(offsets))


def objects() -> st.SearchStrategy[str]:
    """Metadata: objects of text, booleans and null, in lists and in objects."""
    scalars = st.one_of(st.sampled_from(VALUES), st.booleans(), st.none())
    lists = st.lists(st.one_of(scalars, st.fixed_dictionaries({"n": scalars})), max_size=3)
    nested = st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2)
    flat = st.dictionaries(st.sampled_from(KEYS), st.one_of(scalars, lists, nested), max_size=3)
    dumps = st.builds(json.dumps, flat, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
    return st.one_of(st.just(""), dumps, dumps.map(lambda dumped: f" \n\t{dumped} "))


def mostly(usual: st.SearchStrategy[str], other: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([usual] * 7 + [other]).flatmap(lambda chosen: chosen)


@st.composite
def rows(draw: st.DrawFn, kind: FileType) -> Cells:
    """A row in the contract's order of columns, one in eight with one or two bad cells."""
    ids = st.sampled_from(IDS[:2] * 9 + IDS)
    ends = mostly(ids, st.sampled_from(DANGLING))
    good = {
        "id": mostly(ids, text.filter(bool)),
        "type": st.sampled_from(TYPES if kind == "entities" else ["saw", "saw", "liked, a lot"]),
        "name": mostly(st.sampled_from(NAMES), text),
        "metadata": objects(),
        "media_url": st.sampled_from(GOOD_URLS),
        "source_id": ends,
        "target_id": ends,
        "timestamp": mostly(written_times(), st.just("")),
    }
    bad = {
        "metadata": st.sampled_from(BAD_METADATA),
        "media_url": st.sampled_from(BAD_URLS),
        "timestamp": st.sampled_from(BAD_TIMES),
    }
    row = {name: draw(good[name]) for name in COLUMNS[kind]}
    if draw(st.integers(0, 7)) == 7:
        for name in draw(st.lists(st.sampled_from([name for name in row if name != "name"]), min_size=1, max_size=2)):
            row[name] = draw(bad.get(name, st.sampled_from(["", "\0"])))
    return tuple(row.values())


# Files


@st.composite
def files(draw: st.DrawFn, kind: FileType) -> File:
    """A usable file: any order of columns, surplus ones, blank lines, any quoting, ending, byte order mark, gzip."""
    surplus = draw(
        st.lists(st.sampled_from(["extra", "note", "timestamp" if kind == "entities" else "name"]), max_size=2)
    )
    places = draw(st.permutations(range(len(COLUMNS[kind]) + len(surplus))))
    header = (*COLUMNS[kind], *surplus)
    records = [[header[place] for place in places]]
    for row in draw(st.lists(rows(kind), min_size=draw(st.sampled_from([1, 6])), max_size=14)):
        cells = (*row, *(draw(text) for _ in surplus))
        record = [cells[place] for place in places]
        short = record[:1] if record[0] else record[:-1]  # a single empty cell would be a blank line, which is no row
        records.append(draw(st.sampled_from([record] * 30 + [record[:-1], short, [*record, "surplus"]])))
        records += draw(st.sampled_from([[], [], [], [[]]]))
    newline, quote_all = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
    lines = [",".join(_written(cell, quote_all=quote_all) for cell in record) for record in records]
    content = newline.join(lines) + draw(st.sampled_from([newline, newline, ""]))
    encoded = content.encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    return File(gzip.compress(encoded) if draw(st.booleans()) else encoded)


def _written(cell: str, *, quote_all: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if quote_all or set(cell) & set(',"\r\n') else cell


@st.composite
def cases(draw: st.DrawFn) -> Case:
    tags = st.sampled_from([[], ["a"], ["a", "b"], ["b", "c"]])
    first = draw(st.builds(Call, st.tuples(files("entities"), files("interactions")).map(list), tags))
    more = st.lists(st.one_of(files("entities"), files("interactions")), min_size=1, max_size=2)
    calls = [first, *draw(st.lists(st.builds(Call, more, tags), max_size=2))]
    count = sum(len(call.files) for call in calls)
    return Case(
        calls,
        draw(st.sets(st.integers(0, count - 1), max_size=count - 2)),
        draw(st.sampled_from([None, None, None, ["a"], ["c", "a"], ["b"]])),
        draw(st.sampled_from([None, None, *DAYS])),
    )


# The naive reading of one file


@dataclass
class Reading:
    """What a file holds by the contract: stored rows as dictionaries, rejects as (line, column, code, value)."""

    kind: FileType
    stored: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[tuple[int, str | None, str, str | None]] = field(default_factory=list)
    first_types: dict[str, str] = field(default_factory=dict)
    """Of each id in a good row."""


def read_naively(content: bytes) -> Reading:
    """Every row is stored or rejected for its first bad cell; a row's line is the one on which it starts."""
    plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    reader = csv.reader(io.StringIO(plain.decode("utf-8-sig"), newline=""), strict=True)
    header = next(reader)
    reading = Reading("entities" if set(ENTITY_COLUMNS) <= set(header) else "interactions")
    line = reader.line_num + 1
    for cells in reader:
        if cells:
            _read_row(reading, header, cells, line)
        line = reader.line_num + 1
    return reading


def _read_row(reading: Reading, header: list[str], cells: list[str], line: int) -> None:
    if len(cells) != len(header):
        code = "missing_columns" if len(cells) < len(header) else "too_many_columns"
        reading.rejects.append((line, None, code, None))
        return
    row = {name: cells[header.index(name)] for name in COLUMNS[reading.kind]}
    if fault := next(_faults(row), None):
        column, code = fault
        reading.rejects.append((line, column, code, row[column][:100] or None))
        return
    if reading.kind == "entities" and row["type"] != reading.first_types.setdefault(row["id"], row["type"]):
        reading.rejects.append((line, "id", "type_conflict", row["id"][:100]))
        return
    optional: dict[str, Any] = {name: row[name] or None for name in ("metadata", "media_url") if name in row}
    times = {"timestamp": _microseconds(row["timestamp"])} if "timestamp" in row else {}
    reading.stored.append({**row, **optional, **times})


def _faults(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(column, code) of every bad cell, NUL counting last."""
    for column, cell in row.items():
        if not cell and column in ("id", "type", "source_id", "target_id"):
            yield column, "empty_value"
        if cell and column == "metadata" and not _is_object(cell):
            yield column, "invalid_metadata"
        if cell and column == "media_url" and not _is_url(cell):
            yield column, "invalid_url"
        if cell and column == "timestamp":
            yield from ((column, code) for code in _faults_of_time(cell))
    yield from ((column, "invalid_character") for column, cell in row.items() if "\0" in cell)


def _faults_of_time(cell: str) -> Iterator[str]:
    moment = _microseconds(cell)
    if moment is None:
        yield "invalid_timestamp"
    elif moment > (datetime.now(UTC) + timedelta(days=1) - EPOCH) // timedelta(microseconds=1):
        yield "future_timestamp"


def _is_object(cell: str) -> bool:
    try:
        return isinstance(json.loads(cell), dict)
    except ValueError:
        return False


def _is_url(cell: str) -> bool:
    parts = urlsplit(cell)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not any(sign.isspace() for sign in cell)


def _microseconds(cell: str) -> int | None:
    """Microseconds since 1970 of a timestamp cell; None for an empty or a bad one."""
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", cell):
        return int(Decimal(cell) * 1_000_000) if re.fullmatch(r"[1-9][0-9]{8,9}(\.[0-9]+)?", cell) else None
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


# The naive selection


@dataclass(frozen=True)
class Expected:
    """What a training reads, sorted as `Selection` promises, and the (kept, removed) of every step."""

    entities: list[Stored]
    interactions: list[Stored]
    links: list[Stored]
    steps: list[tuple[int, int]]
    dangling: list[str]


def select_naively(readings: Sequence[Reading], age_days: int | None) -> Expected:
    """The selection of batches, given in upload order."""
    uploaded = [row for reading in readings if reading.kind == "entities" for row in reading.stored]
    entities = {row["id"]: row for row in uploaded}
    links = _link(entities)
    known = {row["id"]: (row["type"], row["name"]) for row in entities.values()}
    for _, key, target, value in sorted(links):
        known.setdefault(target, (key, value))
    oldest = (NOW - timedelta(days=age_days or 0) - EPOCH) // timedelta(microseconds=1)
    given = [row for reading in readings if reading.kind == "interactions" for row in reading.stored]
    young = [row for row in given if age_days is None or row["timestamp"] is None or row["timestamp"] >= oldest]
    latest = (NOW + timedelta(days=1) - EPOCH) // timedelta(microseconds=1)
    possible = [row for row in young if row["timestamp"] is None or row["timestamp"] <= latest]
    different = {(row["type"], row["source_id"], row["target_id"], row["timestamp"]) for row in possible}
    kept = {interaction for interaction in different if {interaction[1], interaction[2]} <= set(known)}
    ends = {end for interaction in different for end in interaction[1:3]}
    numbers = {entity: row for row, entity in enumerate(sorted(known, key=lambda entity: (known[entity][0], entity)))}
    return Expected(
        [(numbers[entity], entity, *known[entity]) for entity in numbers],
        _count_repeats((kind, numbers[source], numbers[target], time) for kind, source, target, time in kept),
        sorted((key, numbers[source], numbers[target]) for source, key, target, _ in links if source != target),
        [
            (len(entities), len(uploaded) - len(entities)),
            (len(given), 0),
            (len(young), len(given) - len(young)),
            *([(len(possible), len(young) - len(possible))] if len(possible) < len(young) else []),
            (len(different), len(possible) - len(different)),
            (len(kept), len(different) - len(kept)),
        ],
        sorted(ends - set(known))[:5],
    )


def _link(entities: dict[str, dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    """(source, key, target, value): each value links the uploaded entity with that id or name, or a new one."""
    found = set()
    for source, row in entities.items():
        for key, value in _values(json.loads(row["metadata"] or "{}")):
            same_type = {other: uploaded["name"] for other, uploaded in entities.items() if uploaded["type"] == key}
            named = sorted(other for other, name in same_type.items() if name == value)
            target = value if value in same_type else next(iter(named), f"{key}:{value}")
            found.add((source, key, target, value))
    return found


def _values(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of every scalar: objects flattened with dots, each list element on its own, nothing for blanks."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, key)
    elif isinstance(value, bool):
        yield key, str(value).lower()
    elif value is not None and value.strip():
        yield key, value.strip()


def _count_repeats(interactions: Iterator[tuple[str, int, int, int | None]]) -> list[Stored]:
    """(type, source row, target row, latest time, how many different times)."""
    times: dict[tuple[str, int, int], list[int | None]] = {}
    for kind, source, target, time in interactions:
        times.setdefault((kind, source, target), []).append(time)
    return [
        (*same, max((time for time in found if time is not None), default=None), len(found))
        for same, found in sorted(times.items())
    ]


# What the product says


def stored_rows(home: Path, batch: Batch, kind: FileType) -> list[Stored]:
    """The rows of a batch in the contract's order of columns, times as microseconds since 1970."""
    columns = ", ".join("epoch_us(timestamp)" if name == "timestamp" else name for name in COLUMNS[kind])
    return _query(f"SELECT {columns} FROM read_parquet(?)", Home(home).batch(batch.batch_id) / "rows.parquet")


def stored_rejects(home: Path, batch: Batch) -> list[Stored]:
    return _query(
        'SELECT line, "column", code, CASE WHEN "column" IS NOT NULL THEN value END FROM read_parquet(?)',
        Home(home).batch(batch.batch_id) / "rejects.parquet",
    )


def selected_tables(selection: Selection) -> Expected:
    """A selection in the same form as the naive one."""
    entities, interactions, links = (
        _query(f"SELECT {columns} FROM read_parquet(?)", selection.folder / name)
        for name, columns in (
            ("entities.parquet", "row, id, type, name"),
            ("interactions.parquet", "type, source_row, target_row, epoch_us(timestamp), repeats"),
            ("links.parquet", "key, source_row, target_row"),
        )
    )
    steps = [(step.kept, step.removed) for step in selection.steps if step.step != STEP_TYPES]
    return Expected(entities, interactions, links, steps, selection.steps[-1].examples)


def _query(query: str, path: Path) -> list[Stored]:
    with duckdb.connect() as connection:
        return connection.execute(query, [str(path)]).fetchall()


# The property


@examples(
    max_examples=int(EXAMPLES_BY_HAND or 50),
    derandomize=EXAMPLES_BY_HAND is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases())
def test_import_and_selection_agree_with_a_naive_reading(case: Case) -> None:
    """What is stored, set aside and why, selected and linked is what the contract says, without a difference."""
    readings = [read_naively(file.content) for call in case.calls for file in call.files]
    assume(all(reading.stored for reading in readings))  # a file without a good row is refused
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(settings=Settings(home=Path(folder) / "home"))
        batches = import_all(workspace, case, Path(folder))
        for batch, reading in zip(batches, readings, strict=True):
            check_batch(workspace.settings.home, batch, reading)

        deleted = [batches[place].batch_id for place in case.deleted]
        if deleted:
            workspace.delete_batches(deleted)
        chosen = [
            reading
            for batch, reading in zip(batches, readings, strict=True)
            if batch.batch_id not in deleted and (case.data_tags is None or set(case.data_tags) & set(batch.tags))
        ]
        check_selection(workspace.settings.home, case, Path(folder), select_naively(chosen, case.age_days))


def import_all(workspace: Workspace, case: Case, folder: Path) -> list[Batch]:
    batches = []
    for call in case.calls:
        paths = [folder / f"{place}.csv" for place in range(len(call.files))]
        for path, file in zip(paths, call.files, strict=True):
            path.write_bytes(file.content)
        batches += workspace.import_files(paths, tags=call.tags)
    return batches


def check_batch(home: Path, batch: Batch, reading: Reading) -> None:
    """Rows, rejects and counts of one batch are those of the naive reading."""
    expected = [tuple(row[name] for name in COLUMNS[reading.kind]) for row in reading.stored]
    counts = (len(expected), 0) if reading.kind == "entities" else (0, len(expected))

    assert expected == stored_rows(home, batch, reading.kind)
    assert reading.rejects == stored_rejects(home, batch)
    assert (*counts, len(reading.rejects)) == (batch.entity_count, batch.interaction_count, batch.rejected_count)
    assert [reject[:3] for reject in reading.rejects[:20]] == [
        (error.line, error.column, error.code) for error in batch.errors
    ]


def check_selection(home: Path, case: Case, folder: Path, expected: Expected) -> None:
    """The selection equals the naive one; where no interaction is left, it is refused."""

    def selected() -> Selection:
        chosen = Catalog(home).batches.select(case.data_tags)
        return select(
            home,
            chosen,
            folder / "selection",
            started=NOW,
            maximum_interaction_age_days=case.age_days,
            allow_type_changes=True,
        )

    if not expected.interactions:
        with pytest.raises(TrainingFailed, match="no interactions are left"):
            selected()
        return
    assert expected == selected_tables(selected())
