"""Walks through items of which the next one is known: after each item comes one other, whatever the order of ids."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS
from lucid.workspace import Workspace

USERS, ITEMS, STEPS = 90, 60, 20
BEGIN = 1_700_000_000


def item(place: int) -> str:
    """The item at a place of the circle."""
    return f"i{place * 37 % ITEMS:02}"


def start(user: int) -> int:
    """Where the walk of a user begins."""
    return user * 7 % ITEMS


def walked(user: int) -> list[str]:
    """The items of a user, oldest first."""
    return [item(start(user) + step) for step in range(STEPS)]


def following(user: int) -> str:
    """The item that a user comes to next."""
    return item(start(user) + STEPS)


def write_walks(folder: Path, *, shuffled: bool = False, timed: bool = True) -> Sequence[Path]:
    """Write `entities.csv` and `interactions.csv`; shuffled, the times of each user tell nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    rows = []
    for user in range(USERS):
        times = [BEGIN + 1000 * user + 60 * step for step in range(STEPS)]
        if shuffled:
            chance.shuffle(times)
        for name, moment in zip(walked(user), times, strict=True):
            rows.append(("view", f"u{user:02}", name, str(moment) if timed else "", ""))
    entities = [(f"u{user:02}", "user", "", "", "") for user in range(USERS)]
    entities += [(item(place), "item", "", "", "") for place in range(ITEMS)]
    files = folder / "entities.csv", folder / "interactions.csv"
    for path, columns, table in zip(files, (ENTITY_COLUMNS, INTERACTION_COLUMNS), (entities, rows), strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *table])
    return files


def train_walks(workspace: Workspace, folder: Path, model_id: str = "walks", *, shuffled: bool = False) -> Workspace:
    """Import walks into a workspace and train on them."""
    workspace.import_files(write_walks(folder, shuffled=shuffled))
    workspace.train(model_id)
    return workspace
