"""What popular and trending cost: seconds of a training, bytes of a version, and how soon lists are there.

    python -m benchmarks.trending [--rows 1000000]

Generated interactions of a year, with a long tail of targets a fiftieth as many as the rows, of which some are new and
some rise for a few days before the end; how many of those that rise are found, and how many others, is told as well.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from lucid.data.activity import ACTIVITY_FILE, activity_among, copy_activity
from lucid.data.selection import select
from lucid.graph.activity import Activity
from lucid.graph.entity_types import read_entity_types
from lucid.model.popularity import STANDINGS, Span
from lucid.schema.fields import ForAll, utc_now
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.versions.files import ACTIVITY
from lucid.versions.standings import choose_all_spans, read_standings, write_standings
from lucid.workspace import Workspace

DAYS, RISING, TIMES, FOR_DAYS = 365, 50, 5, 5
"""So many targets get so many times their usual interactions, for so many days."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lucid-trending-") as folder:
        measure(Path(folder), arguments.rows)


def measure(folder: Path, rows: int) -> None:
    rising = write_year(folder, rows)
    workspace = Workspace(folder / "home")
    workspace.import_files([folder / "entities.csv", folder / "interactions.csv"])
    table = Table("what", "figure", title=f"{rows:,} interactions")
    now, work = utc_now(), folder / "work"

    def timed(what: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        table.add_row(what, f"{1000 * (time.perf_counter() - began):,.1f} ms")

    batches = Catalog(folder / "home").batches.select(None)
    timed("selection, activity included", lambda: select(folder / "home", batches, work, started=now))
    timed("of that, activity", lambda: count_again(work))
    types = read_entity_types(work / "entities.parquet")
    activity = Activity.build(types.size, *activity_among(work, work / "entities.parquet"))
    timed("choice of windows and half-lives", lambda: choose_all_spans(activity, types))
    spans = choose_all_spans(activity, types)
    timed("lists computed ahead, and written", lambda: write_standings(folder, types, activity, spans))
    items, size = types.rows("item"), (folder / ACTIVITY).stat().st_size
    table.add_row("file", f"{size / 1e6:,.2f} MB, {size / rows:,.1f} bytes an interaction")
    mapped = read_standings(folder, types)
    assert mapped is not None
    stored = mapped
    timed("a list that was computed ahead", lambda: stored.ahead["item", "trending"].first(100))

    def anew(way: ForAll, span: Span) -> set[int]:
        found = STANDINGS[way](stored.activity.of(items), len(items), stored.activity.newest, span)
        return {int(target) for target in found.targets}

    for way in STANDINGS:
        timed(f"{way} in 9 days, counted anew", partial(anew, way, Span(9)))
        table.add_row(f"{way}: chosen for items", str(spans["item", way]))
    for span in (spans["item", "trending"], Span(5)):
        trends = anew("trending", span)
        found = f"{len(trends & rising)} of {len(rising)}, and {len(trends - rising)} others"
        table.add_row(f"rising targets found within {span.window} days", found)
    Console().print(table)


def count_again(work: Path) -> None:
    """Do what a selection does for its activity, from the rows that it has left."""
    with connect() as connection:
        connection.execute(
            f"CREATE TABLE numbered AS FROM read_parquet('{work / 'entities.parquet'}');"
            "CREATE TABLE interactions AS SELECT s.id AS source_id, t.id AS target_id, timestamp "
            f"FROM read_parquet('{work / 'interactions.parquet'}') "
            "JOIN numbered s ON s.row = source_row JOIN numbered t ON t.row = target_row;"
            "CREATE TABLE links (source_id VARCHAR, target_id VARCHAR)"
        )
        copy_activity(connection, work, utc_now())
    assert (work / ACTIVITY_FILE).exists()


def write_year(folder: Path, rows: int, seed: int = 0) -> set[int]:
    """Write `entities.csv` and `interactions.csv`; returns the numbers of the targets that rise at the end."""
    rng = np.random.default_rng(seed)
    users, items = rows // 20, rows // 50
    item = np.minimum(rng.pareto(0.8, rows) * items / 50, items - 1).astype(np.int64)
    born = np.where(rng.random(items) < 0.3, rng.integers(0, DAYS - 30, items), 0)
    day = born[item] + rng.random(rows) * (DAYS - born[item])
    counts = np.bincount(item, minlength=items)
    rising = rng.choice(np.flatnonzero(counts * FOR_DAYS > 3 * DAYS), RISING, replace=False)
    more = np.repeat(rising, (TIMES - 1) * counts[rising] * FOR_DAYS // DAYS)
    item = np.concatenate([item, more])
    day = np.concatenate([day, DAYS - FOR_DAYS * rng.random(len(more))])
    moments = pd.Timestamp("2025-01-01") + pd.to_timedelta(day, unit="D")
    interactions = pd.DataFrame(
        {
            "type": "view",
            "source_id": [f"u{user:07}" for user in rng.integers(0, users, len(item)).tolist()],
            "target_id": [f"i{number:07}" for number in item.tolist()],
            "timestamp": moments.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "metadata": "",
        }
    )
    interactions.to_csv(folder / "interactions.csv", index=False)
    ids = [(f"u{user:07}", "user") for user in range(users)] + [(f"i{number:07}", "item") for number in range(items)]
    entities = pd.DataFrame(ids, columns=["id", "type"]).assign(name="", metadata="", media_url="")
    entities.to_csv(folder / "entities.csv", index=False)
    return {int(target) for target in rising}


if __name__ == "__main__":
    main()
