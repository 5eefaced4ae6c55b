"""Import: what loads, what is set aside with which reason, what is refused as a whole."""

import gzip
from pathlib import Path

import pytest

from lucid.data.batches import new_batches, sweep
from lucid.errors import InvalidRequest, UnusableFile
from lucid.schema.batches import Batch
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.store.home import Home
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

ENTITY_HEADER = "id,type,name,metadata,media_url\n"
INTERACTION_HEADER = "type,source_id,target_id,timestamp,metadata\n"


def stored(workspace: Workspace, batch: Batch, columns: str = "*") -> list[tuple[object, ...]]:
    path = Home(workspace.settings.home).batch(batch.batch_id) / "rows.parquet"
    with connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet(?)", [str(path)]).fetchall()


def test_columns_are_found_by_name_in_any_order(workspace: Workspace, tmp_path: Path) -> None:
    """A reordered header with surplus columns loads every cell into its own column."""
    file = tmp_path / "a.csv"
    file.write_text('name,extra,media_url,id,extra,type,metadata\nAda,x,http://a.b/c,u1,y,user,"{""a"": 1}"\n')

    (batch,) = workspace.import_files([file])

    assert [("u1", "user", "Ada", '{"a": 1}', "http://a.b/c")] == stored(workspace, batch, "* EXCLUDE reason")
    assert (1, 0, 0) == (batch.entity_count, batch.interaction_count, batch.rejected_count)


@pytest.mark.parametrize(
    "content",
    [
        ENTITY_HEADER.encode() + b"u1,user,A,,\nu2,user,B,,\n",
        b"\xef\xbb\xbf" + ENTITY_HEADER.encode() + b"u1,user,A,,\nu2,user,B,,\n",
        (ENTITY_HEADER + "u1,user,A,,\nu2,user,B,,\n").replace("\n", "\r\n").encode(),
        ENTITY_HEADER.encode() + b"u1,user,A,,\nu2,user,B,,",
        gzip.compress(ENTITY_HEADER.encode() + b"u1,user,A,,\nu2,user,B,,\n"),
    ],
    ids=["plain", "byte order mark", "CRLF", "no newline at the end", "gzip"],
)
def test_forms_of_a_file_that_mean_the_same_load_the_same(workspace: Workspace, tmp_path: Path, content: bytes) -> None:
    """Byte order mark, line endings and compression change nothing."""
    file = tmp_path / "a.csv"
    file.write_bytes(content)

    (batch,) = workspace.import_files([file])

    assert [("u1", "A"), ("u2", "B")] == stored(workspace, batch, "id, name")


def test_bad_rows_are_set_aside_with_line_column_and_code(workspace: Workspace, tmp_path: Path) -> None:
    """Good rows load; each bad one names the line on which it starts, also after cells with line breaks."""
    file = tmp_path / "a.csv"
    file.write_text(
        ENTITY_HEADER
        + 'u1,user,"two\nlines",,\n'  # lines 2 and 3
        + "u2,user\n"  # line 4
        + ",user,no id,,\n"  # line 5
        + 'u3,user,"three\nmore\nlines",[1],\n'  # lines 6 to 8
        + "u4,user,,,ftp://a\n"  # line 9
        + "u5,user,,,\n"
        + "u6,,,,\n"  # line 11
        + "u\x007,user,,,\n"  # line 12
        + "u8,user,a,,,surplus\n"  # line 13
    )

    (batch,) = workspace.import_files([file])

    assert (2, 7) == (batch.entity_count, batch.rejected_count)
    assert [
        (4, None, "missing_columns"),
        (5, "id", "empty_value"),
        (6, "metadata", "invalid_metadata"),
        (9, "media_url", "invalid_url"),
        (11, "type", "empty_value"),
        (12, "id", "invalid_character"),
        (13, None, "too_many_columns"),
    ] == [(error.line, error.column, error.code) for error in batch.errors]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("quoted", ["plain", '"two\nlines"'])
