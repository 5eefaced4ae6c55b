"""Names that people give, held to those that are known: a misspelt one is told its nearest neighbour."""

from collections.abc import Iterable
from difflib import get_close_matches

_LENGTH = 100
"""Names are compared, and shown, up to this length: a request may hold one of megabytes."""
_SHOWN = 20
"""So many known names are listed, and the others counted."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant; None where none is alike.

    Letter case and whatever is neither letter nor digit do not count: `instock` is `in_stock`.
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    meant = _plain(name)
    holding = sorted((one for one in plain if len(meant) > 1 and meant in one), key=len)  # `id` of `source_id`
    found = get_close_matches(meant, plain, n=1) or holding
    return plain[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Says that there is no such `what`, such as "entity type": the nearest known name, and all that are known."""
    names = sorted(known)
    like = nearest(name, names)
    meant = f"did you mean {like[:_LENGTH]!r}? " if like is not None else ""
    return f"no {what} {name[:_LENGTH]!r}; {meant}known: {listed(names)}"


def listed(names: list[str]) -> str:
    """Names in a row, the first of them where there are many."""
    shown = ", ".join(name[:_LENGTH] for name in names[:_SHOWN]) or "none"
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _plain(name: str) -> str:
    kept = "".join(character for character in name[:_LENGTH] if character.isalnum())
    return kept.casefold() or name[:_LENGTH]
