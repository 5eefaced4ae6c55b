"""Kill `lucid import` at random moments: its batches are whole or not there, and those of one call together.

Run `python benchmarks/kill_import.py --count 50 --seed 0`. Each round starts a process that imports several files,
kills it (-9) at some moment, sweeps as the next process on the same home would, and looks at the catalog and the disk.
Prints a summary; exits with 1 on the first violation. Power cuts are not covered: the operating system lives on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal

import duckdb

from lucid.data import batches
from lucid.data.csv_load import REJECTS, ROWS
from lucid.schema.batches import Batch
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.workspace import Workspace

ROWS_PER_FILE = 30_000
BAD_EVERY = 100
FILES = 6
POLL_SECONDS = 0.001
PATIENCE_SECONDS = 120.0
PUBLISHING_SECONDS = 0.03
"""About the time from the first renamed folder to the commit in the catalog."""

Moment = Literal["anywhere", "loading", "publishing"]
"""Which part of an import a round aims at: publishing takes so short that chance alone would seldom meet it."""


class Violation(Exception):
    """A killed import left what the contract does not allow."""


def write_files(folder: Path) -> list[Path]:
    """Files with good rows and, every hundredth, a bad one."""
    folder.mkdir()
    paths = [folder / f"{number}.csv" for number in range(FILES)]
    for path in paths:
        ids = ("" if row % BAD_EVERY == 0 else f"u{row}" for row in range(ROWS_PER_FILE))
        path.write_text("id,type,name,metadata,media_url\n" + "".join(f"{entity},user,,,\n" for entity in ids))
    return paths


def start_import(home: Path, files: Sequence[Path], tag: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lucid", "import", *map(str, files), "--tags", tag],
        env={**os.environ, "LUCID_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def entries(home: Path, moment: Moment) -> set[str]:
    """Names on disk of which a new one tells that an import has come to a moment."""
    folder = Home(home).locks if moment == "loading" else Home(home).batches
    return {path.name for path in folder.glob("*") if moment == "loading" or not path.name.startswith(".")}


def wait_for(process: subprocess.Popen[bytes], home: Path, moment: Moment, before: set[str]) -> None:
    """Return as soon as the import has come to a moment, or has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while moment != "anywhere" and process.poll() is None and entries(home, moment) <= before:
        if time.monotonic() > deadline:
            process.kill()
            raise Violation(f"an import took more than {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def measure(home: Path, files: Sequence[Path]) -> dict[Moment, float]:
    """Seconds within which to kill, counted from each moment, by one import on a home of its own that nobody kills."""
    started = time.monotonic()
    process = start_import(home, files, "measured")
    wait_for(process, home, "loading", set())
    locked = time.monotonic()
    if process.wait(PATIENCE_SECONDS):
        raise Violation(f"an import that nobody killed ended with {process.returncode}")
    ended = time.monotonic()
    return {"anywhere": ended - started, "loading": ended - locked, "publishing": PUBLISHING_SECONDS}


def import_and_kill(home: Path, files: Sequence[Path], tag: str, moment: Moment, delay: float) -> None:
    """Start an import and kill it so many seconds after it has come to a moment."""
    before = entries(home, moment)
    process = start_import(home, files, tag)
    try:
        wait_for(process, home, moment, before)
        time.sleep(delay)
    finally:
        process.kill()
        process.wait()


def check(home: Path, tag: str) -> str:
    """What became of one killed call, after a sweep; raises Violation."""
    settings = Settings(home=home)
    batches.sweep(settings, Catalog(home), is_lost=lambda _run, _entered: True)
    workspace = Workspace(settings=settings)
    for batch in workspace.batches():
        check_batch(home, batch)
    known = {batch.batch_id for batch in workspace.batches()}
    unknown = [path.name for path in Home(home).batches.glob("*") if path.name not in known]
    if unknown:
        raise Violation(f"folders of no batch: {unknown}")
    found = [batch.status for batch in workspace.batches(tags=[tag])]
    if "completed" in found and found != ["completed"] * FILES:
        raise Violation(f"of one call some files are stored: {found}")
    return found[0] if len(set(found)) == 1 else " and ".join(sorted(set(found))) or "not entered"


def check_batch(home: Path, batch: Batch) -> None:
    """A completed batch has its rows and rejects, any other has no file."""
    folder = Home(home).batch(batch.batch_id)
    if batch.status != "completed":
        left = [path for path in home.rglob(f"*{batch.batch_id}*") if path.parent != Home(home).locks]
        if left or batch.status == "running":
            raise Violation(f"batch {batch.batch_id} is {batch.status} after the sweep and left {left}")
        return
    bad = -(-ROWS_PER_FILE // BAD_EVERY)
    counted = (batch.entity_count, batch.rejected_count)
    stored = (_count_rows(folder / ROWS), _count_rows(folder / REJECTS))
    if counted != (ROWS_PER_FILE - bad, bad) or stored != counted:
        raise Violation(f"batch {batch.batch_id} counts {counted}, its files hold {stored}")


def _count_rows(path: Path) -> int:
    (count,) = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone() or (-1,)
    return int(count)


def run(home: Path, files: Sequence[Path], durations: dict[Moment, float], random: Random, count: int) -> Counter[str]:
    """Kill `count` imports; returns how many of them ended in which way."""
    outcomes = Counter[str]()
    for number in range(count):
        moment = random.choice(list(durations))
        delay = random.uniform(0, durations[moment])
        import_and_kill(home, files, f"call-{number}", moment, delay)
        outcome = check(home, f"call-{number}")
        outcomes[f"{moment}: {outcome}"] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-import-"))
    files = write_files(folder / "files")
    print(f"seed {arguments.seed}, {arguments.count} imports of {FILES} files, home {folder / 'home'}", flush=True)
    try:
        durations = measure(folder / "measured", files)
        print(
            f"an import takes {durations['anywhere']:.2f} s, {durations['loading']:.2f} s of it after its lock",
            flush=True,
        )
        outcomes = run(folder / "home", files, durations, Random(arguments.seed), arguments.count)
    except Violation as violation:
        print(f"violation: {violation}")
        return 1
    for outcome, calls in sorted(outcomes.items()):
        print(f"{calls:>4} {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
