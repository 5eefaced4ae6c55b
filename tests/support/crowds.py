"""Interactions of a crowd over four months, some without a time or with one that cannot be; and what is popular and
trending in them, counted one by one as the documentation says it."""

import csv
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS
from lucid.versions.files import ACTIVITY
from lucid.versions.version import Version

USERS, ITEMS, DAYS, COLOURS = 40, 30, 120, ("black", "red", "white")
FIRST_DAY = date(2024, 3, 1)
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
RISING = "i07"
"""Trends at the end: nobody cared for it before."""
WRONG_DAY = datetime(2025, 12, 24, 12, tzinfo=UTC)
"""A day on which somebody filled a few gaps; all other times are from March to June 2024."""

Row = tuple[str, str, str, str, str]
Listed = list[tuple[str, float, float]]
"""Target, score and probability of each row."""


def colour(item: str) -> str:
    return COLOURS[int(item[1:]) % len(COLOURS)]


def interactions(seed: int = 0, count: int = 1500) -> list[Row]:
    """(type, source_id, target_id, timestamp, metadata), some of them twice, some on the same day again."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for _ in range(count):
        item = f"i{int(ITEMS * chance.random() ** 2):02}"
        rows.append((chance.choice(("view", "buy")), _user(chance), item, _time(chance, DAYS * chance.random()), ""))
    rows += [("view", f"u{user:02}", RISING, _time(chance, DAYS - 4 * chance.random()), "") for user in range(25)]
    rows += [("view", _user(chance), f"i{chance.randrange(ITEMS):02}", "", "") for _ in range(60)]
    rows += [("view", _user(chance), f"i{chance.randrange(ITEMS):02}", "1970-01-01", "") for _ in range(15)]
    rows += [("view", f"u{user:02}", "i21", WRONG_DAY.isoformat(), "") for user in range(12)]
    return rows + chance.sample(rows, 40)


def _user(chance: random.Random) -> str:
    return f"u{chance.randrange(USERS):02}"


def _time(chance: random.Random, day: float) -> str:
    return (datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=min(day, DAYS - 1e-3))).isoformat(timespec="seconds")


def write_crowd(folder: Path, rows: Iterable[Row]) -> Sequence[Path]:
    """Write `entities.csv` and `interactions.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    entities = [(f"u{user:02}", "user", f"User {user}", "", "") for user in range(USERS)]
    entities += [
        (item, "item", f"Item {item}", f'{{"colour": "{colour(item)}"}}', "")
        for item in (f"i{number:02}" for number in range(ITEMS))
    ]
    files = [folder / "entities.csv", folder / "interactions.csv"]
    for file, columns, lines in zip(files, (ENTITY_COLUMNS, INTERACTION_COLUMNS), (entities, rows), strict=True):
        with file.open("w", newline="") as written:
            csv.writer(written).writerows([columns, *lines])
    return files


def forget_activity(version: Version) -> None:
    """Make a version as it was before activity was counted."""
    (version.folder / ACTIVITY).unlink()
    version.complete(None, version.manifest.created)


# The oracle


def ages_of(rows: Iterable[Row], entity_type: str) -> Mapping[str, list[int | None]]:
    """For each entity how many days before the last one each source met it, None where that is not known."""
    met: set[tuple[str, str, date | None]] = set()
    for _, source, target, time, _ in rows:
        day = datetime.fromisoformat(time).date() if time else None
        met.add((source, target, None if day is None or day > LAST_DAY else day))
    ages: dict[str, list[int | None]] = defaultdict(list)
    for source, target, day in met:
        age = None if day is None else (LAST_DAY - day).days
        for entity in {"user": [source], "item": [target], "colour": [f"colour:{colour(target)}"]}[entity_type]:
            ages[entity].append(age)
    return ages


def popular(ages: Mapping[str, list[int | None]], window: int | None, half_life: float | None) -> Listed:
    """All that somebody met in the window; each target's score by comparing it with every other one."""
    in_window = {
        target: [_weight(age, half_life) for age in own if age is None or window is None or age < window]
        for target, own in ages.items()
    }
    weights = {target: sum(each) for target, each in in_window.items() if each}
    total = sum(weights.values())
    listed = []
    for target, weight in weights.items():
        less = sum(other for other in weights.values() if other < weight - 5e-13 * total)
        equal = sum(other for other in weights.values() if abs(other - weight) <= 5e-13 * total)
        listed.append((target, 100 * (less + equal / 2) / total, weight / total))
    return _best_first(listed)


def trending(ages: Mapping[str, list[int | None]], window: int | None, half_life: float | None) -> Listed:
    """All whose recent interactions are certainly more than their share of all."""
    timed = {target: [age for age in own if age is not None] for target, own in ages.items()}
    recent = {
        target: sum(_weight(age, half_life) for age in own if window is None or age < window)
        for target, own in timed.items()
    }
    oldest = max((age for own in timed.values() for age in own), default=0)
    days = [_weight(age, half_life) for age in range(min(oldest + 1, window or oldest + 1))]
    spread = sum(days) / sum(day * day for day in days)
    ever, lately = sum(map(len, timed.values())), sum(recent.values())
    listed = []
    for target, weight in recent.items():
        if weight > 0:
            observed = spread * weight + 0.5
            expected = spread * lately * len(timed[target]) / ever + 0.5
            least = math.log2(observed / expected) - 3.3 / math.sqrt(observed) - 2 / observed**1.5
            if (score := round(100 * (1 - 0.5 ** max(least, 0)), 6)) > 0:
                listed.append((target, score, weight / lately))
    return _best_first(listed)


ORACLES = {"popular": popular, "trending": trending}


def _weight(age: int | None, half_life: float | None) -> float:
    return 1.0 if age is None or half_life is None else 0.5 ** (age / half_life)


def _best_first(listed: Listed) -> Listed:
    return sorted(
        ((target, round(score, 6), share) for target, score, share in listed), key=lambda one: (-one[1], one[0])
    )
