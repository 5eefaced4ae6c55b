"""Lists in queries and forms: repeated or separated by commas."""

from collections.abc import Sequence


def split(given: Sequence[str] | None) -> list[str] | None:
    """The values of a list; None where nothing was given."""
    return [part.strip() for value in given for part in value.split(",") if part.strip()] if given is not None else None
