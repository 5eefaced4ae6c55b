"""A picture of the quality that a report tells of, as SVG: each pair beside the baselines, and what its scores mean."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from lucid.evaluation.pair_quality import PairQuality
from lucid.model.calibration import Calibration
from lucid.model.pair_model import Pair
from lucid.training.markdown import printable

MOST_PAIRS = 8
"""So many pairs can be told apart; the report has all."""
_LONGEST = 40
_WIDTH, _BARS, _CURVES = 760, 44, 250
"""Pixels: the whole width, the height of a pair's bars, the height of the curves."""
_LEFT, _SPAN = 250, 440
"""Where what is measured begins, and how long its axis is."""
_WHO = {"model": ("model", "#0f766e"), "popularity": ("popularity", "#cbd5e1"), "item_knn": ("item-kNN", "#f59e0b")}
"""What is compared: its field, its name and its colour."""
_LINES = ("#0f766e", "#dc2626", "#2563eb", "#f59e0b", "#7c3aed", "#64748b", "#db2777", "#65a30d")
_HEAD = "font-size='14' font-weight='bold'"
_SCORES = np.linspace(2, 98, 25)
"""Without the ends, of which no interaction tells."""
_LEAST_CHANCE = 1e-4


def quality_chart(pairs: Sequence[PairQuality], calibrations: Mapping[Pair, Calibration]) -> str:
    """An SVG of the first pairs: NDCG@10 beside popularity and item-kNN, and the chance of a hit by score.

    Names are cut and shown as text, whatever customers call their types.
    """
    shown = list(pairs[:MOST_PAIRS])
    curves_at = 60 + _BARS * len(shown)
    height = curves_at + _CURVES + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#1e293b">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#fff"/>',
        *_bars(shown, more=len(pairs) - len(shown)),
        *_curves(shown, calibrations, curves_at),
        "</svg>",
    ]
    return "".join(parts)


def _bars(pairs: Sequence[PairQuality], more: int) -> Iterator[str]:
    """NDCG@10 of what answers and of the baselines, on the same test sources, with their intervals and figures."""
    rest = f"; {more} more in the report" if more else ""
    yield _text(16, 24, f"NDCG@10 on held-out interactions{rest}", _HEAD)
    for place, (name, colour) in enumerate(_WHO.values()):
        at = _WIDTH - 260 + 85 * place
        yield f'<rect x="{at}" y="15" width="10" height="10" fill="{colour}"/>' + _text(at + 14, 24, name)
    longest = max(_end(pair, who) for pair in pairs for who in _WHO) or 1.0
    for row, pair in enumerate(pairs):
        top = 42 + _BARS * row
        yield _text(_LEFT - 10, top + 22, _name(pair), "text-anchor='end'")
        for place, (who, (_, colour)) in enumerate(_WHO.items()):
            ndcg = getattr(pair, who).ndcg
            width, y = round(_SPAN * ndcg / longest), top + 12 * place
            yield f'<rect x="{_LEFT}" y="{y}" width="{width}" height="10" fill="{colour}"/>'
            end = width
            if pair.figures and (low := (found := pair.figures.ranking[who]["ndcg@10"]).low) is not None:
                assert found.high is not None
                start, end = round(_SPAN * low / longest), round(_SPAN * found.high / longest)
                yield f'<path d="M{_LEFT + start} {y + 5}h{end - start}" stroke="#475569"/>'
            yield _text(_LEFT + max(width, end) + 5, y + 9, f"{ndcg:.3f}", "font-size='10'")


def _end(pair: PairQuality, who: str) -> float:
    """Where a bar with its interval ends."""
    high = pair.figures.ranking[who]["ndcg@10"].high if pair.figures else None
    return float(getattr(pair, who).ndcg if high is None else high)


def _curves(pairs: Sequence[PairQuality], calibrations: Mapping[Pair, Calibration], top: int) -> Iterator[str]:
    """The calibrated chance of a hit, on a logarithmic axis, by score."""
    bottom = top + 30 + _CURVES
    yield _text(16, top + 14, "Chance that a recommendation is among the next interactions, by its score", _HEAD)
    for chance in (1.0, 0.1, 0.01, 0.001, 0.0001):
        y = bottom - _height(chance)
        yield f'<path d="M{_LEFT} {y:.0f}h{_SPAN}" stroke="#e2e8f0"/>'
        yield _text(_LEFT - 10, y + 4, f"{100 * chance:g}%", "text-anchor='end' font-size='10'")
    for score in range(0, 101, 25):
        yield _text(_LEFT + _SPAN * score / 100, bottom + 16, str(score), "text-anchor='middle' font-size='10'")
    for row, (pair, colour) in enumerate(zip(pairs, _LINES, strict=False)):
        calibration = calibrations.get((pair.source_type, pair.target_type))
        if calibration is None:
            continue
        places = zip(_SCORES, calibration.probability(_SCORES), strict=True)
        line = " ".join(f"{_LEFT + _SPAN * score / 100:.0f},{bottom - _height(chance):.0f}" for score, chance in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield _text(16, top + 44 + 18 * row, _name(pair), f"fill='{colour}'")


def _height(chance: float) -> float:
    """How high above the axis a chance stands."""
    return float(_CURVES * (1 - np.log10(max(chance, _LEAST_CHANCE)) / np.log10(_LEAST_CHANCE)))


def _name(pair: PairQuality) -> str:
    half = _LONGEST // 2
    source, target = (
        name if len(name) <= half else name[: half - 1] + "…" for name in (pair.source_type, pair.target_type)
    )
    return f"{source} → {target}"


def _text(x: float, y: float, said: str, how: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {how}>{escape(printable(said))}</text>'
