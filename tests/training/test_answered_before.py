"""What answered before is judged on what it cannot know, and so is the version that is being trained."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lucid.verify import verify
from lucid.workspace import Workspace

USERS, ITEMS = 120, 40
Seen = set[tuple[str, str]]


def write(folder: Path, name: str, day: int, each: int, seed: int, known: Seen) -> Path:
    """Interactions after a day: each user with items of one half, mostly, that the user has not yet."""
    rng = random.Random(seed)
    lines = ["type,source_id,target_id,timestamp,metadata"]
    for user in range(USERS):
        own = [item for item in range(ITEMS) if (f"u{user}", f"i{item}") not in known]
        weights = [8 if item % 2 == user % 2 else 1 for item in own]
        for place, item in enumerate(dict.fromkeys(rng.choices(own, weights, k=each))):
            moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day + place)
            known.add((f"u{user}", f"i{item}"))
            lines.append(f"likes,u{user},i{item},{moment.isoformat()},")
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Seen, Path]:
    """A model that was trained twice, the second time with later interactions; and what it knew at the first time."""
    folder = tmp_path_factory.mktemp("twice")
    workspace = Workspace(folder / "home")
    known: Seen = set()
    entities = ["id,type,name,metadata,media_url"]
    entities += [f"u{user},user,,," for user in range(USERS)] + [f"i{item},item,,," for item in range(ITEMS)]
    (folder / "entities.csv").write_text("\n".join(entities) + "\n")
    workspace.import_files([folder / "entities.csv", write(folder, "first.csv", 0, 8, 1, known)])
    workspace.train("board")
    before = set(known)
    workspace.import_files(write(folder, "second.csv", 100, 3, 2, known))
    workspace.train("board")
    return workspace, before, folder


def lines_of(trained: tuple[Workspace, Seen, Path]) -> list[dict[str, Any]]:
    workspace, _, folder = trained
    workspace.held_out("board", folder / "held_out.gz")
    return [json.loads(line) for line in gzip.decompress((folder / "held_out.gz").read_bytes()).splitlines()]


def test_no_source_is_judged_of_which_the_version_before_knew_what_is_withheld(
    trained: tuple[Workspace, Seen, Path],
) -> None:
    """By the files that it was trained on; and its lists hold neither that nor what is known now."""
    _, before, _ = trained
    lines = lines_of(trained)
    judged = [line for line in lines if "answered_before" in line and "source" in line and line["source"][0] == "u"]

    assert len(judged) >= 20
    for line in judged:
        assert not {(line["source"], item) for item in line["withheld"]} & before
        assert not {(line["source"], item) for item in line["answered_before"]} & before


def test_both_versions_stand_beside_each_other_with_intervals(trained: tuple[Workspace, Seen, Path]) -> None:
    """On the same sources, and anybody can compute it again."""
    workspace, _, folder = trained
    judged = [line for line in lines_of(trained) if "answered_before" in line and "source" in line]
    pair = next(one for one in workspace.report("board")["pairs"] if one["source_type"] == "user")

    before = pair["figures"]["answered_before"]

    assert (1, None) == (before["version"], before["reason"])
    assert before["sources"] == sum(line["source"][0] == "u" for line in judged) <= pair["model"]["sources"]
    difference = before["difference"]["ndcg@10"]
    means = [before[who]["ndcg@10"]["mean"] for who in ("model", "before")]
    assert pytest.approx(means[0] - means[1], abs=1e-7) == difference["mean"]
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert [] == verify(folder / "held_out.gz")[1]


def test_a_first_training_has_nothing_before_it(trained: tuple[Workspace, Seen, Path]) -> None:
    """And says so."""
    workspace, _, _ = trained

    assert [None] == list({pair["figures"]["answered_before"] for pair in workspace.report("board", 1)["pairs"]})
