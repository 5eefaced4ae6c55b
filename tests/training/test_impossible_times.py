"""Time that cannot be, at training: a handful of such times, future or past, changes no answer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from lucid.schema.batches import Batch
from lucid.schema.training import TrainingRequest
from lucid.store.home import Home
from lucid.versions.uploads import uploads_since
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.conftest import WriteCsv
from tests.support.seasons import LATEST_ITEMS, follows, purchases, write_seasons

pytestmark = pytest.mark.slow
STAND_IN = "1991-02-03T04:05:06Z"
"""In a file where a time stands that no import takes today; see `put_times`."""


def trained(folder: Path, outliers: Sequence[tuple[str, str, str]], moment: str) -> Workspace:
    """A workspace with seasons and a few interactions (type, source, target) of one moment, from an older import."""
    workspace = Workspace(folder / "home")
    rows = [*purchases(), *follows(), *((*outlier, STAND_IN, "") for outlier in outliers)]
    _, batch = workspace.import_files(list(write_seasons(folder, rows)))
    put_times(workspace, batch, moment)
    workspace.train("shop")
    return workspace


def put_times(workspace: Workspace, batch: Batch, moment: str) -> None:
    """Replace the stand-in in a batch's rows by a moment, without asking whether it can be."""
    path = Home(workspace.settings.home).batch(batch.batch_id) / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TABLE rows AS SELECT * REPLACE (CASE WHEN timestamp = TIMESTAMPTZ '{STAND_IN}' "
            f"THEN TIMESTAMPTZ '{moment}' ELSE timestamp END AS timestamp) FROM read_parquet(?)",
            [str(path)],
        )
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")


def first_ten(workspace: Workspace) -> pd.DataFrame:
    return workspace.recommend("shop", source_type="user", target_type="item", max_recommendations=10)


def share_of_latest(answers: pd.DataFrame) -> float:
    return float(answers["target_id"].isin(LATEST_ITEMS).mean())


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The answers without a time that cannot be."""
    return first_ten(trained(tmp_path_factory.mktemp("usual"), [], STAND_IN))


BUY, MANY = [("buy", "u0", "i0_0")], [("buy", f"u{user}", "i0_0") for user in range(20)]
FOLLOW = [("follow", f"u{user}", f"u{user + 9}") for user in range(3)]


@pytest.mark.parametrize(
    ("moment", "outliers"),
    [
        ("2300-01-01", BUY),
        ("2099-06-01", FOLLOW),
        ("2300-01-01", FOLLOW),
        ("1970-01-01", BUY),
        ("1970-01-01", MANY),
        ("1970-01-01", FOLLOW),
        ("0001-01-01", MANY[:5]),
        ("9999-12-31", MANY[:5]),
    ],
)
def test_a_handful_of_times_that_cannot_be_changes_no_answer(
    usual: pd.DataFrame, tmp_path: Path, moment: str, outliers: Sequence[tuple[str, str, str]]
) -> None:
    """Whatever the time, how many have it, and in which relation."""
    answers = first_ten(trained(tmp_path, outliers, moment))

    both = usual.merge(answers, on=["source_id", "target_id"])
    assert share_of_latest(usual) > 0.9
    assert share_of_latest(usual) == pytest.approx(share_of_latest(answers), abs=0.02)
    assert len(both) >= 0.97 * len(usual)


def test_the_report_counts_times_after_the_start_of_the_training(tmp_path: Path) -> None:
    """With examples, as a step that removes rows."""
    workspace = trained(tmp_path, MANY[:5], "2300-01-01")

    steps = {step["step"]: step for step in workspace.report("shop")["steps"]}

    told = steps["interactions: not from after the start of the training"]
    assert (5, ["2300-01-01T00:00:00Z"]) == (told["removed"], told["examples"])


def test_a_time_that_cannot_be_is_not_folded_in(
    tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """By the same rule as at training."""
    workspace = trained(tmp_path / "shop", [], STAND_IN)
    rows = [("buy", "late", "i4_1", STAND_IN), ("buy", "late", "i4_3"), ("buy", "u0", "i4_5", STAND_IN)]
    workspace.import_files([entities_csv(("late", "user"))])
    (batch,) = workspace.import_files([interactions_csv(*rows)])
    put_times(workspace, batch, "2300-01-01")

    version = Version(workspace.settings.home, "shop", 1)
    found = uploads_since(version, TrainingRequest(model_id="shop"), now=datetime.now(UTC))

    assert [version.index.row("i4_3")] == found.by_id["late"].rows.tolist()
    assert version.index.row("u0") not in found.by_row


def test_ages_count_from_when_the_data_end_and_not_from_today(tmp_path: Path) -> None:
    """Data of long ago keep the weights that they had: their newest interactions have no age."""
    version = Version(trained(tmp_path, MANY[:5], "1970-01-01").settings.home, "shop", 1)

    newest = datetime.fromtimestamp(version.origin.newest or 0, UTC)

    assert datetime(2022, 9, 1, tzinfo=UTC) < newest < datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=365 * 5)
