"""Which texts name an erased entity."""

import re
from collections.abc import Callable, Sequence


def matcher(ids: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a text names one of the ids: as a whole, or between characters that are no part of a word."""
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in ids))
    return lambda text: text in ids or pattern.search(text) is not None
