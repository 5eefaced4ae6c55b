"""A home that an earlier release has written answers as it did there."""

import json
from pathlib import Path

import pytest

from lucid.cli import quality_table
from lucid.errors import OutdatedVersion
from lucid.workspace import Workspace
from tests.support.releases import RELEASES, answers_of, expect_same, unpack


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def earlier(release: str, tmp_path: Path) -> Workspace:
    return Workspace(unpack(release, tmp_path))


def test_versions_of_an_earlier_release_answer_as_they_did(earlier: Workspace, release: str) -> None:
    """Looked up, scored at once, folded in, mixed, filtered and explained: ids, scores and shares are the same."""
    expect_same(
        answers_of(release),
        [
            json.loads(earlier.recommend("videos", **answer["query"]).to_json(orient="records"))
            for answer in answers_of(release)
        ],
    )


def test_a_home_of_an_earlier_release_is_sound(earlier: Workspace) -> None:
    """All that it has published is as it was published, to this release too."""
    assert {"ok"} == {finding.state for finding in earlier.check()}


def test_a_report_of_an_earlier_release_is_shown_without_what_it_does_not_tell(
    earlier: Workspace, tmp_path: Path
) -> None:
    """Its figures stand there without intervals; of held-out pairs it kept none, and says so."""
    report = earlier.report("videos")

    assert report["pairs"]
    assert {None} == {pair["figures"] for pair in report["pairs"]}
    shown = [f"{pair['model']['ndcg']:.3f}" for pair in report["pairs"]]
    assert shown == list(quality_table(report).columns[2].cells)
    with pytest.raises(OutdatedVersion, match="kept no held-out pairs; train the model again"):
        earlier.held_out("videos", tmp_path / "held_out.gz")
    assert not (tmp_path / "held_out.gz").exists()


def test_a_model_of_an_earlier_release_is_trained_again_from_its_settings(earlier: Workspace) -> None:
    """The settings of its live version are what the next training begins with, and the next version answers."""
    before = earlier.model("videos").live_version

    trained = earlier.train("videos")

    assert ("completed", before) == (trained.status, trained.version - 1)
