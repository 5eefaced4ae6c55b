"""How well the product ranks on public data sets: import, train, recommend to CSV, and an independent scorer.

Each task writes the training part of a split as CSV files, runs the product on them as a user would, and scores the
CSV that it gives. Baselines are measured on the same matrices in the same run: popularity, item-kNN (cosine, 100
neighbours), implicit's ALS, and EASE where the targets are few. Nothing here chooses anything: the product only sees
the training part.

Metrics: Recall@K and NDCG@K with binary relevance, full ranking, training targets masked, averaged over the sources
that have test targets (He et al. 2020).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from lucid.schema.recommendations import RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.serving.rendering import render
from lucid.training import run, steps
from lucid.versions.files import TIMINGS
from lucid.versions.precompute import precompute
from lucid.workspace import Workspace

Edges = pd.DataFrame
"""Columns type, source_id, target_id, timestamp, metadata."""

EASE_TARGETS = 12_000
"""EASE inverts a dense matrix of this many targets at most."""


@dataclass(frozen=True)
class Question:
    """What is asked of one pair: test targets of each source, and which targets compete (None: all of the type)."""

    source_type: str
    target_type: str
    test: Edges
    cutoff: int
    goal: str
    known: Edges = field(default_factory=lambda: pd.DataFrame(columns=["source_id", "target_id"]))
    """Pairs of the training part, which are masked."""
    among: frozenset[str] | None = None
    deeper: int = 0
    """How many more are asked for: the product masks interactions, not what two of them imply."""
    baselines: Sequence[str] = ("popularity", "item-kNN", "ALS", "EASE")


@dataclass(frozen=True)
class Task:
    """A data set with a split: what is imported, and what is asked."""

    name: str
    entities: Edges
    interactions: Edges
    questions: list[Question]
    published: str = ""


# Data


def read(folder: Path, *names: str) -> pd.DataFrame:
    """CSV files as text, one after the other."""
    return pd.concat([pd.read_csv(folder / f"{name}.csv.gz", dtype=str, keep_default_na=False) for name in names])


def with_split(folder: Path, split: str, parts: Sequence[str], relation: str) -> tuple[Edges, Edges]:
    """All interactions, those of one relation only where the split's training parts name them; and the test part."""
    every = read(folder, "interactions")
    pairs = read(folder / "splits" / split, *parts)
    test = read(folder / "splits" / split, "test")
    kept = every.merge(pairs, on=["source_id", "target_id"])
    return pd.concat([every[every["type"] != relation], kept[kept["type"] == relation]]), test


def gowalla(data: Path) -> Task:
    folder = data / "gowalla"
    train, test = with_split(folder, "lightgcn", ["train"], "checked_in")
    question = Question("user", "place", test, 20, "R@20 >= .1950, N@20 >= .1635", train)
    published = "LightGCN .1830/.1554, UltraGCN .1862/.1580, BSPM-EM .1920/.1597"
    return Task("gowalla (lightgcn)", read(folder, "entities"), train, [question], published)


def ml_1m(data: Path) -> Task:
    folder = data / "ml-1m"
    train, test = with_split(folder, "inf-ae", ["train", "valid"], "rated")
    question = Question("user", "movie", test, 10, "N@10 >= .352", train[train["type"] == "rated"])
    return Task("ml-1m (inf-ae, train + valid)", read(folder, "entities"), train, [question], "inf-AE .3282 (N@10)")


def dbbook(data: Path) -> Task:
    folder = data / "dbbook2014"
    train, test = with_split(folder, "cikgrec", ["train"], "liked")
    question = Question("user", "book", test, 20, "R@20 >= .335, N@20 >= .230", train)
    interactions = pd.concat([train, read(folder, "kg")])
    return Task("dbbook2014 (cikgrec)", read(folder, "entities", "kg_entities"), interactions, [question])


