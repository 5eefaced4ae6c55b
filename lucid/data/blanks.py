"""Blanks at the ends of ids and types: they belong to the text, but nobody sees them, so they are told, in quotes."""

import duckdb

from lucid.data.csv_file import SHOWN_VALUE
from lucid.schema.fields import FileType

_COLUMNS: dict[FileType, tuple[str, ...]] = {
    "entities": ("id", "type"),
    "interactions": ("type", "source_id", "target_id"),
}
_SHOWN = 3
_BLANKS = " \t\r\n\u00a0\u3000\ufeff\u200b"


def blank_warnings(connection: duckdb.DuckDBPyConnection, file_type: FileType) -> list[str]:
    """A sentence for each column in which values of the file's `rows.parquet` begin or end with a blank."""
    warnings = []
    for column in _COLUMNS[file_type]:
        values, examples = connection.execute(
            f"SELECT count(DISTINCT {column}), min(DISTINCT {column}, $shown) FROM read_parquet('rows.parquet') "
            f"WHERE {_perhaps_blank(column)} AND {column} <> trim({column}, $blanks)",
            {"shown": _SHOWN, "blanks": _BLANKS},
        ).fetchone() or (0, [])
        if values:
            told = "1 value begins or ends" if values == 1 else f"{values:,} values begin or end"
            shown = ", ".join(f"'{example[:SHOWN_VALUE]}'" for example in examples)
            warnings.append(f"{column}: {told} with a blank, which makes another {column} than without: {shown}")
    return warnings


def _perhaps_blank(column: str) -> str:
    """SQL that is false for most values, whose ends are visible characters of ASCII: trimming each would take long."""
    last = f"right({column}, 1)"
    return f"NOT ({column} BETWEEN '!' AND '~' AND {last} BETWEEN '!' AND '~')"
