"""Text that means something to file systems, headers, databases or spreadsheets, and data that is full of it."""

import csv
from pathlib import Path

from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, write_checkerboard

LONG = "x" * 10_000

IDS = (
    *("../../etc/passwd", "..", "/absolute", "..%2f..%2fx", "%2f", "%00", "C:\\x", "a\\..\\b", "~", "*", "?[a]"),
    *(
        "new\nline",
        "cr\rhere",
        "crlf\r\nSet-Cookie: a=b",
        "\ttab",
        " space before",
        "space after ",
        "\u2028",
        "\ufeffmark",
        "\x1b[31m",
    ),
    *(
        "🙂",
        "e\u0301",
        "\u202eright to left",
        'quo"te',
        "apo'strophe",
        "com,ma",
        '"',
        "';DROP TABLE ids;--",
        "{}",
        "<b>",
    ),
    *("=1+1", "+1", "-1", '@SUM("A1")', "null", "NaN", "0", LONG),
)
"""Ids that an uploaded entity may have."""

GUESTS = 1500
"""So many entities of the type `guest` that an answer for all of them comes in several pieces."""


def train_hostile(home: Path, folder: Path) -> None:
    """Two versions of the model `board` that recommend different things to users with such ids; version 2 answers."""
    entities, interactions = write_checkerboard(folder)
    users = [(text, "user", f"={text}", "", "") for text in IDS]
    guests = [(f"guest {number}", "guest", "", "", "") for number in range(GUESTS)]
    _append(entities, [*users, *guests])
    liked = [("likes", text, f"i{item:02}", "", "") for text in IDS for item in range(0, ITEMS, 2) if item != 6]
    seen = [("saw", f"guest {number}", f"i{number % ITEMS:02}", "", "") for number in range(GUESTS)]
    _append(interactions, [*liked, *seen])
    workspace = Workspace(home)
    workspace.import_files([entities, interactions])
    workspace.train("board")
    without = {"field": "target_id", "op": "not_in", "value": ["i04", "i05"]}
    workspace.train("board", data_filters={"interactions": [without]})


def _append(file: Path, rows: list[tuple[str, ...]]) -> None:
    with file.open("a", encoding="utf-8", newline="") as target:
        csv.writer(target, lineterminator="\r\n").writerows(rows)
