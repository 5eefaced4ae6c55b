"""Answers as text, written piece by piece so that no answer is ever whole in memory.

An answer comes in blocks, and a block is a table of columns whose values are JSON texts already: those of ids and names
lie in the version's files as they are sent.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lucid.schema import OutputFormat, Recommendation, RejectedRow, ServedBy

Column = list[bytes] | bytes
"""JSON texts, one for each row; or one that all rows share."""

MIXED = "mixed"
"""What `served_by` of a whole answer says where its sources were served in different ways."""


@dataclass(frozen=True)
class Block:
    """Rows of an answer; `served_by` counts all its sources, those without a row included."""

    columns: Mapping[str, Column]
    rows: int
    served_by: Mapping[ServedBy, int]

    def table(self) -> dict[str, list[Any]]:
        """The columns as Python values."""
        return {name: _decoded(column, self.rows) for name, column in self.columns.items()}


@dataclass(frozen=True)
class Answer:
    """An answer whose rows come in blocks, each holding whole sources; may be read once."""

    model_id: str
    version: int
    unknown_source_ids: list[str]
    blocks: Iterator[Block]
    columns: Sequence[str] = Recommendation._fields


def render(answer: Answer, output_format: OutputFormat) -> Iterator[bytes]:
    """Pieces of text that together are the answer in the format asked for."""
    return csv_pieces(answer) if output_format == "csv" else json_pieces(answer)


def csv_pieces(answer: Answer) -> Iterator[bytes]:
    """A header and one line for each recommendation."""
    return _csv(answer.columns, (_cells(block) for block in answer.blocks))


def rejects_csv(blocks: Iterable[list[RejectedRow]]) -> Iterator[bytes]:
    """A header and one line for each rejected row."""
    names = tuple(RejectedRow.model_fields)
    return _csv(names, ([[getattr(row, name) for name in names] for row in block] for block in blocks))


def json_pieces(answer: Answer) -> Iterator[bytes]:
    """One JSON object with the rows in `recommendations`."""
    yield b'{"model_id":%b,"version":%d,"recommendations":[' % (orjson.dumps(answer.model_id), answer.version)
    separator = b""
    served_by: set[ServedBy] = set()
    for block in answer.blocks:
        served_by |= block.served_by.keys()
        if block.rows:
            yield separator + _json_rows(block)
            separator = b","
    how = served_by.pop() if len(served_by) == 1 else MIXED
    yield b'],"unknown_source_ids":%b,"served_by":"%b"}' % (orjson.dumps(answer.unknown_source_ids), how.encode())


def _json_rows(block: Block) -> bytes:
    """The rows as JSON objects, separated by commas."""
    # One list of all pieces that the columns are put into: half the time of weaving them together row by row.
    row, lists = [b"{"], []
    for name, column in block.columns.items():
        row[-1] += b'"%b":' % name.encode()
        if isinstance(column, bytes):
            row[-1] += column + b","
        else:
            row += (b"", b",")
            lists.append(column)
    row[-1] = row[-1][:-1] + b"},"
    pieces = row * block.rows
    for place, column in enumerate(lists):
        pieces[2 * place + 1 :: len(row)] = column
    return b"".join(pieces)[:-1]


def _csv(header: Sequence[str], blocks: Iterable[Iterable[Sequence[object]]]) -> Iterator[bytes]:
    """RFC 4180 with line feeds."""
    yield (",".join(header) + "\n").encode()
    for block in blocks:
        rows, text = list(block), io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        if "\r" in text.getvalue():  # which Python only quotes where it ends lines
            text = io.StringIO()
            csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
        yield text.getvalue().encode()


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
