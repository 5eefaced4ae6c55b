"""How well answers that fold new interactions in agree with those of a model that is trained again.

    python -m benchmarks.freshness folder-of-the-data-sets

A hundred users of ml-latest-small lose their five latest interactions; a model is trained; the interactions are
uploaded; the model is trained again. Printed is how many of the first ten movies the retrained model shares with the
answers before the upload, after it (folded in), and, for users who gained nothing, with the model before.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from lucid.workspace import Workspace

USERS, GAINED, CUTOFF = 100, 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    data = parser.parse_args().data / "ml-latest-small"
    rated = pd.read_csv(data / "interactions.csv.gz", dtype=str, keep_default_na=False)
    counts = rated.groupby("source_id").size()
    chance = np.random.default_rng(0)
    users = chance.choice(counts[(counts >= 20) & counts.index.str.startswith("user_")].index, USERS, replace=False)
    mine = rated[rated["source_id"].isin(users) & (rated["type"] == "rated")]
    late = mine.sort_values("timestamp").groupby("source_id").tail(GAINED).index
    with tempfile.TemporaryDirectory() as folder:
        workspace, early, later = (
            Workspace(Path(folder) / "home"),
            Path(folder) / "early.csv",
            Path(folder) / "late.csv",
        )
        rated.drop(late).to_csv(early, index=False)
        rated.loc[late].to_csv(later, index=False)
        workspace.import_files([data / "entities.csv.gz", early])
        workspace.train("movies")
        before = firsts(workspace)
        workspace.import_files([later])
        folded = firsts(workspace)
        began = time.perf_counter()
        for user in users:
            workspace.recommend("movies", source_id=user, target_type="movie")
        one = (time.perf_counter() - began) / len(users)
        workspace.train("movies")
        after = firsts(workspace)
    others = [user for user in after if user not in set(users)]
    table = Table("who", "answers of", f"overlap@{CUTOFF} with the retrained model")
    table.add_row(f"{USERS} users who gained {GAINED}", "the model before", f"{overlap(before, after, users):.3f}")
    table.add_row("", "folded in (goal: .8)", f"{overlap(folded, after, users):.3f}")
    table.add_row("the other users", "the model before", f"{overlap(before, after, others):.3f}")
    out = Console(width=110)
    out.print(table)
    out.print(f"one answer that is folded in: {1000 * one:.1f} ms")


def firsts(workspace: Workspace) -> dict[str, set[str]]:
    """The first movies of every user."""
    table = workspace.recommend("movies", source_type="user", target_type="movie", max_recommendations=CUTOFF)
    return {str(user): set(rows) for user, rows in table.groupby("source_id")["target_id"]}


def overlap(first: dict[str, set[str]], second: dict[str, set[str]], users: Iterable[str]) -> float:
    return float(np.mean([len(first[user] & second[user]) / CUTOFF for user in users]))


if __name__ == "__main__":
    main()