@pytest.mark.parametrize("blank", ["", "\n", "\n\n"])
def test_lines_are_those_of_the_file(
    workspace: Workspace, tmp_path: Path, newline: str, quoted: str, blank: str
) -> None:
    """Whatever stands before, a reject names the line that an editor shows."""
    file = tmp_path / "a.csv"
    text = ENTITY_HEADER + f"u1,user,{quoted},,\nbroken\n{blank},user,no id,,\nu2,user,,,\n,user,no id,,\n"
    file.write_bytes(text.replace("\n", newline).encode())

    (batch,) = workspace.import_files([file])

    lines = text.split("\n")
    expected = [number for number, line in enumerate(lines, start=1) if line == "broken" or line.startswith(",user")]
    assert expected == [error.line for error in batch.errors]


def test_a_letter_lost_from_a_name_is_shown_as_lost(workspace: Workspace, tmp_path: Path) -> None:
    """NUL in a name does not cost the row; it becomes the replacement character."""
    file = tmp_path / "a.csv"
    file.write_text(f"{ENTITY_HEADER}a1,author,J\x00lio,,\n")

    (batch,) = workspace.import_files([file])

    assert [("J\ufffdlio",)] == stored(workspace, batch, "name")


def test_a_name_that_looks_like_a_pattern_is_a_name(workspace: Workspace, tmp_path: Path) -> None:
    """The file that was named is loaded, not others that a pattern would match."""
    for name in ("data1.csv", "data[1].csv", "data*.csv"):
        (tmp_path / name).write_text(f"{ENTITY_HEADER}{name},user,,,\n")

    batches = workspace.import_files([tmp_path / "data[1].csv", tmp_path / "data*.csv"])

    assert [[("data[1].csv",)], [("data*.csv",)]] == [stored(workspace, batch, "id") for batch in batches]


def test_a_row_over_the_size_limit_is_a_bad_row(workspace: Workspace, tmp_path: Path) -> None:
    """One endless row does not spoil the others."""
    file = tmp_path / "a.csv"
    file.write_text(f"{ENTITY_HEADER}u1,user,{'x' * 5_000_000},,\nu2,user,B,,\n")

    (batch,) = workspace.import_files([file])

    assert (1, 1) == (batch.entity_count, batch.rejected_count)
    assert (2, "line_size_over_maximum") == (batch.errors[0].line, batch.errors[0].code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (ENTITY_HEADER.encode() + b'u,t,"a\nb,,\n', "not_csv"),
        (b'timestamp,type,source_id,extra,target_id,metadata\n,saw,u1,,v3,"\xc3"\n', "not_utf8"),
    ],
)
def test_files_that_the_reader_gives_up_on_are_refused(
    workspace: Workspace, tmp_path: Path, content: bytes, code: str
) -> None:
    """A quote that does not end, and bytes that are no UTF-8 at the end of a row, are told apart."""
    file = tmp_path / "a.csv"
    file.write_bytes(content)

    with pytest.raises(UnusableFile) as caught:
        workspace.import_files([file])

    assert code == caught.value.code


@pytest.mark.parametrize("metadata", ['{"a":1,}', '{"a":NaN}', '{"a":-Infinity}', '{"a":[1, ]}', "[1]", "null", "{"])
def test_metadata_is_a_strict_json_object(workspace: Workspace, entities_csv: WriteCsv, metadata: str) -> None:
    """What JSON does not allow is a bad cell; the same characters inside a string are fine."""
    fine = '{"a": "NaN, Infinity,}", "b": [",]", "\\",}"]}'

    (batch,) = workspace.import_files([entities_csv(("u1", "user", "", metadata), ("u2", "user", "", fine))])

    assert (1, [(2, "invalid_metadata")]) == (batch.entity_count, [(bad.line, bad.code) for bad in batch.errors])


