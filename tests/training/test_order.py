"""Order counts where it tells what comes next, and nowhere else."""

from pathlib import Path
from unittest.mock import patch

import pytest

from lucid.training.order_choice import OrderConfig, OrderJudge
from lucid.training.report import read_report
from lucid.training.report_page import as_markdown
from lucid.versions.files import FOLLOWS, read_follows
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.walks import USERS, following, train_walks, write_walks


def live(workspace: Workspace, model_id: str) -> Version:
    return ModelVersions(workspace.settings.home, model_id).live()


def firsts(workspace: Workspace, model_id: str) -> list[str]:
    """The first item of every user."""
    table = workspace.recommend(model_id, source_type="user", target_type="item", max_recommendations=1)
    return table["target_id"].tolist()


def test_the_next_item_comes_first_where_order_tells_it(tmp_path: Path) -> None:
    """Nearly always, and hardly ever without order; the report shows what was found, the file holds it."""
    workspace = train_walks(Workspace(tmp_path / "home"), tmp_path)
    with patch.object(OrderJudge, "ordered", lambda _self, scorer, _held: (scorer, None)):
        workspace.train("plain")
    expected = [following(user) for user in range(USERS)]

    with_order, without = (
        sum(found == next_one for found, next_one in zip(firsts(workspace, model), expected, strict=True)) / USERS
        for model in ("walks", "plain")
    )

    assert with_order > 0.9
    assert without < 0.6
    version = live(workspace, "walks")
    (trial,) = read_report(version.folder).chosen.follows
    assert ("user", "item", True) == (trial.source_type, trial.target_type, trial.kept)
    assert trial.backward < 1
    assert trial.ordered > max(trial.plain, trial.shuffled)
    assert [("user", "item")] == list(version.follows)
    page = as_markdown(read_report(version.folder))
    assert "## What follows what" in page
    assert "what follows what |" in page
    assert {} == live(workspace, "plain").follows


@pytest.mark.parametrize("timed", [True, False], ids=["shuffled", "untimed"])
def test_order_that_tells_nothing_changes_no_answer(tmp_path: Path, timed: bool) -> None:
    """Answers are those of a training that does not look for order, to the last digit."""
    workspace = Workspace(tmp_path / "home")
    workspace.import_files(write_walks(tmp_path, shuffled=True, timed=timed))
    workspace.train("looked")
    with patch.object(OrderJudge, "ordered", lambda _self, scorer, _held: (scorer, None)):
        workspace.train("plain")

    asked = {"source_type": "user", "target_type": "item"}
    looked, plain = (workspace.recommend(model, **asked) for model in ("looked", "plain"))  # type: ignore[arg-type]

    assert plain.equals(looked)
    version = live(workspace, "looked")
    assert [False] * timed == [trial.kept for trial in read_report(version.folder).chosen.follows]
    assert {} == version.follows


def test_a_version_of_an_earlier_release_has_no_order(tmp_path: Path) -> None:
    """Its folder lacks the file."""
    workspace = Workspace(tmp_path / "home")
    workspace.import_files(write_walks(tmp_path, timed=False))
    workspace.train("m")
    version = live(workspace, "m")

    (version.folder / FOLLOWS).unlink()

    assert {} == read_follows(version.folder, version.config.entity_types)


def test_a_session_weighs_order_as_what_is_best_for_the_next_item(tmp_path: Path) -> None:
    """A source weighs it no more than that, and less where this ranks next items nearly as well."""
    workspace = train_walks(Workspace(tmp_path / "home"), tmp_path)

    model = live(workspace, "walks").config.pairs["user", "item"].follows

    assert model is not None
    assert OrderConfig().weights[0] == model.weight
    assert model.factor(in_session=True) > model.factor(in_session=False) > 0
