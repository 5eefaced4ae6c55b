"""A home that an earlier release has written answers as it did there."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lucid.workspace import Workspace

FIXTURES = Path(__file__).parent.parent / "fixtures"
RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in FIXTURES.glob("home-*.tar.xz"))
"""Each was written by the release that it names: a training, a refresh of it, and uploads since; its `.json` holds
queries with the rows that the same release gave."""


def rows(answers: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Without their scores, which `scores` has."""
    return [[{**row, "score": None} for row in answer["rows"]] for answer in answers]


def scores(answers: list[dict[str, Any]]) -> list[float]:
    return [row["score"] for answer in answers for row in answer["rows"]]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def earlier(release: str, tmp_path: Path) -> Workspace:
    with tarfile.open(FIXTURES / f"{release}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return Workspace(tmp_path / "home")


def test_versions_of_an_earlier_release_answer_as_they_did(earlier: Workspace, release: str) -> None:
    """Looked up, scored at once, folded in, mixed, filtered and explained: ids, scores and shares are the same.

    Scores are, but for single precision: processors sum in different orders.
    The score of an earlier release was the chance of a hit in percent.
    """
    expected = json.loads((FIXTURES / f"{release}.json").read_text())
    found = []
    for answer in expected:
        table = earlier.recommend("videos", **answer["query"])
        assert np.allclose(table.pop("probability"), table["score"] / 100, atol=1e-6)
        found.append({"rows": json.loads(table.to_json(orient="records"))})

    assert rows(expected) == rows(found)
    assert np.allclose(scores(expected), scores(found), rtol=1e-5, atol=1e-5)


def test_a_home_of_an_earlier_release_is_sound(earlier: Workspace) -> None:
    """All that it has published is as it was published, to this release too."""
    assert {"ok"} == {finding.state for finding in earlier.check()}


def test_a_model_of_an_earlier_release_is_trained_again_from_its_settings(earlier: Workspace) -> None:
    """The settings of its live version are what the next training begins with, and the next version answers."""
    before = earlier.model("videos").live_version

    trained = earlier.train("videos")

    assert ("completed", before) == (trained.status, trained.version - 1)
