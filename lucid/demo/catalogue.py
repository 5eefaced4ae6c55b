"""A generated video catalogue with planted tastes, so that good recommendations can be told from bad ones.

Every user has one taste: a circle of videos that share writers, creators and genres. Users watch most of their circle,
and blockbusters and random videos besides. One video of each user's circle, the favourite, is withheld from the data: a
recommender that understood the tastes puts it among the first; one that follows popularity shows blockbusters.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS
from lucid.schema.fields import format_time

T = TypeVar("T")

TASTES, CIRCLE, BLOCKBUSTERS, OTHERS = 24, 14, 20, 100
WATCHED_OF_CIRCLE, WATCHED_BLOCKBUSTERS, WATCHED_OTHERS = 8, 6, 4
DAYS = 300

_ADJECTIVES = (
    "Amber Bitter Borrowed Broken Crimson Distant Electric Endless Faded Frozen Gentle Hidden Hollow Last Lonely "
    "Midnight Northern Paper Quiet Restless Salted Secret Silver Winter Wild"
).split()
_NOUNS = (
    "Archive Avenue Bridge Carnival Castle Compass Garden Harbour Horizon Island Lantern Letter Meridian Mirror "
    "Orchard Parade Planet Promise River Shadow Signal Station Summer Tide Voyage"
).split()
_GIVEN = (
    "Ada Amir Bea Carlos Dana Elif Emil Farid Greta Hana Ines Ivan Jonas Kaja Leila Luca Maya Milan Nadia Noor Olga "
    "Pavel Rosa Samir Tomas Uma Vera Wen Yara Zoe"
).split()
_FAMILY = (
    "Abel Bauer Castro Dietrich Eriksen Fontaine Grimaldi Hassan Iversen Janssen Kovac Lindqvist Moreau Novak Okafor "
    "Petrov Quiroga Rossi Sato Tanaka Ueda Varga Weiss Xu Yilmaz Zelenka"
).split()
_GENRES = "Adventure Animation Comedy Crime Documentary Drama Fantasy Horror Mystery Romance Thriller Western".split()
_CITIES = {
    "France": ("Lyon", "Paris"),
    "Germany": ("Berlin", "Leipzig"),
    "Italy": ("Rome", "Turin"),
    "Japan": ("Kyoto", "Osaka"),
    "Norway": ("Bergen", "Oslo"),
    "Portugal": ("Lisbon", "Porto"),
}


@dataclass(frozen=True)
class Catalogue:
    """The generated data: where its files lie and what is known about it.

    `favourites` maps a user to the video that was withheld, `watched` to the videos that were not.
    """

    entities: Path
    interactions: Path
    favourites: dict[str, str]
    watched: dict[str, list[str]]


def generate(folder: Path, *, users: int = 600, seed: int = 0, now: datetime | None = None) -> Catalogue:
    """Write `entities.csv` and `interactions.csv`; the last interactions are from `now` (aware, default: today)."""
    rng = np.random.default_rng(seed)
    now = now or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    videos = _videos(rng)
    circles = [videos[taste * CIRCLE : (taste + 1) * CIRCLE] for taste in range(TASTES)]
    blockbusters = videos[TASTES * CIRCLE : TASTES * CIRCLE + BLOCKBUSTERS]
    others = videos[TASTES * CIRCLE + BLOCKBUSTERS :]
    people: list[dict[str, Any]] = []
    interactions: list[dict[str, Any]] = []
    favourites, watched = {}, {}
    for number in range(users):
        user, circle = f"user_{number + 1}", circles[int(rng.integers(TASTES))]
        people.append(_user(rng, user, circle))
        mine = _pick(rng, circle, WATCHED_OF_CIRCLE + 1)
        favourites[user] = mine[0]["id"]
        seen = mine[1:] + _pick(rng, blockbusters, WATCHED_BLOCKBUSTERS) + _pick(rng, others, WATCHED_OTHERS)
        watched[user] = [video["id"] for video in seen]
        for video in seen:
            at = now - timedelta(days=float(rng.uniform(0, DAYS)))
            liked = video in mine and rng.random() < 0.4
            for action in ("watched", "liked") if liked else ("watched",):
                interactions.append(_interaction(action, user, video["id"], at))
    entities = folder / "entities.csv"
    _write(entities, ENTITY_COLUMNS, [*videos, *people])
    _write(folder / "interactions.csv", INTERACTION_COLUMNS, interactions)
    return Catalogue(entities, folder / "interactions.csv", favourites, watched)


def favourites_found(recommended: Mapping[str, Sequence[str]], favourites: Mapping[str, str], among: int = 10) -> float:
    """Share of users whose withheld favourite stands among their first recommendations."""
    found = [favourite in recommended.get(user, ())[:among] for user, favourite in favourites.items()]
    return sum(found) / len(found)


def recommend_popular(watched: Mapping[str, Sequence[str]], count: int = 10) -> dict[str, list[str]]:
    """What plain popularity recommends: the most watched videos that the user has not watched."""
    views: dict[str, int] = {}
    for videos in watched.values():
        for video in videos:
            views[video] = views.get(video, 0) + 1
    ranking = sorted(views, key=lambda video: (-views[video], video))
    return {user: [video for video in ranking if video not in seen][:count] for user, seen in watched.items()}


def _videos(rng: np.random.Generator) -> list[dict[str, Any]]:
    titles = [f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
    rng.shuffle(titles)
    names = [f"{given} {family}" for given in _GIVEN for family in _FAMILY]
    rng.shuffle(names)
    crew = [names[start : start + 10] for start in range(0, TASTES * 10, 10)]
    everyone = [name for circle in crew for name in circle]
    genres = [_pick(rng, _GENRES, 2) for _ in range(TASTES)]
    videos = []
    for number in range(TASTES * CIRCLE + BLOCKBUSTERS + OTHERS):
        taste = number // CIRCLE
        known = taste < TASTES
        people = _pick(rng, crew[taste] if known else everyone, 5)
        mine = genres[taste] if known and rng.random() < 0.8 else _pick(rng, _GENRES, 2)
        videos.append(_video(rng, number, titles[number], people, mine))
    return videos


def _video(rng: np.random.Generator, number: int, title: str, people: list[str], genres: list[str]) -> dict[str, Any]:
    metadata = {
        "creator": people[0],
        "writer": people[1],
        "director": people[2],
        "starring": people[3:],
        "genre": genres,
        "release_year": int(rng.integers(1985, 2026)),
        "description": f"{title}, a {genres[0].lower()} written by {people[1]} and directed by {people[2]}, "
        f"follows {people[3]} and {people[4]} where nobody has followed them before.",
    }
    return _entity(f"video_{number + 1}", "video", title, metadata)


def _user(rng: np.random.Generator, user: str, circle: list[dict[str, Any]]) -> dict[str, Any]:
    country = str(rng.choice(list(_CITIES)))
    liked = json.loads(circle[int(rng.integers(len(circle)))]["metadata"])["genre"]
    metadata = {"country": country, "city": str(rng.choice(_CITIES[country])), "genre": liked}
    return _entity(user, "user", f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}", metadata)


def _pick(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    return [choices[int(place)] for place in rng.permutation(len(choices))[:count]]


def _entity(entity: str, entity_type: str, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"id": entity, "type": entity_type, "name": name, "metadata": json.dumps(metadata), "media_url": ""}


def _interaction(interaction_type: str, user: str, video: str, at: datetime) -> dict[str, Any]:
    return {
        "type": interaction_type,
        "source_id": user,
        "target_id": video,
        "timestamp": format_time(at),
        "metadata": "",
    }


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
