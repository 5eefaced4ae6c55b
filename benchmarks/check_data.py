"""Import whole data sets and compare what was loaded with what their `info.json` says.

    python benchmarks/check_data.py FOLDER

FOLDER holds a folder for each data set with `entities.csv.gz`, `interactions.csv.gz`, perhaps `kg.csv.gz` and
`kg_entities.csv.gz`, and `info.json` with the counts by type. Prints a line for each, with the kinds of the metadata
keys; exits with 1 where a count differs.
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import duckdb
from rich.console import Console

from lucid.data.csv_load import ROWS
from lucid.data.selection import select
from lucid.schema.fields import utc_now
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.workspace import Workspace

_FILES = ("entities", "interactions", "kg", "kg_entities")


def main() -> None:
    """Check every data set of the folder."""
    out = Console(width=150)
    good = [_check(out, folder) for folder in sorted(Path(sys.argv[1]).iterdir()) if (folder / "info.json").exists()]
    sys.exit(0 if good and all(good) else 1)


def _check(out: Console, data: Path) -> bool:
    """Import one data set and print how its counts compare."""
    info = json.loads((data / "info.json").read_text())
    with tempfile.TemporaryDirectory() as home:
        workspace = Workspace(home)
        names = [name for name in _FILES if (data / f"{name}.csv.gz").exists()]
        batches = workspace.import_files([data / f"{name}.csv.gz" for name in names])
        different = {}
        for name, batch in zip(names, batches, strict=True):
            loaded = _count_types(Home(Path(home)).batch(batch.batch_id) / ROWS)
            if loaded != Counter(info[name]) or batch.rejected_count:
                different[name] = (dict(loaded), info[name], batch.rejected_count)
        selected = Catalog(Path(home)).batches.select(None)
        selection = select(Path(home), selected, Path(home) / "selection", started=utc_now())
    kinds = ", ".join(f"{rule.key}: {rule.use}" for rule in selection.keys) or "none"
    rows = sum(batch.entity_count + batch.interaction_count for batch in batches)
    verdict = "as info.json says" if not different else f"DIFFERENT {different}"
    out.print(f"{data.name}: {rows:,} rows in {len(names)} files, {verdict}; metadata keys: {kinds}", markup=False)
    return not different


def _count_types(rows: Path) -> Counter[str]:
    with duckdb.connect() as connection:
        found = connection.execute("SELECT type, count(*) FROM read_parquet(?) GROUP BY type", [str(rows)]).fetchall()
    return Counter(dict(found))


if __name__ == "__main__":
    main()
