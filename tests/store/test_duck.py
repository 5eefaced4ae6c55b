"""DuckDB as everything here opens it: times in UTC, nothing from the network, no process ended by it."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import lucid
from lucid.store.duck import connect, copy, count

WITHOUT_HANDLES = """
import os, resource
from lucid.store.duck import connect
used = len(os.listdir("/proc/self/fd")) - 1  # less the folder's own
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, used + 2))
try:
    connect()
except OSError as error:
    print(error.errno == 24)
"""


def test_times_are_utc_whatever_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time without a zone is one of UTC, and a time is shown in UTC."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")

    with connect() as connection:
        found = connection.execute("SELECT '2026-01-02 03:04:05'::TIMESTAMPTZ, now()::VARCHAR").fetchone()

    assert found
    assert datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) == found[0]
    assert found[1].endswith("+00")


def test_what_is_set_is_what_duckdb_uses(tmp_path: Path) -> None:
    """Spill folder, threads, memory and search path get there, and no extension is fetched from elsewhere."""
    names = ("temp_directory", "threads", "memory_limit", "file_search_path", "autoinstall_known_extensions")
    query = ", ".join(f"current_setting('{name}')" for name in names)
    with connect(spill=tmp_path / "spill", threads=1, memory_limit="512MiB", search_path=tmp_path) as connection:
        found = connection.execute(f"SELECT {query}").fetchone()

    assert (str(tmp_path / "spill"), 1, "512.0 MiB", str(tmp_path), False) == found


def test_a_process_without_free_handles_gets_an_error_and_lives() -> None:
    """DuckDB alone would end it."""
    ended = subprocess.run([sys.executable, "-c", WITHOUT_HANDLES], capture_output=True, text=True, check=False)

    assert (0, "True\n") == (ended.returncode, ended.stdout), ended.stderr


def test_what_is_copied_can_be_counted_and_read(tmp_path: Path) -> None:
    """Values are bound by name in either, and one with a quote is text like any other."""
    path = tmp_path / "o'clock.parquet"
    with connect() as connection:
        copy(connection, "SELECT unnest($words) AS word", path, {"words": ["it's", "b", "b"]})

        assert 3 == count(connection, "read_parquet($path)", {"path": str(path)})
        assert 1 == count(connection, "read_parquet($path) WHERE word = $word", {"path": str(path), "word": "it's"})


def test_nothing_else_opens_duckdb() -> None:
    """Whoever needs it asks `lucid.store.duck`, so these promises hold everywhere."""
    (root,) = map(Path, lucid.__path__)

    assert ["store/duck.py"] == [
        str(file.relative_to(root)) for file in root.rglob("*.py") if "duckdb.connect(" in file.read_text()
    ]
