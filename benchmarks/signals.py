"""What it is worth that a rating of 1 does not count like a rating of 5.

    python -m benchmarks.signals folder-of-the-data-sets [--sets ml-1m ml-latest-small] [--seed 0]

A tenth of all ratings is withheld, and a model is trained three times on the rest: with what ratings say, with
`interaction_rules` that ignore it, and with the ratings of all shuffled. Printed are NDCG@10 of withheld movies that
were liked (4 and more of 5), how many withheld ones that were disliked (2 and less) are among the first ten of their
users, and beside what ignores ratings the difference by user with a 95% bootstrap interval, and the ratio of dislikes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lucid.workspace import Workspace

SHARE, CUTOFF, DRAWS = 0.1, 10, 2000
LIKED, DISLIKED = 4, 2
GOAL_GAIN, GOAL_DISLIKES = 0.03, 0.2
WAYS = ("ignored", "used", "shuffled")


@dataclass(frozen=True)
class Found:
    """NDCG by user of what was liked, in the order of their ids; disliked ones among the first ten; how it went."""

    ndcg: NDArray[np.float64]
    disliked: int
    strengths: str
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["ml-1m", "ml-latest-small"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    table = Table("data", "ratings", "chosen", "NDCG@10 liked", "gain", "95%", "disliked in first ten", "ratio", "s")
    for name in asked.sets:
        found = {way: measure(asked.data / name, way, asked.seed) for way in WAYS}
        base = found["ignored"]
        for way, one in found.items():
            low, high = interval(one.ndcg - base.ndcg, asked.seed) / base.ndcg.mean()
            table.add_row(
                name,
                way,
                one.strengths,
                f"{one.ndcg.mean():.4f}",
                f"{one.ndcg.mean() / base.ndcg.mean() - 1:+.1%}",
                f"{low:+.1%} to {high:+.1%}",
                str(one.disliked),
                f"{one.disliked / max(base.disliked, 1):.2f}",
                f"{one.seconds:.0f}",
            )
    out = Console(width=120)
    out.print(table)
    out.print(
        f"Goals: ratings used gain {GOAL_GAIN:.0%} with an interval above 0, dislikes are cut to {GOAL_DISLIKES}."
    )


def measure(data: Path, way: str, seed: int) -> Found:
    """Train with some of the ratings, and look at what users get that rated something withheld."""
    rows = pd.read_csv(data / "interactions.csv.gz", dtype=str, keep_default_na=False)
    chance, is_rated = np.random.default_rng(seed), (rows["type"] == "rated").to_numpy()
    withheld = is_rated & (chance.random(len(rows)) < SHARE)
    train, test = rows[~withheld].copy(), rows[withheld]
    if way == "shuffled":
        rated = np.flatnonzero(train["type"] == "rated")
        said = train["metadata"].to_numpy(copy=True)
        said[rated] = said[chance.permutation(rated)]
        train["metadata"] = said
    rules: dict[str, Any] | None = {"rated": "ignored"} if way == "ignored" else None
    with tempfile.TemporaryDirectory() as folder:
        workspace, file = Workspace(Path(folder) / "home"), Path(folder) / "interactions.csv"
        train.to_csv(file, index=False)
        workspace.import_files([data / "entities.csv.gz", file])
        began = time.perf_counter()
        workspace.train("movies", interaction_rules=rules)
        seconds = time.perf_counter() - began
        chosen = workspace.report("movies")["chosen"]["weightings"][0]["strengths"]
        answers = workspace.recommend(
            "movies", source_id=sorted(set(test["source_id"])), target_type="movie", max_recommendations=CUTOFF
        )
    rating = np.array([float(json.loads(text)["rating"]) for text in test["metadata"]])
    liked, disliked = by_user(test[rating >= LIKED]), by_user(test[rating <= DISLIKED])
    lists = answers.groupby("source_id")["target_id"].apply(list).to_dict()
    ndcg = np.array([ndcg_of(lists.get(user, []), liked[user]) for user in sorted(liked)])
    wrong = sum(movie in disliked[user] for user in disliked for movie in lists.get(user, []))
    return Found(ndcg, wrong, chosen, seconds)


def by_user(rows: pd.DataFrame) -> Mapping[str, set[str]]:
    return {str(user): set(movies) for user, movies in rows.groupby("source_id")["target_id"]}


def ndcg_of(listed: list[str], liked: set[str]) -> float:
    """Binary NDCG (Järvelin and Kekäläinen 2002) of the first ten."""
    discounts = 1 / np.log2(np.arange(2, CUTOFF + 2))
    hits = np.array([movie in liked for movie in listed[:CUTOFF]], float)
    return float(hits @ discounts[: len(hits)] / discounts[: len(liked)].sum())


def interval(differences: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The 95% percentile bootstrap interval of a mean."""
    chance = np.random.default_rng(seed)
    means = [chance.choice(differences, len(differences)).mean() for _ in range(DRAWS)]
    return np.asarray(np.quantile(means, (0.025, 0.975)))


if __name__ == "__main__":
    main()
