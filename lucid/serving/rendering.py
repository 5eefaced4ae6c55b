"""Answers as text, written piece by piece so that no answer is ever whole in memory.

An answer comes in blocks, and a block is a table of columns whose values are JSON texts already: those of ids and names
lie in the version's files as they are sent.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from lucid.schema.batches import RejectedRow
from lucid.schema.fields import OutputFormat, ServedBy
from lucid.schema.recommendations import Recommendation

Column = list[bytes] | bytes
"""JSON texts, one for each row; or one that all rows share."""

MIXED = "mixed"
"""What `served_by` of a whole answer says where its sources were served in different ways."""


@dataclass(frozen=True)
class Block:
    """Rows of an answer; `served_by` counts all its sources, those without a row included.

    `sources` has the type of each, by its id as JSON.
    """

    columns: Mapping[str, Column]
    rows: int
    served_by: Mapping[ServedBy, int]
    sources: Mapping[bytes, str] = field(default_factory=dict)

    def table(self) -> dict[str, list[Any]]:
        """The columns as Python values."""
        return {name: _decoded(column, self.rows) for name, column in self.columns.items()}


@dataclass(frozen=True)
class Noted:
    """The id of an answer that was noted; in an experiment, with the variant and version of each of its sources."""

    recommendation_id: str
    experiment: str | None = None
    variants: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Answer:
    """An answer whose rows come in blocks, each holding whole sources; may be read once."""

    model_id: str
    version: int
    unknown_source_ids: list[str]
    blocks: Iterator[Block]
    columns: Sequence[str] = Recommendation._fields
    placement: str | None = None
    """`name@version` of the placement that it follows."""
    noted: Noted | None = None


def render(answer: Answer, output_format: OutputFormat) -> Iterator[bytes]:
    """Pieces of text that together are the answer in the format asked for."""
    return csv_pieces(answer) if output_format == "csv" else json_pieces(answer)


def csv_pieces(answer: Answer) -> Iterator[bytes]:
    """A header and one line for each recommendation."""
    yield _header(answer.columns)
    for block in answer.blocks:
        if block.rows:
            yield _csv_rows(block)


def rejects_csv(blocks: Iterable[list[RejectedRow]]) -> Iterator[bytes]:
    """A header and one line for each rejected row."""
    names = tuple(RejectedRow.model_fields)
    yield _header(names)
    for block in blocks:
        yield _lines([getattr(row, name) for name in names] for row in block)


def json_pieces(answer: Answer) -> Iterator[bytes]:
    """One JSON object with the rows in `recommendations`."""
    placement = b',"placement":%b' % orjson.dumps(answer.placement) if answer.placement else b""
    yield b'{"model_id":%b,"version":%d%b,"recommendations":[' % (
        orjson.dumps(answer.model_id),
        answer.version,
        placement,
    )
    separator = b""
    served_by: set[ServedBy] = set()
    for block in answer.blocks:
        served_by |= block.served_by.keys()
        if block.rows:
            yield separator + _json_rows(block)
            separator = b","
    how = served_by.pop() if len(served_by) == 1 else MIXED
    noted = b"," + orjson.dumps(noted_json(answer.noted))[1:-1] if answer.noted else b""
    unknown = orjson.dumps(answer.unknown_source_ids)
    yield b'],"unknown_source_ids":%b,"served_by":"%b"%b}' % (unknown, how.encode(), noted)


def noted_json(noted: Noted) -> dict[str, Any]:
    """What an answer says of its being noted."""
    told: dict[str, Any] = {"recommendation_id": noted.recommendation_id}
    if noted.variants is not None:
        told["experiment"] = noted.experiment
        if len(noted.variants) == 1:
            (only,) = noted.variants.values()
            told["variant"] = only["variant"]
        else:
            told["variants"] = noted.variants
    return told


def _csv_rows(block: Block) -> bytes:
    """The rows as lines."""
    cells = [_plain_cells(column) for column in block.columns.values()]
    if any(cell is None for cell in cells):
        return _lines(_cells(block))
    between = [b"", *[b","] * (len(cells) - 1), b"\n"]
    return _woven(between, [cell or b"" for cell in cells], block.rows, b"\n")


def _json_rows(block: Block) -> bytes:
    """The rows as JSON objects, separated by commas."""
    return _woven(_keys(tuple(block.columns)), block.columns.values(), block.rows, b"}")


@lru_cache(maxsize=8)
def _keys(names: Sequence[str]) -> list[bytes]:
    """What stands in JSON before each value of a row, and between two rows."""
    first, *others = (b'"%b":' % name.encode() for name in names)
    return [b"{" + first, *(b"," + name for name in others), b"},"]


def _woven(between: Sequence[bytes], columns: Iterable[Column], rows: int, end: bytes) -> bytes:
    """At least one row of the columns, with a text before each value, one between the rows and one at the end."""
    row, lists = [between[0]], []
    for column, text in zip(columns, between[1:], strict=True):
        if isinstance(column, bytes):
            row[-1] += column + text
        else:
            row += (b"", text)
            lists.append(column)
    # One list of all pieces that the columns are put into: half the time of going from row to row.
    pieces = row * rows
    for place, column in enumerate(lists):
        pieces[2 * place + 1 :: len(row)] = column
    pieces[-1] = pieces[-1].removesuffix(between[-1]) + end
    return b"".join(pieces)


def _header(names: Sequence[str]) -> bytes:
    return (",".join(names) + "\n").encode()


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    """RFC 4180 with line feeds."""
    kept, text = list(rows), io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(kept)
    if "\r" in text.getvalue():  # which Python only quotes where it ends lines
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(kept)
    return text.getvalue().encode()


def _plain_cells(column: Column) -> Column | None:
    """The values of a column as they stand in CSV; None where one of them needs quotes there, or had them escaped."""
    values = column if isinstance(column, bytes) else b"\n".join(column)
    if b"\\" in values or b"," in values or b"[" in values:
        return None
    cells = values.replace(b'"', b"")
    return cells if isinstance(column, bytes) else cells.split(b"\n")


def _cells(block: Block) -> Iterator[tuple[object, ...]]:
    columns = (_decoded(column, block.rows) for column in block.columns.values())
    return zip(*(map(_cell, column) for column in columns), strict=True)


def _cell(value: object) -> object:
    """What is no scalar stays JSON."""
    return orjson.dumps(value).decode() if isinstance(value, list) else value


def _decoded(column: Column, rows: int) -> list[Any]:
    if isinstance(column, bytes):
        return [orjson.loads(column)] * rows
    values: list[Any] = orjson.loads(b"[%b]" % b",".join(column))
    return values
