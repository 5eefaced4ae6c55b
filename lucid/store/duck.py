"""DuckDB as all of Lucid uses it: opened in one place, with times in UTC and without a way to the Internet."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

_MEMORY = ":memory:"
_HANDLES = 4
"""Files that DuckDB opens at once with a connection."""


def connect(
    database: str | Path = _MEMORY,
    *,
    read_only: bool = False,
    spill: Path | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a database, by default one in memory; what that does not hold goes into the folder `spill`, if there is one.

    Raises OSError where no files can be opened, where DuckDB itself would end the whole process.
    """
    handles: list[int] = []
    try:
        for _ in range(_HANDLES):
            handles.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise OSError(error.errno, error.strerror, None if database == _MEMORY else str(database)) from error
    finally:
        for handle in handles:
            os.close(handle)
    given = {"temp_directory": spill and str(spill), "threads": threads, "memory_limit": memory_limit}
    config: dict[str, Any] = {"autoinstall_known_extensions": False}
    config |= {name: value for name, value in given.items() if value is not None}
    connection = duckdb.connect(str(database), read_only=read_only, config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """How many rows a table, or any other thing that can be selected from, has."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(rows)


def copy(
    connection: duckdb.DuckDBPyConnection, query: str, target: Path, values: Mapping[str, Any] | None = None
) -> None:
    """Write the rows of a query into a Parquet file."""
    connection.execute(f"COPY ({query}) TO $target (FORMAT parquet)", {**(values or {}), "target": str(target)})
