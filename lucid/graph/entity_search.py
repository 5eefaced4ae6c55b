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
"""Of so many places at which names hold a text, those where a word begins with it come first."""
_AT_ONCE = 50_000
"""Texts that are looked into before it is known whether more are wanted: what is frequent is found among the first."""
_BEFORE_WORDS = {bytes([letter]) for letter in b' "-(/'} | {b"'"}


class Texts(Protocol):
    """Texts of entities as JSON, one after the other."""

    def joined(self, rows: range) -> tuple[bytes, NDArray[np.int64]]:
        """The texts of neighbouring rows as one, and where in it each begins, with the end of the last."""


def search(text: str, names: Texts, ids: Texts, rows: range, most: int) -> list[int]:
    """Rows among `rows` by a part of their names or the beginning of their ids; see `EntityIndex.find`."""
    wanted = _spellings(text.strip())
    if not wanted:
        return []
    found = dict.fromkeys(_named(wanted, names, rows, most))
    if len(found) < most:
        found |= dict.fromkeys(islice(_beginning(wanted, ids, rows), most))
    return list(found)[:most]


def _spellings(text: str) -> list[bytes]:
    """What to look for in texts whose ASCII letters are small: the text in JSON, other letters small or capital."""
    if not text:
        return []
    ways = (text, text.lower(), text.upper(), text.title())
    return list(dict.fromkeys(orjson.dumps(way)[1:-1].lower() for way in ways))


def _named(wanted: list[bytes], names: Texts, rows: range, most: int) -> list[int]:
    """Rows whose names hold it: those that begin with it, those in which a word does, others, each in their order."""
    ranks: dict[int, int] = {}
    limit = max(most, _LOOKED_AT)
    places = list(islice(_holding(wanted, names, rows), limit))
    for row, before in places:
        rank = 0 if before is None else 1 if before in _BEFORE_WORDS else 2
        ranks[row] = min(rank, ranks.get(row, 2))
    if len(places) == limit:  # there may be more, of which some begin with it
        ranks |= dict.fromkeys(islice(_beginning(wanted, names, rows), most), 0)
    return sorted(ranks, key=lambda row: (ranks[row], row))


def _beginning(wanted: list[bytes], texts: Texts, rows: range) -> Iterator[int]:
    """Rows whose texts begin so, in their order."""
    quoted = [b'"' + spelling for spelling in wanted]
    for joined, starts, first in _parts(texts, rows):
        found = {
            position
            for spelling in quoted
            for place in _places(spelling, joined)
            if place == starts[position := _position(place, starts)]  # and not behind a quotation mark within a text
        }
        yield from (first + position for position in sorted(found))


def _holding(wanted: list[bytes], texts: Texts, rows: range) -> Iterator[tuple[int, bytes | None]]:
    """Each place in a text that holds it, by rows: the row, and the letter before it; None where the text begins."""
    for joined, starts, first in _parts(texts, rows):
        places = {place: spelling for spelling in wanted for place in _places(spelling, joined)}
        for place in sorted(places):
            position = _position(place, starts)
            begins = place == starts[position] + 1
            if not _holds(joined[starts[position] : starts[position + 1]], places[place]):
                continue
            yield first + position, None if begins else joined[place - 1 : place]


def _holds(text: bytes, spelling: bytes) -> bool:
    """Whether a text as JSON holds what was found in it: that may have begun within a letter that JSON escapes."""
    return b"\\" not in text or orjson.loads(b'"%b"' % spelling) in orjson.loads(text)


def _parts(texts: Texts, rows: range) -> Iterator[tuple[bytes, NDArray[np.int64], int]]:
    """The texts in small letters, some at a time, where each begins, and the row of the first."""
    for start in range(rows.start, rows.stop, _AT_ONCE):
        joined, starts = texts.joined(range(start, min(start + _AT_ONCE, rows.stop)))
        yield joined.lower(), starts, start


def _places(part: bytes, whole: bytes) -> Iterator[int]:
    place = whole.find(part)
    while place >= 0:
        yield place
        place = whole.find(part, place + 1)


def _position(place: int, starts: NDArray[np.int64]) -> int:
    return int(np.searchsorted(starts, place, side="right")) - 1
