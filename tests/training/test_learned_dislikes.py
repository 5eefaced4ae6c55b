"""A type that nobody names is a dislike where people keep away, by all else that they do, from what is like it."""

import csv
import random
from pathlib import Path
from typing import Any, Literal

import pytest

from lucid.training.steps import refresh
from lucid.workspace import Workspace

USERS, ITEMS, CAMPS = 400, 240, 4
CLICKS, MARKS = 12, 5

Where = Literal["elsewhere", "at home", "anywhere"]


def write(folder: Path, where: Where, *, clicks: int = CLICKS, marks: int = MARKS) -> list[Path]:
    """Users click mostly in their own camp, and mark with `x17` in the one that nobody of theirs clicks in; or at home,
    or anywhere."""
    rng, rows = random.Random(5), []
    for user in range(USERS):
        marked = {"elsewhere": (user + 1) % CAMPS, "at home": user % CAMPS, "anywhere": None}[where]
        for kind, count, camp in (("clicked", clicks, user % CAMPS), ("x17", marks, marked)):
            for _ in range(count):
                other = camp if camp is not None and rng.random() < 0.85 else rng.randrange(CAMPS)
                rows.append((kind, f"u{user}", f"i{other}-{rng.randrange(ITEMS // CAMPS)}", "", ""))
    items = [f"i{camp}-{number}" for camp in range(CAMPS) for number in range(ITEMS // CAMPS)]
    entities = [
        *((f"u{user}", "user", "", "", "") for user in range(USERS)),
        *((one, "item", "", "", "") for one in items),
    ]
    for name, header, lines in (
        ("entities.csv", ("id", "type", "name", "metadata", "media_url"), entities),
        ("interactions.csv", ("type", "source_id", "target_id", "timestamp", "metadata"), rows),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *lines])
    return [folder / "entities.csv", folder / "interactions.csv"]


def trained(workspace: Workspace, folder: Path, where: Where, asked: Any = None, **more: int) -> dict[str, Any]:
    """What the report of a training on such data says of `x17`."""
    workspace.import_files(write(folder, where, **more))
    workspace.train("m", interaction_rules=asked)
    (rule,) = [rule for rule in workspace.report("m")["strengths"] if rule["type"] == "x17"]
    return dict(rule)


def marked(folder: Path) -> set[tuple[str, str]]:
    with (folder / "interactions.csv").open(newline="") as file:
        return {(row["source_id"], row["target_id"]) for row in csv.DictReader(file) if row["type"] == "x17"}


def known(workspace: Workspace, **asked: Any) -> set[tuple[str, str]]:
    """Pairs that are recommended where what is known may come again."""
    found = workspace.recommend(
        "m", source_type="user", target_type="item", max_recommendations=ITEMS, exclude_interacted=False, **asked
    )
    return set(zip(found["source_id"], found["target_id"], strict=True))


def test_what_is_kept_away_from_is_a_dislike(workspace: Workspace, tmp_path: Path) -> None:
    """So it is neither recommended again nor counted as popular, also after a refresh; the report says how it is
    known."""
    rule = trained(workspace, tmp_path, "elsewhere")

    assert ("dislike", None, False) == (rule["meaning"], rule["weight"], rule["is_asked"])
    assert rule["reason"].startswith("learned: ")
    assert USERS * ITEMS == len(known(workspace, exclude_disliked=False))
    assert not marked(tmp_path) & known(workspace)

    refresh(workspace.settings, "m")

    assert not marked(tmp_path) & known(workspace)


def test_its_kin_is_pushed_down(workspace: Workspace, tmp_path: Path) -> None:
    """Beside a training that is told to count all alike."""

    def share() -> float:
        """Of the first recommendations which are of the camp that a user marks things in."""
        found = workspace.recommend("m", source_type="user", target_type="item", max_recommendations=10)
        camps = [
            (int(source[1:]) + 1) % CAMPS == int(target[1])
            for source, target in zip(found["source_id"], found["target_id"], strict=True)
        ]
        return sum(camps) / len(camps)

    trained(workspace, tmp_path, "elsewhere", {"x17": "ignored"})
    alike = share()
    workspace.train("m")

    assert share() < alike / 4


@pytest.mark.parametrize("where", ["at home", "anywhere"])
def test_what_says_the_same_or_nothing_is_none(workspace: Workspace, tmp_path: Path, where: Where) -> None:
    """What comes with what is liked, or by chance."""
    assert "plain" == trained(workspace, tmp_path, where)["meaning"]


def test_the_most_frequent_type_is_none(workspace: Workspace, tmp_path: Path) -> None:
    """Both keep apart from each other, so only their number tells."""
    assert "plain" == trained(workspace, tmp_path, "elsewhere", clicks=MARKS, marks=CLICKS)["meaning"]


@pytest.mark.parametrize("rule", ["ignored", {"weight": 1}])
def test_what_is_asked_for_is_not_unlearned(workspace: Workspace, tmp_path: Path, rule: Any) -> None:
    assert "plain" == trained(workspace, tmp_path, "elsewhere", {"x17": rule})["meaning"]
