"""The file of a version that its report's figures can be computed from again, and its export for others to do that.

The export is JSON lines, gzipped: a header with the figures; a line for each target that metadata describes; and of
each pair a line that tells of its targets, then one for each of its test sources.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.evaluation.recorded import (
    MILLION,
    MODEL,
    NOTHING_RECORDED,
    Before,
    Cold,
    Described,
    Lists,
    Recorded,
    RecordedPair,
    Withheld,
)
from lucid.graph.entity_index import EntityIndex
from lucid.store.arrays import MappedTensors, write_tensors
from lucid.training.report import TrainingReport
from lucid.versions.files import HELD_OUT

EXPORT_FORMAT = 1
_ABOUT = "about"
_PIECE_BYTES = 1 << 16

Tensors = dict[str, NDArray[Any]]


def write_held_out(folder: Path, recorded: Recorded) -> None:
    """Write what was recorded of all pairs; rows take four bytes."""
    tensors: Tensors = {f"described.{name}": array for name, array in vars(recorded.described).items()}
    abouts = []
    for number, pair in enumerate(recorded.pairs):
        tensors |= {f"{number}.{name}": array for name, array in _arrays(pair).items()}
        abouts.append(_about(pair))
    tensors[_ABOUT] = np.frombuffer(json.dumps(abouts).encode(), np.uint8)
    write_tensors(folder / HELD_OUT, {name: _small(array) for name, array in tensors.items()})


def read_held_out(folder: Path) -> Recorded:
    """What was recorded of all pairs; nothing for a version of an earlier release."""
    if not (folder / HELD_OUT).exists():
        return NOTHING_RECORDED
    tensors = MappedTensors(folder / HELD_OUT)
    abouts = json.loads(bytes(tensors[_ABOUT]))
    described = Described(*(_rows(tensors[f"described.{one.name}"]) for one in fields(Described)))
    return Recorded([_pair(tensors, number, about) for number, about in enumerate(abouts)], described)


def _arrays(pair: RecordedPair) -> Tensors:
    arrays: Tensors = {name: getattr(pair, name) for name in ("known", "chances", "rows", "popularity", "spread")}
    arrays |= {f"withheld.{name}": array for name, array in vars(pair.withheld).items()}
    arrays |= {f"lists.{who}": lists for who, lists in pair.lists.items()}
    if pair.cold:
        arrays |= {f"cold.{name}": array for name, array in vars(pair.cold.withheld).items()}
        arrays["cold.model"] = pair.cold.model
    if pair.before:
        arrays |= {"before.positions": pair.before.positions, "before.lists": pair.before.lists}
    return arrays


def _about(pair: RecordedPair) -> dict[str, Any]:
    names = ("source_type", "target_type", "answered_by", "source_count", "target_count")
    before = pair.before and {name: getattr(pair.before, name) for name in ("version", "sources", "reason")}
    lists = list(pair.lists)
    return {
        **{name: getattr(pair, name) for name in names},
        "lists": lists,
        "cold": pair.cold is not None,
        "before": before,
    }


def _pair(tensors: Mapping[str, NDArray[Any]], number: int, about: dict[str, Any]) -> RecordedPair:
    def of(name: str) -> NDArray[Any]:
        return tensors[f"{number}.{name}"]

    def withheld(name: str) -> Withheld:
        return Withheld(*(_rows(of(f"{name}.{one.name}")) for one in fields(Withheld)))

    before, lists, is_cold = about.pop("before"), about.pop("lists"), about.pop("cold")
    return RecordedPair(
        **about,
        withheld=withheld("withheld"),
        lists={who: of(f"lists.{who}") for who in lists},
        known=_rows(of("known")),
        chances=of("chances"),
        rows=_rows(of("rows")),
        popularity=_rows(of("popularity")),
        spread=_rows(of("spread")),
        cold=Cold(withheld("cold"), of("cold.model")) if is_cold else None,
        before=before and Before(**before, positions=_rows(of("before.positions")), lists=of("before.lists")),
    )


def _small(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _rows(array: NDArray[Any]) -> NDArray[np.int64]:
    return array.astype(np.int64)


# Export


def export(report: TrainingReport, recorded: Recorded, index: EntityIndex) -> Iterator[bytes]:
    """The export, in pieces of a gzip file; `index` is that of the version."""
    packed, waiting = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS), b""
    for line in _lines(report, recorded, index):
        waiting += packed.compress(line + b"\n")
        if len(waiting) >= _PIECE_BYTES:
            yield waiting
            waiting = b""
    yield waiting + packed.flush()


def _lines(report: TrainingReport, recorded: Recorded, index: EntityIndex) -> Iterator[bytes]:
    ids = _Ids(index)
    yield orjson.dumps({"held_out": EXPORT_FORMAT, "report": report.figures_to_json()})
    described = recorded.described
    for number, row in enumerate(described.rows.tolist()):
        by = described.by[described.starts[number] : described.starts[number + 1]]
        if len(by):
            yield orjson.dumps({"target": ids.of(row), "described_by": ids.all(by)})
    for number, pair in enumerate(recorded.pairs):
        yield orjson.dumps(
            {
                "pair": number,
                "source_type": pair.source_type,
                "target_type": pair.target_type,
                "answered_by": pair.answered_by,
                "sources": pair.source_count,
                "targets": pair.target_count,
                "targets_by_interactions": pair.spread.tolist(),
                "interactions": dict(zip(ids.all(pair.rows), pair.popularity.tolist(), strict=True)),
                "answered_before": pair.before
                and {"version": pair.before.version, "sources": pair.before.sources, "reason": pair.before.reason},
            }
        )
        yield from _source_lines(number, pair, ids)


def _source_lines(number: int, pair: RecordedPair, ids: "_Ids") -> Iterator[bytes]:
    before = dict(zip(pair.before.positions.tolist(), pair.before.lists, strict=True)) if pair.before else {}
    for position, source in enumerate(pair.withheld.sources.tolist()):
        line = {"pair": number, "source": ids.of(source), "interactions": int(pair.known[position])}
        line["withheld"] = ids.all(pair.withheld.of(position))
        line |= {who: ids.listed(lists[position]) for who, lists in pair.lists.items()}
        chances = pair.chances[position][pair.lists[MODEL][position] >= 0]
        line["probability"] = [chance / MILLION for chance in chances.tolist()]
        if position in before:
            line["answered_before"] = ids.listed(before[position])
        yield orjson.dumps(line)
    if pair.cold:
        for position, source in enumerate(pair.cold.withheld.sources.tolist()):
            yield orjson.dumps(
                {
                    "pair": number,
                    "cold_source": ids.of(source),
                    "withheld": ids.all(pair.cold.withheld.of(position)),
                    MODEL: ids.listed(pair.cold.model[position]),
                }
            )


class _Ids:
    """Ids of rows, as JSON that is put into lines as it is."""

    def __init__(self, index: EntityIndex) -> None:
        self._index = index

    def of(self, row: int) -> str:
        return self.all(np.array([row]))[0]

    def all(self, rows: NDArray[Any]) -> list[str]:
        found: list[str] = orjson.loads(b"[" + b",".join(self._index.ids(rows)) + b"]")
        return found

    def listed(self, rows: Lists) -> list[str]:
        return self.all(rows[rows >= 0])
