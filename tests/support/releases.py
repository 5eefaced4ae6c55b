"""Homes that earlier releases have written, and what the same releases answered from them."""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent.parent / "fixtures"
RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in FIXTURES.glob("home-*.tar.xz"))
"""Each was written by the release that it names: a training, a refresh of it, and uploads since. `home-2026-11-27` also
by its service: keys, a batch with rows that were set aside, and Prefect's database with schedules of the model."""

Rows = list[dict[str, Any]]


def unpack(release: str, folder: Path) -> Path:
    """The home, in a folder."""
    with tarfile.open(FIXTURES / f"{release}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "home"


def answers_of(release: str) -> list[dict[str, Any]]:
    """Queries, each with the rows that the release gave."""
    answers: list[dict[str, Any]] = json.loads((FIXTURES / f"{release}.json").read_text())
    return answers


def expect_same(expected: Sequence[dict[str, Any]], found: Sequence[Rows]) -> None:
    """Compare answers with those of a release: the same but for single precision, as processors sum in any order."""
    for answer, rows in zip(expected, found, strict=True):
        before = [_with_probability(row) for row in answer["rows"]]
        assert [_named(row) for row in before] == [_named(row) for row in rows]
        assert np.allclose(_figures(before), _figures(rows), rtol=1e-5, atol=1e-5)


def _with_probability(row: dict[str, Any]) -> dict[str, Any]:
    """The score of release 0.1.0 was the chance of a hit in percent."""
    return {"probability": row["score"] / 100, **row}


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("score", "probability")}


def _figures(rows: Rows) -> list[tuple[float, float]]:
    return [(row["score"], row["probability"]) for row in rows]
