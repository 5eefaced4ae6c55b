"""The one place that opens DuckDB, and what is asked of it everywhere: how many rows, and rows into a Parquet file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

_MEMORY = ":memory:"
_HANDLES = 4


def connect(
    database: str | Path = _MEMORY,
    *,
    read_only: bool = False,
    threads: int | None = None,
    spill: Path | None = None,
    memory_limit: str | None = None,
    search_path: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open DuckDB, in memory or on a file, with times in UTC and no extension but those that came with it.

    `threads` is at most so many (None: one for each core), `spill` a folder for what memory does not hold, which the
    caller removes, `memory_limit` such as `1GB` (None: 80 % of the machine's), `search_path` a folder where files named
    without one are looked for. Raises OSError where no files can be opened, where DuckDB itself would end the whole
    process, and duckdb.Error.
    """
    expect_handles(database)
    given = {
        "threads": threads,
        "temp_directory": spill,
        "memory_limit": memory_limit,
        "file_search_path": search_path,
    }
    config = {name: str(value) for name, value in given.items() if value is not None}
    connection = duckdb.connect(
        str(database), read_only=read_only, config={**config, "autoinstall_known_extensions": "false"}
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def count(connection: duckdb.DuckDBPyConnection, table: str, values: Mapping[str, object] | None = None) -> int:
    """How many rows a table has, or whatever else may follow FROM, in which the values are bound by their names."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}", dict(values or {})).fetchone() or (0,)
    return int(rows)


def copy(
    connection: duckdb.DuckDBPyConnection, query: str, target: Path, values: Mapping[str, Any] | None = None
) -> None:
    """Write what a query finds into a Parquet file; the values are bound by their names, of which `target` is none."""
    connection.execute(f"COPY ({query}) TO $target (FORMAT parquet)", {**(values or {}), "target": str(target)})


def expect_handles(database: str | Path) -> None:
    """Raise OSError where DuckDB could not open the files that it needs, and would end the whole process."""
    handles: list[int] = []
    try:
        for _ in range(_HANDLES):
            handles.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise OSError(error.errno, error.strerror, None if database == _MEMORY else str(database)) from error
    finally:
        for handle in handles:
            os.close(handle)
