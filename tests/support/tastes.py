"""Data in which everybody meets something of everything, and only what he says of it tells what he likes."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

USERS, GENRES, ITEMS = 80, 4, 15
"""Items are those of each genre."""
MET = 8
"""Items of each genre that every user has met."""

Say = Callable[[str], tuple[str, str]]
"""What an interaction says (its type and its metadata) where a user likes, dislikes or does not mind."""

TASTES = ("likes", "dislikes", "neither", "neither")


def taste(user: int, genre: int) -> str:
    """Every user likes one genre, dislikes the next one, and does not mind the others."""
    return TASTES[(genre - user) % GENRES]


def item(genre: int, number: int) -> str:
    return f"g{genre}i{number:02}"


def genre_of(item_id: str) -> int:
    return int(item_id[1])


def rated(what: str) -> tuple[str, str]:
    """As a rating of one to five stars."""
    return "rated", json.dumps({"rating": {"likes": 5, "dislikes": 1, "neither": 3}[what]})


def typed(what: str) -> tuple[str, str]:
    """As a type of its own."""
    return {"likes": "bought", "dislikes": "returned", "neither": "bought"}[what], ""


def unsaid(what: str) -> tuple[str, str]:
    """Not at all."""
    return "rated", ""


def write_tastes(folder: Path, say: Say = rated, *, shuffled: bool = False, seed: int = 3) -> list[Path]:
    """Write `entities.csv` and `interactions.csv`; `shuffled` says it of what somebody else met somewhere else."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    met = [
        (user, item(genre, number), taste(user, genre))
        for user in range(USERS)
        for genre in range(GENRES)
        for number in sorted(rng.sample(range(ITEMS), MET))
    ]
    said = [say(what) for _, _, what in met]
    if shuffled:
        rng.shuffle(said)
    names = [(f"u{user:02}", "user") for user in range(USERS)]
    names += [(item(genre, number), "item") for genre in range(GENRES) for number in range(ITEMS)]
    rows = [(kind, f"u{user:02}", other, "", says) for (user, other, _), (kind, says) in zip(met, said, strict=True)]
    files = {
        "entities.csv": [("id", "type", "name", "metadata", "media_url"), *((*name, "", "", "") for name in names)],
        "interactions.csv": [("type", "source_id", "target_id", "timestamp", "metadata"), *rows],
    }
    for name, lines in files.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return [folder / name for name in files]
