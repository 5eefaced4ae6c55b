"""Names of flow runs, which Prefect shows as plain text in lists."""

_LONGEST = 150


def run_name(doing: str, *what: object) -> str:
    """What a run does to what: one line that can be printed, however long and strange a customer's names are."""
    names = "".join(letter if letter.isprintable() else " " for letter in ", ".join(map(str, what)))
    return f"{doing} {names if len(names) <= _LONGEST else names[:_LONGEST] + '…'}"
