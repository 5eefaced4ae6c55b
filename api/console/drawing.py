"""The schema of a graph as a drawing: its types on a circle, and lines between those that relations link."""

import math
from collections import Counter
from dataclasses import dataclass

from lucid.training.report import GraphCounts
from lucid.typing import INTERACTION

MOST_TYPES = 14
"""More types than these would cover each other; those with the most edges are drawn, and the list has all."""
_RADIUS, _MIDDLE_X, _MIDDLE_Y = 190.0, 360.0, 250.0
_LOOP = 46.0


@dataclass(frozen=True)
class DrawnType:
    """A type and where it stands."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class DrawnLine:
    """A line between two types, how thick it is, what stands on it and where; `loop` for one type with itself."""

    x1: float
    y1: float
    x2: float
    y2: float
    loop: bool
    interaction: bool
    width: float
    edges: int
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Drawing:
    """What is drawn, and how many types are not; in a box of 720 by 500."""

    types: list[DrawnType]
    lines: list[DrawnLine]
    left_out: int


def draw(graph: GraphCounts) -> Drawing:
    """Place the types by their names, and sum up the relations between each two."""
    weight = Counter[str]()
    edges: Counter[tuple[str, str]] = Counter()
    interacting = set[tuple[str, str]]()
    for edge in graph.edges:
        ends = min(edge.source_type, edge.target_type), max(edge.source_type, edge.target_type)
        edges[ends] += edge.count
        weight.update(dict.fromkeys(ends, edge.count))
        if edge.relation.startswith(INTERACTION):
            interacting.add(ends)
    names = sorted(sorted(graph.entity_types, key=lambda name: (-weight[name], name))[:MOST_TYPES])
    places = {name: _place(number, len(names)) for number, name in enumerate(names)}
    most = max(edges.values(), default=1)
    lines = [
        _line(places[source], places[target], (source, target) in interacting, count, most)
        for (source, target), count in sorted(edges.items())
        if source in places and target in places
    ]
    return Drawing([DrawnType(name, *places[name]) for name in names], lines, len(graph.entity_types) - len(names))


def _place(number: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * number / max(count, 1) - math.pi / 2
    return round(_MIDDLE_X + 1.4 * _RADIUS * math.cos(angle), 1), round(_MIDDLE_Y + _RADIUS * math.sin(angle), 1)


def _line(
    source: tuple[float, float], target: tuple[float, float], interaction: bool, count: int, most: int
) -> DrawnLine:
    width = round(1.5 + 6 * math.log1p(count) / math.log1p(most), 1)
    loop = source == target
    middle = (0.55 * source[0] + 0.45 * target[0], 0.55 * source[1] + 0.45 * target[1] - (_LOOP if loop else 0))
    x, y = (round(value, 1) for value in middle)
    return DrawnLine(*source, *target, loop, interaction, width, count, x, y)
