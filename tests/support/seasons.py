"""Purchases over five years in which every season has its own items: what is bought next is of the latest one."""

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS

USERS, SEASONS, ITEMS, PURCHASES = 200, 5, 30, 21
BEGIN = datetime(2018, 1, 1, tzinfo=UTC)
LATEST_ITEMS = {f"i{SEASONS - 1}_{item}" for item in range(ITEMS)}
Row = tuple[str, str, str, str, str]


def purchases(seed: int = 0) -> list[Row]:
    """(type, source_id, target_id, timestamp, metadata): each user's, spread evenly over the years, by taste."""
    chance = random.Random(seed)
    rows = []
    for user in range(USERS):
        for number in range(PURCHASES):
            years = SEASONS * (number + chance.random()) / PURCHASES
            season = int(years) if chance.random() < 0.9 else chance.randrange(SEASONS)
            item = 2 * chance.randrange(ITEMS // 2) + user % 2 if chance.random() < 0.9 else chance.randrange(ITEMS)
            moment = BEGIN + timedelta(days=365 * years)
            rows.append(("buy", f"u{user}", f"i{season}_{item}", moment.isoformat(timespec="seconds"), ""))
    return rows


def follows(seed: int = 1) -> list[Row]:
    """A small relation beside the purchases, with times of the same years."""
    chance = random.Random(seed)
    moments = (BEGIN + timedelta(days=chance.randrange(365 * SEASONS)) for _ in range(30))
    return [
        ("follow", f"u{chance.randrange(USERS)}", f"u{chance.randrange(USERS)}", moment.isoformat(), "")
        for moment in moments
    ]


def write_seasons(folder: Path, interactions: Iterable[Row]) -> Sequence[Path]:
    """Write `entities.csv` and `interactions.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    entities = [(f"u{user}", "user", "", "", "") for user in range(USERS)]
    entities += [(f"i{season}_{item}", "item", "", "", "") for season in range(SEASONS) for item in range(ITEMS)]
    written = []
    for name, columns, rows in (
        ("entities.csv", ENTITY_COLUMNS, entities),
        ("interactions.csv", INTERACTION_COLUMNS, list(interactions)),
    ):
        written.append(folder / name)
        with written[-1].open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return written
