"""Answers as text, written piece by piece so that no answer is ever whole in memory."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import orjson

from lucid.lookup import Answer
from lucid.schema import OutputFormat, Recommendation, RejectedRow


def render(answer: Answer, output_format: OutputFormat) -> Iterator[str]:
    """Pieces of text that together are the answer in the format asked for."""
    return csv_pieces(answer) if output_format == "csv" else json_pieces(answer)


def csv_pieces(answer: Answer) -> Iterator[str]:
    """A header and one line for each recommendation."""
    return _csv(Recommendation._fields, answer.blocks)


def rejects_csv(blocks: Iterable[list[RejectedRow]]) -> Iterator[str]:
    """A header and one line for each rejected row."""
    names = tuple(RejectedRow.model_fields)
    return _csv(names, ([[getattr(row, name) for name in names] for row in block] for block in blocks))


def _csv(header: Sequence[str], blocks: Iterable[Iterable[Sequence[object]]]) -> Iterator[str]:
    """RFC 4180 with line feeds."""
    yield ",".join(header) + "\n"
    for block in blocks:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(block)
        yield text.getvalue()


def json_pieces(answer: Answer) -> Iterator[str]:
    """One JSON object with the rows in `recommendations`."""
    yield f'{{"model_id":{orjson.dumps(answer.model_id).decode()},"version":{answer.version},"recommendations":['
    separator = ""
    for block in answer.blocks:
        if block:
            yield separator + ",".join(orjson.dumps(row._asdict()).decode() for row in block)
            separator = ","
    yield f'],"unknown_source_ids":{orjson.dumps(answer.unknown_source_ids).decode()}}}'
