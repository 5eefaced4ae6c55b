"""How much better next interactions are ranked where their order counts.

    python -m benchmarks.sessions [--data folder-of-the-data-sets] [--only name ...]

Each source loses its latest interaction; a model is trained with order and without. Printed is how often the latest one
is among the first ten targets: for the source, and for a session of what it came to before, asked of the same model.
Beside it stand the gain in percent with its 95% interval (sources drawn anew a thousand times) and what the training
took of all processors, so that others who use them disturb less. Without data, walks through a generated chain are
taken, of which the next step is known.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lucid.schema.recommendations import MAX_SESSION
from lucid.training.order_choice import OrderJudge
from lucid.workspace import Workspace

CUTOFF, DRAWS, LEAST_TIMED = 10, 1000, 0.9


@dataclass(frozen=True)
class Dataset:
    """Interactions without the latest of each source, which are `last` (source, target), and what was before."""

    name: str
    entities: pd.DataFrame
    train: pd.DataFrame
    last: dict[str, str]
    before: dict[str, list[str]]
    source_type: str
    target_type: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    given = parser.parse_args()
    table = Table(
        *("data", "sources", "HR@10 without", "HR@10 with order", "gain", "sessions without", "sessions with", "gain"),
        "training",
    )
    for data in read(given.data, given.only) if given.data else [chain()]:
        table.add_row(data.name, f"{len(data.last):,}", *compared(data))
    Console(width=150).print(table)


def compared(data: Dataset) -> Iterator[str]:
    """The cells of a data set."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "home")
        entities, train = Path(folder) / "entities.csv", Path(folder) / "train.csv"
        data.entities.to_csv(entities, index=False)
        data.train.to_csv(train, index=False)
        workspace.import_files([entities, train])
        with patch.object(OrderJudge, "ordered", lambda _self, scorer, _held: (scorer, None)):
            began = time.process_time()
            workspace.train("without")
            plain = time.process_time() - began
        began = time.process_time()
        workspace.train("with")
        ordered = time.process_time() - began
        for ask in (hits, session_hits):
            without, with_order = (ask(workspace, model, data) for model in ("without", "with"))
            yield from (f"{without.mean():.3f}", f"{with_order.mean():.3f}", gain(without, with_order))
        yield f"{plain:.0f} → {ordered:.0f} s ({ordered / plain:.2f}x)"


def hits(workspace: Workspace, model: str, data: Dataset) -> NDArray[np.bool_]:
    """Whether each source's latest target is among its first ones."""
    found = workspace.recommend(
        model, source_type=data.source_type, target_type=data.target_type, max_recommendations=CUTOFF
    )
    firsts = {*zip(found["source_id"], found["target_id"], strict=True)}
    return np.array([one in firsts for one in data.last.items()])


def session_hits(workspace: Workspace, model: str, data: Dataset) -> NDArray[np.bool_]:
    """The same for sessions of what each came to before."""
    return np.array(
        [
            last
            in {
                *workspace.recommend(
                    model,
                    session=data.before[source][-MAX_SESSION:],
                    target_type=data.target_type,
                    max_recommendations=CUTOFF,
                )["target_id"]
            }
            for source, last in data.last.items()
        ]
    )


def gain(without: NDArray[np.bool_], with_order: NDArray[np.bool_]) -> str:
    """By how many percent more are hit, with its 95% interval."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(without), size=(DRAWS, len(without)))
    gains = 100 * (with_order[drawn].mean(axis=1) / np.maximum(without[drawn].mean(axis=1), 1e-9) - 1)
    low, high = np.quantile(gains, [0.025, 0.975])
    whole = 100 * (with_order.mean() / max(without.mean(), 1e-9) - 1)
    return f"{whole:+.0f}% [{low:+.0f}, {high:+.0f}]"


def read(folder: Path, only: list[str] | None) -> Iterator[Dataset]:
    """The data sets of a folder, `entities.csv.gz` and `interactions.csv.gz` each, that have times."""
    for path in sorted(folder.iterdir()):
        if (only and path.name not in only) or not (path / "interactions.csv.gz").exists():
            continue
        entities, rows = (
            pd.read_csv(path / f"{name}.csv.gz", dtype=str, keep_default_na=False)
            for name in ("entities", "interactions")
        )
        timed = rows[rows["timestamp"] != ""]["type"].value_counts()
        if len(timed) and timed.iloc[0] >= LEAST_TIMED * (rows["type"] == timed.index[0]).sum():
            yield split(path.name, entities, rows, str(timed.index[0]))


def split(name: str, entities: pd.DataFrame, rows: pd.DataFrame, kind: str) -> Dataset:
    """Take the latest interaction of a type from each source that has others."""
    mine = rows[rows["type"] == kind]
    times = pd.to_numeric(mine["timestamp"], errors="coerce")
    if times.isna().any():
        times = pd.to_datetime(mine["timestamp"], utc=True, format="ISO8601").astype("int64")
    # At the same time none is later: by chance, and not as they stand in the file.
    mine = mine.assign(at=times, chance=np.random.default_rng(0).random(len(mine))).sort_values(["at", "chance"])
    mine = mine.drop_duplicates(["source_id", "target_id"], keep="last")
    late = mine[mine.duplicated("source_id", keep="last")].groupby("source_id").size().index
    last = mine.drop_duplicates("source_id", keep="last")
    last = last[last["source_id"].isin(late)]
    pairs = {*zip(last["source_id"], last["target_id"], strict=True)}
    is_last = [one in pairs for one in zip(rows["source_id"], rows["target_id"], strict=True)]
    earlier = mine.drop(last.index).groupby("source_id")["target_id"]
    before = {str(source): [*targets] for source, targets in earlier}
    types = entities.set_index("id")["type"]
    ends = types[last["source_id"].iloc[0]], types[last["target_id"].iloc[0]]
    wanted = dict(zip(last["source_id"], last["target_id"], strict=True))
    return Dataset(name, entities, rows[~np.array(is_last)], wanted, before, *map(str, ends))


def chain(users: int = 400, items: int = 300, steps: int = 40, seed: int = 0) -> Dataset:
    """Walks around a circle of items, a step of one mostly, of any length else."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        place = int(rng.integers(items))
        for step in range(steps):
            rows.append(("view", f"u{user}", f"i{place}", str(1_700_000_000 + 1000 * user + 10 * step), ""))
            place = (place + 1 if rng.random() < 0.8 else int(rng.integers(items))) % items
    entities = [(f"u{user}", "user") for user in range(users)] + [(f"i{item}", "item") for item in range(items)]
    table = pd.DataFrame(
        [(*one, "", "", "") for one in entities], columns=["id", "type", "name", "metadata", "media_url"]
    )
    columns = ["type", "source_id", "target_id", "timestamp", "metadata"]
    return split("chain", table, pd.DataFrame(rows, columns=columns), "view")


if __name__ == "__main__":
    main()
