"""How often the gate holds a training back that is as good as the one before, and whether it holds what is worse.

    python -m benchmarks.gate [--data folder] [--only ml-latest-small] [--trainings 15]

Each training learns from nine tenths of the same interactions, drawn anew, and each is compared with each other one:
all that is held is a false alarm. Then two that are worse: on targets that were permuted among all interactions, and on
the latest month alone, which is nearly empty. The data are the generated catalogue and, with the folder of the data
sets, its ml-latest-small.
"""

import argparse
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from rich.console import Console
from rich.table import Table

from lucid.demo.catalogue import generate
from lucid.schema.fields import utc_now
from lucid.schema.gate import GateRequest
from lucid.settings import Settings
from lucid.training.gate import reasons
from lucid.versions.version import Version
from lucid.workspace import Workspace

USERS = 1_000
OF_TEN = 9
"""Tenths of the interactions that a training learns from."""
MONTH_DAYS = 30
_COLUMNS = "type, source_id, target_id, timestamp, metadata"
_LEFT_IN_MONTH = 200


def catalogue(folder: Path) -> tuple[Path, str]:
    """The generated catalogue: its entities, and SQL that reads its interactions."""
    files = generate(folder, users=USERS)
    return files.entities, f"SELECT {_COLUMNS} FROM read_csv('{files.interactions}', all_varchar=true)"


def movielens(data: Path) -> tuple[Path, str]:
    """The same of ml-latest-small."""
    entities, interactions = (data / "ml-latest-small" / f"{name}.csv.gz" for name in ("entities", "interactions"))
    return entities, f"SELECT {_COLUMNS} FROM read_csv('{interactions}', all_varchar=true)"


class Trained:
    """Trainings of one data set, without a gate between them."""

    def __init__(self, folder: Path, entities: Path, interactions: str) -> None:
        self._folder, self._interactions = folder, interactions
        self._workspace = Workspace(settings=Settings(home=folder / "home", keep_versions=1_000))
        self._workspace.import_files([entities], tags=["entities"])
        self._trained = False

    def train(self, name: str, query: str, days: int | None = None) -> Version:
        """Train on what a query makes of the `interactions`."""
        file = self._folder / f"{name}.csv"
        duckdb.execute(f"COPY (WITH interactions AS ({self._interactions}) {query}) TO '{file}' (HEADER)")
        self._workspace.import_files([file], tags=[name])
        status = self._workspace.train("model", data_tags=["entities", name], maximum_interaction_age_days=days)
        if not self._trained:
            self._workspace.set_gate("model", enabled=False)
            self._trained = True
        return Version(self._workspace.settings.home, "model", status.version)


def resampled(number: int) -> str:
    return f"SELECT * FROM interactions WHERE hash(source_id, target_id, timestamp, {number}) % 10 < {OF_TEN}"


SHUFFLED = (
    "SELECT a.type, a.source_id, b.target_id, a.timestamp, a.metadata "
    "FROM (SELECT *, row_number() OVER (ORDER BY hash(source_id, target_id, 1)) AS place FROM interactions) a "
    "JOIN (SELECT target_id, row_number() OVER (ORDER BY hash(source_id, target_id, 2)) AS place FROM interactions) b "
    "USING (place)"
)


def empty_month() -> str:
    """All interactions lie before the latest month, but for a few."""
    now, month = utc_now().timestamp(), timedelta(days=MONTH_DAYS).total_seconds()
    return (
        f"SELECT type, source_id, target_id, ({now:.0f} - CASE WHEN place <= {_LEFT_IN_MONTH} THEN {month / 2:.0f} "
        f"ELSE {2 * month:.0f} END)::BIGINT::VARCHAR AS timestamp, metadata "
        "FROM (SELECT *, row_number() OVER (ORDER BY hash(source_id, target_id, 3)) AS place FROM interactions)"
    )


def why(live: Version, made: Version) -> list[str]:
    return list(reasons(Version(live.home, live.model_id, live.number), made, GateRequest()))


def measure(trained: Trained, trainings: int) -> Iterator[tuple[str, str]]:
    began = time.perf_counter()
    alike = [trained.train(f"resampled {number}", resampled(number)) for number in range(trainings)]
    seconds = (time.perf_counter() - began) / trainings
    began = time.perf_counter()
    held = [found for live in alike for made in alike if live != made and (found := why(live, made))]
    comparisons = trainings * (trainings - 1)
    looked = (time.perf_counter() - began) / comparisons
    yield "a training", f"{seconds:.1f} s"
    yield "looking whether it may go live", f"{looked:.2f} s"
    yield "resampled, held", f"{len(held)} of {comparisons} ({len(held) / comparisons:.1%})"
    for found in held[:3]:
        yield "  because", "; ".join(found)
    for name, made in (
        ("shuffled targets", trained.train("shuffled", SHUFFLED)),
        ("empty month", trained.train("empty month", empty_month(), MONTH_DAYS)),
    ):
        each = [why(live, made) for live in alike]
        yield f"{name}, held", f"{sum(map(bool, each))} of {trainings}"
        yield "  because", "; ".join(each[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", action="append", choices=["catalogue", "ml-latest-small"])
    parser.add_argument("--trainings", type=int, default=15)
    arguments = parser.parse_args()
    out = Console(width=180)
    for name in arguments.only or ("catalogue", *(["ml-latest-small"] if arguments.data else [])):
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            data = catalogue(folder) if name == "catalogue" else movielens(arguments.data)
            table = Table("what", name)
            for row in measure(Trained(folder, *data), arguments.trainings):
                out.print(*row, markup=False)
                table.add_row(*row)
            out.print(table)


if __name__ == "__main__":
    main()
