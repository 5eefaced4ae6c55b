"""How fast files are imported and selected, next to DuckDB's own copy of the same file in the same run.

    python benchmarks/import_speed.py [--rows 10000000] [--rounds 3]

Prints ratios of times: what is measured against `COPY (SELECT * FROM read_csv) TO parquet`, the best of several rounds
each, taken in turns. Every measurement runs in a process of its own, so its peak memory is its own.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from lucid.data.csv_load import load_file
from lucid.data.selection import select
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch

_ROWS = """
    SELECT ['watched', 'liked', 'rated'][1 + (hash(i) % 3)::INT] AS type,
        'user_' || (hash(i * 7) % greatest({rows} // 10, 1)) AS source_id,
        CASE WHEN hash(i * 13) % 1000 < {bad} THEN '' ELSE 'video_' || (hash(i * 11) % greatest({rows} // 50, 1)) END
            AS target_id,
        strftime(TIMESTAMP '2024-01-01' + to_seconds((hash(i * 3) % 60000000)::INT), '%Y-%m-%dT%H:%M:%SZ')
            AS timestamp,
        CASE WHEN i % 4 = 0 THEN '{{"rating": ' || (i % 5) || '}}' END AS metadata
    FROM range({rows}) t(i)"""
_PEOPLE = """
    SELECT kind || '_' || i AS id, kind AS type, kind || ' ' || i AS name,
        '{{"group": "g' || i % 50 || '"}}' AS metadata, NULL AS media_url
    FROM (SELECT 'user' AS kind, i FROM range(greatest({rows} // 10, 1)) t(i)
          UNION ALL SELECT 'video', i FROM range(greatest({rows} // 50, 1)) t(i))"""


@dataclass(frozen=True)
class Measured:
    """Seconds and peak memory in MB of one process."""

    seconds: float
    memory: float


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--task", choices=sorted(TASKS), help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.task:
        started = time.monotonic()
        TASKS[given.task](given.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([time.monotonic() - started, peak]))
        return
    folder = Path(tempfile.mkdtemp(prefix="lucid-bench-"))
    try:
        _report(folder, given.rows, given.rounds)
    finally:
        shutil.rmtree(folder)


def _report(folder: Path, rows: int, rounds: int) -> None:
    out = Console(width=110)
    table = Table("file", "rows", "DuckDB s", "import s", "ratio", "import µs/row", "peak MB", title="Import")
    sizes = [size for size in (100_000, 1_000_000) if size < rows] + [rows]
    for label, size, bad in [*(("clean", size, 0) for size in sizes), ("1% bad rows", rows, 10)]:
        _write(folder / "file.csv", _ROWS.format(rows=size, bad=bad))
        baseline, ours = _in_turns(folder, ("copy", "import"), rounds)
        per_row = 1e6 * ours.seconds / size
        figures = (f"{baseline.seconds:.2f}", f"{ours.seconds:.2f}", f"{ours.seconds / baseline.seconds:.2f}")
        table.add_row(label, f"{size:,}", *figures, f"{per_row:.2f}", f"{ours.memory:.0f}")
    out.print(table)
    # Selection: the interactions twice, as two batches, and every entity overwritten by a second batch.
    _write(folder / "file.csv", _PEOPLE.format(rows=rows))
    _import(folder)
    home = Home(folder / "home")
    shutil.move(folder / "loaded", home.batch("people-1"))
    shutil.copytree(home.batch("people-1"), home.batch("people-2"))
    _write(folder / "file.csv", _ROWS.format(rows=rows, bad=0))
    _import(folder)
    shutil.move(folder / "loaded", home.batch("actions"))
    (measured,) = _in_turns(folder, ("select",), 1)
    out.print(
        f"Selection of {rows:,} interactions and {2 * (rows // 10 + rows // 50):,} entity rows, half of them "
        f"overwritten: {measured.seconds:.1f} s, peak {measured.memory:.0f} MB"
    )


def _write(file: Path, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{file}' (HEADER)")


def _in_turns(folder: Path, tasks: tuple[str, ...], rounds: int) -> list[Measured]:
    """The best of several rounds of each task, in turns, so that a slow moment of the machine hits all alike."""
    found: dict[str, list[Measured]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            found[task].append(Measured(*json.loads(printed)))
    return [Measured(min(one.seconds for one in many), max(one.memory for one in many)) for many in found.values()]


def _copy(folder: Path) -> None:
    with duckdb.connect() as connection:
        source, target = folder / "file.csv", folder / "copy.parquet"
        connection.execute(f"COPY (SELECT * FROM read_csv('{source}', header = true)) TO '{target}' (FORMAT parquet)")


def _import(folder: Path) -> None:
    Home(folder / "home").batches.mkdir(parents=True, exist_ok=True)
    load_file(Settings(home=folder / "home"), folder / "file.csv", folder / "loaded", "set_aside")


def _select(folder: Path) -> None:
    batches = [
        SelectedBatch("people-1", "entities"),
        SelectedBatch("actions", "interactions"),
        SelectedBatch("people-2", "entities"),
    ]
    select(folder / "home", batches, folder / "selection", started=utc_now())


TASKS: dict[str, Callable[[Path], None]] = {"copy": _copy, "import": _import, "select": _select}

if __name__ == "__main__":
    main()