def test_an_endless_nesting_is_a_bad_cell(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """Metadata that no one can read in reasonable time does not come in."""
    deep = '{"a":' * 200_000 + "1" + "}" * 200_000

    (batch,) = workspace.import_files([entities_csv(("u1", "user", "", deep), ("u2", "user"))])

    assert (1, 1) == (batch.entity_count, batch.rejected_count)


def test_timestamps_are_utc_whatever_their_form(workspace: Workspace, tmp_path: Path) -> None:
    """ISO 8601 without an offset is UTC, an offset is applied, digits are Unix seconds, empty stays empty."""
    file = tmp_path / "i.csv"
    stamps = ["2024-03-01", "2024-03-01T12:00", "2024-03-01T12:00:00+02:00", "2024-03-01T10:00Z", "1709287200", ""]
    file.write_text(INTERACTION_HEADER + "".join(f"saw,u,v,{stamp},\n" for stamp in stamps))

    (batch,) = workspace.import_files([file])

    times = [row[0] for row in stored(workspace, batch, "strftime(timestamp, '%d %H:%M')")]
    assert ["01 00:00", "01 12:00", "01 10:00", "01 10:00", "01 10:00", None] == times


@pytest.mark.parametrize(
    "stamp",
    [
        "yesterday",
        "2024-13-01",
        "infinity",
        "nan",
        "1e400",
        "01/02/2024",
        "99999999999999",
        "2019",
        "2024-01-01T 1:02:03Z",
    ],
)
def test_other_timestamps_are_bad_rows(workspace: Workspace, tmp_path: Path, stamp: str) -> None:
    """What is neither ISO 8601 nor Unix seconds is set aside, not guessed."""
    file = tmp_path / "i.csv"
    file.write_text(INTERACTION_HEADER + f"saw,u,v,{stamp},\nsaw,u,v,,\n")

    (batch,) = workspace.import_files([file])

    assert (1, 1, "invalid_timestamp") == (batch.interaction_count, batch.rejected_count, batch.errors[0].code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "no_rows"),
        (ENTITY_HEADER.encode(), "no_rows"),
        (b"id,type,name\n1,user,A\n", "missing_column"),
        (b"id,type,name,metadata,media_url,source_id,target_id,timestamp\n1,u,,,,a,b,\n", "mixed_kinds"),
        (b"id,id,type,name,metadata,media_url\n1,1,user,A,,\n", "duplicate_column"),
        (ENTITY_HEADER.encode() + "u1,user,Zoë,,\n".encode("latin-1"), "not_utf8"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "not_csv"),
        (b"\x1f\x8bnot really gzip", "not_csv"),
        (gzip.compress(ENTITY_HEADER.encode() * 9)[:-12], "not_csv"),
        (ENTITY_HEADER.encode() + b"u1,user,A,,\n" * 60, "too_big"),
        (gzip.compress(ENTITY_HEADER.encode() + b"u1,user,A,,\n" * 4000), "too_big"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_file_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes, code: str) -> None:
    """One clear error that names the file; no batch, no file on disk."""
    workspace = Workspace(settings=Settings(home=tmp_path / "home", max_file_rows=50, max_file_bytes=40_000))
    file = tmp_path / "bad.csv"
    file.write_bytes(content)

    with pytest.raises(UnusableFile, match=r"^bad\.csv: ") as caught:
        workspace.import_files([file])

    assert code == caught.value.code
    assert [] == workspace.batches()
    assert [] == [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.name != "catalog.duckdb"]


def test_one_unusable_file_refuses_all_of_the_call(
    workspace: Workspace, entities_csv: WriteCsv, tmp_path: Path
) -> None:
    """The files of one import are stored together or not at all."""
    bad = tmp_path / "bad.csv"
    bad.write_text("what,ever\n1,2\n")

    with pytest.raises(UnusableFile):
        workspace.import_files([entities_csv(("u1", "user")), bad])

    assert [] == workspace.batches()


def test_abort_refuses_a_file_with_any_bad_row(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """With on_error=abort the first bad row is named and nothing is stored."""
    with pytest.raises(UnusableFile, match="line 3, column type") as caught:
        workspace.import_files([entities_csv(("u1", "user"), ("u2", ""))], on_error="abort")

    assert "bad_row" == caught.value.code
    assert [] == workspace.batches()


def test_tags_find_batches_that_carry_all_of_them(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """Asking by tags returns the batches that have every one; deleting works the same way."""
    workspace.import_files([entities_csv(("u1", "user"))], tags=["a"])
    (both,) = workspace.import_files([entities_csv(("u2", "user"))], tags=["a", "b"])

    assert [both] == workspace.batches(tags=["b", "a"])
    assert [both] == workspace.delete_batches(tags=["b"])
    assert 1 == len(workspace.batches())


def test_deleting_without_naming_anything_is_refused(workspace: Workspace) -> None:
    """An empty condition does not mean everything."""
    with pytest.raises(InvalidRequest):
        workspace.delete_batches()


def test_tags_and_archive_marks_can_be_changed(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """New tags take the place of the old ones; archived batches take part in no training."""
    first, second = workspace.import_files(
        [entities_csv(("u1", "user")), entities_csv(("u2", "user"), name="b.csv")], "a"
    )

    (tagged,) = workspace.update_batches([first.batch_id], new_tags=["b", "c"])
    (archived,) = workspace.update_batches(tags=["a"], archived=True)

    assert (["b", "c"], False) == (tagged.tags, tagged.archived)
    assert (second.batch_id, ["a"], True) == (archived.batch_id, archived.tags, archived.archived)
    selected = Catalog(workspace.settings.home).batches.select(None)
    assert [first.batch_id] == [batch.batch_id for batch in selected]


def test_all_rejected_rows_can_be_read(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """The batch shows the first twenty, the complete list has them all."""
    (batch,) = workspace.import_files([entities_csv(("u1", "user"), *[("", "user")] * 50)])

    rejected = [row for block in workspace.rejected_rows(batch.batch_id) for row in block]

    assert (20, 50) == (len(batch.errors), batch.rejected_count)
    assert list(range(3, 53)) == [row.line for row in rejected]
    assert batch.errors == rejected[:20]


def test_an_upload_whose_run_dies_is_imported_by_another_one(settings: Settings) -> None:
    """All its files again, with nothing of what the dead one did; the third that dies ends it. Others end at once."""
    catalog, home = Catalog(settings.home), Home(settings.home)
    uploaded, by_command = new_batches(["a.csv", "b.csv"], []), new_batches(["c.csv"], [])
    ids = [batch.batch_id for batch in uploaded]
    catalog.batches.enter(uploaded, {"files": ["a.csv", "b.csv"], "batch_ids": ids})
    catalog.batches.enter(by_command)

    for tries in range(3):
        waiting = catalog.batches.first_waiting()
        assert waiting
        assert (ids, tries) == (waiting.batch_ids, waiting.tries)
        catalog.batches.set_flow_run(ids, f"run {tries}")
        home.staging(ids[0]).mkdir(parents=True)
        home.batch(ids[1]).mkdir(parents=True)
        sweep(settings, catalog, is_lost=lambda _run, _entered: True)
        assert not home.staging(ids[0]).exists()
        assert not home.batch(ids[1]).exists()

    assert catalog.batches.first_waiting() is None
    assert ["error"] * 3 == [batch.status for batch in catalog.batches.find()]


def test_an_import_that_is_cancelled_is_not_done_again(settings: Settings) -> None:
    """It was somebody's wish."""
    catalog = Catalog(settings.home)
    (batch,) = new_batches(["a.csv"], [])
    catalog.batches.enter([batch], {"files": ["a.csv"], "batch_ids": [batch.batch_id]})
    catalog.batches.set_flow_run([batch.batch_id], "run")

    sweep(settings, catalog, is_lost=lambda _run, _entered: "cancelled")

    assert ("error", "cancelled") == (catalog.batches.find()[0].status, catalog.batches.find()[0].message)
