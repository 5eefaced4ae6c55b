"""Finds entities by what people type of their names: a look through all of them, which takes no index of its own.

A million names are some twenty megabytes, and to look for bytes in them takes a hundredth of a second; what an index of
parts of names would need on the disk and in memory is more than the names themselves.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

_LOOKED_AT = 200
"""Of so many names that hold a text, those in which a word begins with it come first."""
_BEFORE_WORDS = {bytes([letter]) for letter in b' "-(/'} | {b"'"}


class Texts(Protocol):
    """Texts of entities as JSON, one after the other."""

    def joined(self, rows: range) -> tuple[bytes, NDArray[np.int64]]:
        """The texts of neighbouring rows as one, and where in it each begins, with the end of the last."""


def search(text: str, names: Texts, ids: Texts, rows: range, most: int) -> list[int]:
    """Rows among `rows` by a part of their names or the beginning of their ids; see `EntityIndex.find`."""
    wanted = _spellings(text.strip())
    if not wanted or not len(rows):
        return []
    found = dict.fromkeys(_named(wanted, *_lower(names, rows), most))
    if len(found) < most:
        found |= dict.fromkeys(_beginning(wanted, *_lower(ids, rows), most))
    return [rows.start + position for position in list(found)[:most]]


def _spellings(text: str) -> list[bytes]:
    """What to look for in texts whose ASCII letters are small: the text in JSON, other letters small or capital."""
    if not text:
        return []
    ways = (text, text.lower(), text.upper(), text.title())
    return list(dict.fromkeys(orjson.dumps(way)[1:-1].lower() for way in ways))


def _lower(texts: Texts, rows: range) -> tuple[bytes, NDArray[np.int64]]:
    joined, starts = texts.joined(rows)
    return joined.lower(), starts


def _named(wanted: list[bytes], joined: bytes, starts: NDArray[np.int64], most: int) -> list[int]:
    """Positions of texts that hold it: that begin with it, in which a word does, and others, each in their order."""
    ranks: dict[int, int] = {}
    limit, is_cut = max(most, _LOOKED_AT), False
    for spelling in wanted:
        places = list(islice(_places(spelling, joined), limit))
        is_cut |= len(places) == limit
        for place in places:
            position = _position(place, starts)
            begins, is_word = place == starts[position] + 1, joined[place - 1 : place] in _BEFORE_WORDS
            ranks[position] = min(0 if begins else 1 if is_word else 2, ranks.get(position, 2))
    if is_cut:  # further ones may begin with it
        ranks |= dict.fromkeys(_beginning(wanted, joined, starts, most), 0)
    return sorted(ranks, key=lambda position: (ranks[position], position))


def _beginning(wanted: list[bytes], joined: bytes, starts: NDArray[np.int64], most: int) -> list[int]:
    """Positions of texts that begin so, in their order."""
    found = set[int]()
    for spelling in wanted:
        places = ((place, _position(place, starts)) for place in _places(b'"' + spelling, joined))
        # A quotation mark may also stand within a text.
        found |= set(islice((position for place, position in places if place == starts[position]), most))
    return sorted(found)[:most]


def _places(part: bytes, whole: bytes) -> Iterator[int]:
    place = whole.find(part)
    while place >= 0:
        yield place
        place = whole.find(part, place + 1)


def _position(place: int, starts: NDArray[np.int64]) -> int:
    return int(np.searchsorted(starts, place, side="right")) - 1
