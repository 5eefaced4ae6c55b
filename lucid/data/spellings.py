"""Spellings of one value: letters small or large, HTML's names of characters, blanks, and ways to compose letters.

Only where values of a key, or a value and the name of an uploaded entity, differ in nothing else are they the same.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping

import duckdb

_REFERENCE = "&[#A-Za-z]"
_BLANKS = r"[\s\x{a0}\x{2000}-\x{200b}\x{202f}\x{3000}\x{feff}]+"
_BLANK = re.compile("[ \t\n\f\r\u00a0\u2000-\u200b\u202f\u3000\ufeff]+")
_SURE = re.compile("[a-hj-z0-9]+")  # an i is also the small letter of a large one with a dot, which has several


def unescape(
    connection: duckdb.DuckDBPyConnection, table: str, texts: str, values: Mapping[str, object] | None = None
) -> None:
    """Create `table(escaped, text)` of those texts that hold HTML's names of characters, such as `&amp;`.

    `texts` is SQL that selects one column, in which the values are bound by their names.
    """
    rows = connection.execute(
        f"SELECT DISTINCT text FROM ({texts}) found(text) WHERE regexp_matches(text, '{_REFERENCE}')",
        dict(values or {}),
    ).fetchall()
    pairs = [(escaped, text) for (escaped,) in rows if (text := html.unescape(escaped)) != escaped]
    connection.execute(
        f"CREATE TABLE {table} AS SELECT unnest($escaped::VARCHAR[]) AS escaped, unnest($texts::VARCHAR[]) AS text",
        {"escaped": [escaped for escaped, _ in pairs], "texts": [text for _, text in pairs]},
    )


def folded(text: str) -> str:
    """SQL of what all spellings of an unescaped text have in common."""
    # Most texts have nothing but letters of ASCII and single blanks: they need no more than small letters.
    thorough = f"trim(regexp_replace(lower(nfc_normalize({text})), '{_BLANKS}', ' ', 'g'))"
    return f"CASE WHEN regexp_matches({text}, '[^ -~]|  |^ | $') THEN {thorough} ELSE lower({text}) END"


def fold(text: str) -> str:
    """What all spellings of a text have in common, as `folded` finds it in SQL after unescaping."""
    composed = unicodedata.normalize("NFC", html.unescape(text))
    small = "".join(letter.lower()[:1] for letter in composed)  # one by one, as DuckDB does
    return _BLANK.sub(" ", small).strip()


def made_of(ids: Iterable[str]) -> set[str]:
    """Ids that metadata may have made, `writer:Ann`, with their values folded: `writer:ann`."""
    return {
        f"{name[:place]}:{fold(name[place + 1 :])}"
        for name in ids
        for place, letter in enumerate(name)
        if letter == ":" and name[place + 1 :]
    }


def telling_part(text: str) -> str:
    """What is in every spelling of a text, in small letters: a part that is quickly looked for; may be empty."""
    return max(_SURE.findall(fold(text)), key=len, default="")