def cold_books(data: Path) -> Task:
    """A tenth of the books lose all their interactions; only the knowledge graph tells of them."""
    folder = data / "dbbook2014"
    every = read(folder, "interactions")
    books = np.sort(every["target_id"].unique())
    cold = frozenset(np.random.default_rng(0).choice(books, len(books) // 10, replace=False))
    withheld = every["target_id"].isin(cold)
    question = Question("user", "book", every[withheld], 20, "R@20 >= .42", every[~withheld], cold, baselines=())
    interactions = pd.concat([every[~withheld], read(folder, "kg")])
    return Task("dbbook2014, cold books", read(folder, "entities", "kg_entities"), interactions, [question])


def lastfm(data: Path) -> Task:
    """A fifth of each relation withheld at random, in both directions at once."""
    folder = data / "lastfm-hetrec"
    every = pd.concat([read(folder, "interactions"), read(folder, "kg")])
    ends = np.sort(every[["source_id", "target_id"]].to_numpy(str), axis=1)
    pairs, place = np.unique(ends, axis=0, return_inverse=True)
    withheld = (np.random.default_rng(0).random(len(pairs)) < 0.2)[place.ravel()]
    goals = {
        ("user", "artist"): "N@20 >= .300",
        ("artist", "tag"): "N@20 >= .280",
        ("tag", "artist"): "N@20 >= .165",
        ("artist", "user"): "N@20 >= .225",
        ("user", "user"): "above co-occurrence",
    }
    entities = read(folder, "entities", "kg_entities")
    kinds = entities.drop_duplicates("id", keep="last").set_index("id")["type"]
    questions = [
        Question(
            *pair,
            between(every[withheld], kinds, *pair),
            20,
            goal,
            between(every[~withheld], kinds, *pair),
            baselines=("popularity", "item-kNN"),
        )
        for pair, goal in goals.items()
    ]
    return Task("lastfm-hetrec, 20% of every relation withheld", entities, every[~withheld], questions)


def dblp(data: Path) -> Task:
    """A tenth of each relation withheld."""
    folder = data / "dblp-hin"
    every = read(folder, "interactions")
    withheld = np.random.default_rng(0).random(len(every)) < 0.1
    entities = read(folder, "entities")
    kinds = entities.drop_duplicates("id", keep="last").set_index("id")["type"]
    # Authors reach venues and terms through their papers, so what is asked is what withheld papers would tell.
    wrote = every[every["type"] == "wrote"]
    papers = wrote[["source_id", "target_id"]].set_axis(["author", "paper"], axis=1)
    questions = [
        Question(
            "paper",
            "term",
            between(every[withheld], kinds, "paper", "term"),
            10,
            "N@10 above popularity",
            between(every[~withheld], kinds, "paper", "term"),
            baselines=("popularity",),
        )
    ]
    for kind in ("venue", "term"):
        hidden = between(every[withheld], kinds, "paper", kind).rename(columns={"source_id": "paper"})
        shown = between(every[~withheld], kinds, "paper", kind).rename(columns={"source_id": "paper"})
        test, known = (
            papers.merge(part, on="paper")[["author", "target_id"]]
            .drop_duplicates()
            .set_axis(["source_id", "target_id"], axis=1)
            for part in (hidden, shown)
        )
        new = test.merge(known, how="left", indicator=True).query("_merge == 'left_only'")[["source_id", "target_id"]]
        questions.append(
            Question("author", kind, new, 10, "N@10 above popularity", known, deeper=300, baselines=("popularity",))
        )
    return Task("dblp-hin, 10% of every relation withheld", entities, every[~withheld], questions)


def between(edges: Edges, kinds: pd.Series, source_type: str, target_type: str) -> Edges:
    """Pairs of ids from one type to another, whichever way they were uploaded, each once."""
    ends = edges[["source_id", "target_id"]].reset_index(drop=True)
    types = ends["source_id"].map(kinds), ends["target_id"].map(kinds)
    forward = ends[(types[0] == source_type) & (types[1] == target_type)]
    backward = ends[(types[1] == source_type) & (types[0] == target_type)]
    turned = backward.rename(columns={"source_id": "target_id", "target_id": "source_id"})
    return pd.concat([forward, turned]).drop_duplicates()


TASKS: dict[str, Callable[[Path], Task]] = {
    "gowalla": gowalla,
    "ml-1m": ml_1m,
    "dbbook": dbbook,
    "cold": cold_books,
    "lastfm": lastfm,
    "dblp": dblp,
}


# The product


@dataclass(frozen=True)
class Run:
    """One run of the product: seconds of each stage, and its recommendations by question."""

    seconds: dict[str, float]
    report: dict[str, object]
    answers: list[pd.DataFrame]


def import_task(task: Task, folder: Path) -> Workspace:
    """A workspace in a folder that holds the training part."""
    workspace = Workspace(folder / "home")
    workspace.import_files(write_task(task, folder))
    return workspace


def write_task(task: Task, folder: Path) -> list[Path]:
    """Write the training part as CSV files into a folder."""
    files = []
    for name, table in (("entities", task.entities), ("interactions", task.interactions)):
        files.append(folder / f"{name}.csv")
        table.to_csv(files[-1], index=False)
    return files


def run_product(task: Task, folder: Path) -> Run:
    """Import, train, and recommend to CSV; nothing is computed ahead, which changes no answer."""
    workspace = import_task(task, folder)
    began = time.perf_counter()
    with run.working_on(workspace.settings, TrainingRequest(model_id="bench")) as trained:
        for step in steps.TRAINING:
            if step.stage not in ("precompute", "publish"):
                step(trained)
        stages = json.loads((trained.folder / TIMINGS).read_text())
        precompute(trained.made, [], lambda _percent, _doing: None)
        steps.publish(trained)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    answers = [recommend(workspace, question, folder / "answer.csv") for question in task.questions]
    return Run({**stages, "whole": whole, "answer": time.perf_counter() - began}, workspace.report("bench"), answers)


def recommend(workspace: Workspace, question: Question, path: Path) -> pd.DataFrame:
    """Recommendations of all sources of a question, read back from CSV."""
    many = question.cutoff + question.deeper if question.among is None else 10_000
    query = RecommendationQuery(
        model_id="bench",
        source_id=sorted(question.test["source_id"].unique()),
        target_type=[question.target_type],
        max_recommendations=many,
        output_format="csv",
    )
    with path.open("wb") as file:
        file.writelines(render(workspace.answer(query), "csv"))
    return pd.read_csv(path, dtype={"source_id": str, "target_id": str}, usecols=["source_id", "target_id", "rank"])


# The scorer: knows nothing of the product


def score(question: Question, ranked: pd.DataFrame) -> tuple[float, float]:
    """Recall and NDCG of ranked lists (source_id, target_id, rank); a source without a list counts zero."""
    known = set(map(tuple, question.known[["source_id", "target_id"]].to_numpy()))
    lists: dict[str, list[str]] = {}
    for source, target in ranked.sort_values(["source_id", "rank"])[["source_id", "target_id"]].to_numpy():
        allowed = question.among is None or target in question.among
        if allowed and (source, target) not in known:
            lists.setdefault(source, []).append(target)
    recalls, gains = [], []
    for source, rows in question.test.groupby("source_id"):
        wanted = set(rows["target_id"])
        hits = [target in wanted for target in lists.get(str(source), [])[: question.cutoff]]
        discounts = 1 / np.log2(np.arange(2, question.cutoff + 2))
        recalls.append(sum(hits) / len(wanted))
        gains.append(float(np.dot(hits, discounts[: len(hits)])) / discounts[: min(len(wanted), question.cutoff)].sum())
    return float(np.mean(recalls)), float(np.mean(gains))


# Baselines on the same matrices


def baselines(question: Question) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """Name, ranked lists and seconds to fit, of each baseline."""
    sources = np.sort(pd.concat([question.known["source_id"], question.test["source_id"]]).unique())
    targets = np.sort(pd.concat([question.known["target_id"], question.test["target_id"]]).unique())
    row, column = pd.Index(sources), pd.Index(targets)
    index = row.get_indexer(question.known["source_id"]), column.get_indexer(question.known["target_id"])
    seen = sparse.csr_matrix((np.ones(len(index[0]), np.float32), index), shape=(len(sources), len(targets)))
    seen.data[:] = 1
    asked = row.get_indexer(question.test["source_id"].unique())
    for name in question.baselines:
        if name == "EASE" and len(targets) > EASE_TARGETS:
            continue
        began = time.perf_counter()
        scores = _BASELINES[name](seen)
        seconds = time.perf_counter() - began
        yield name, ranked_lists(scores, seen, asked, sources, targets, question.cutoff), seconds


def ranked_lists(
    scores: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    seen: sparse.csr_matrix,
    asked: NDArray[np.int64],
    sources: NDArray[np.str_],
    targets: NDArray[np.str_],
    cutoff: int,
) -> pd.DataFrame:
    parts = []
    for start in range(0, len(asked), 500):
        rows = asked[start : start + 500]
        table = np.array(scores(rows), dtype=np.float32)
        table[seen[rows].nonzero()] = -np.inf
        best = np.argpartition(-table, min(cutoff, table.shape[1] - 1), axis=1)[:, :cutoff]
        order = np.argsort(-np.take_along_axis(table, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        parts.append(
            pd.DataFrame(
                {
                    "source_id": np.repeat(sources[rows], best.shape[1]),
                    "target_id": targets[best.ravel()],
                    "rank": np.tile(np.arange(best.shape[1]), len(rows)),
                }
            )
        )
    return pd.concat(parts)


Scores = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def popularity(seen: sparse.csr_matrix) -> Scores:
    counts = np.asarray(seen.sum(axis=0)).ravel()
    return lambda rows: np.tile(counts, (len(rows), 1))


def item_knn(seen: sparse.csr_matrix) -> Scores:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=100, num_threads=2)
    model.fit(seen, show_progress=False)
    return lambda rows: (seen[rows] @ model.similarity).toarray()


def als(seen: sparse.csr_matrix) -> Scores:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    model = AlternatingLeastSquares(factors=256, iterations=10, num_threads=2, random_state=0)
    with threadpool_limits(1, "blas"):  # as implicit asks for: its own threads are faster
        model.fit(seen, show_progress=False)
    return lambda rows: model.user_factors[rows] @ model.item_factors.T


def ease(seen: sparse.csr_matrix) -> Scores:
    """Steck 2019, lambda 1000."""
    gram = (seen.T @ seen).toarray().astype(np.float64)
    inverse = np.linalg.inv(gram + 1000 * np.eye(len(gram)))
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return lambda rows: seen[rows] @ weights


_BASELINES: dict[str, Callable[[sparse.csr_matrix], Scores]] = {
    "popularity": popularity,
    "item-kNN": item_knn,
    "ALS": als,
    "EASE": ease,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", choices=sorted(TASKS), default=list(TASKS))
    arguments = parser.parse_args()
    for name in arguments.only:
        task = TASKS[name](arguments.data)
        print(f"\n## {task.name}\n", flush=True)
        if task.published:
            print(f"Published: {task.published}\n")
        with tempfile.TemporaryDirectory() as folder:
            run = run_product(task, Path(folder))
        fitting = run.seconds["whole"]
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in run.seconds.items())
        print(f"Training without precomputation: {fitting:.1f} s ({stages})\n")
        print("| pair | who | recall | NDCG | seconds | goal |\n|---|---|---:|---:|---:|---|")
        for question, answer in zip(task.questions, run.answers, strict=True):
            pair = f"{question.source_type} → {question.target_type} @{question.cutoff}"
            recall, ndcg = score(question, answer)
            print(f"| {pair} | **Lucid** | {recall:.4f} | {ndcg:.4f} | {fitting:.1f} | {question.goal} |", flush=True)
            for who, ranked, seconds in baselines(question):
                recall, ndcg = score(question, ranked)
                print(f"| {pair} | {who} | {recall:.4f} | {ndcg:.4f} | {seconds:.1f} | |", flush=True)
        judged = run.report["pairs"]
        assert isinstance(judged, list)
        errors = {f"{pair['source_type']} → {pair['target_type']}": pair["calibration_error"] for pair in judged}
        print("\nCalibration error: " + ", ".join(f"{pair} {error:.4f}" for pair, error in errors.items()))
        chosen = run.report["chosen"]
        assert isinstance(chosen, dict)
        print(f"Chosen: { ({key: value for key, value in chosen.items() if key != 'tried'}) }", flush=True)


if __name__ == "__main__":
    main()
