"""The schema of a graph as a drawing: its types, and lines between those that relations link."""

import math
from collections import Counter
from dataclasses import dataclass

from lucid.training.report import GraphCounts
from lucid.typing import INTERACTION

MOST_TYPES = 14
"""More types than these would cover each other; those with the most edges are drawn, and the list has all."""
_MIDDLE_X, _MIDDLE_Y = 360.0, 250.0
_INNER, _OUTER, _LOOP = 90.0, 205.0, 46.0

Place = tuple[float, float]


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
    """Place the types, and sum up the relations between each two."""
    edges, weight, interacting = Counter[tuple[str, str]](), Counter[str](), set[tuple[str, str]]()
    for edge in graph.edges:
        ends = min(edge.source_type, edge.target_type), max(edge.source_type, edge.target_type)
        edges[ends] += edge.count
        weight.update(dict.fromkeys(ends, edge.count))
        if edge.relation.startswith(INTERACTION):
            interacting.add(ends)
    shown = sorted(graph.entity_types, key=lambda name: (-weight[name], name))[:MOST_TYPES]
    places = _places(sorted(shown), {name for ends in interacting for name in ends}, edges)
    most = max(edges.values(), default=1)
    lines = [
        _line(places[source], places[target], (source, target) in interacting, count, most)
        for (source, target), count in sorted(edges.items())
        if source in places and target in places
    ]
    types = [DrawnType(name, *place) for name, place in sorted(places.items())]
    return Drawing(types, lines, len(graph.entity_types) - len(types))


def _places(shown: list[str], interacting: set[str], edges: Counter[tuple[str, str]]) -> dict[str, Place]:
    """Types that interact stand on a small circle in the middle, those made of metadata around it, near to theirs."""
    inner = [name for name in shown if name in interacting]
    outer = [name for name in shown if name not in interacting]
    places = {name: _on_circle(number, len(inner), _INNER) for number, name in enumerate(inner)}

    def direction(name: str) -> float:
        near = [places[other] for pair in edges if name in pair for other in pair if other in places]
        x, y = (sum(place[axis] for place in near) / max(len(near), 1) for axis in (0, 1))
        return math.atan2(y - _MIDDLE_Y, x - _MIDDLE_X)

    around = sorted(outer, key=lambda name: (direction(name), name))
    return places | {name: _on_circle(number + 0.5, len(around), _OUTER) for number, name in enumerate(around)}


def _on_circle(number: float, count: int, radius: float) -> Place:
    """A place on an ellipse, counted from its left end."""
    angle = 2 * math.pi * number / max(count, 1) - math.pi
    return round(_MIDDLE_X + 1.4 * radius * math.cos(angle), 1), round(_MIDDLE_Y + radius * math.sin(angle), 1)


def _line(source: Place, target: Place, interaction: bool, count: int, most: int) -> DrawnLine:
    """The number stands nearer to the end that is further out, where fewer lines meet."""
    width = round(1.5 + 6 * math.log1p(count) / math.log1p(most), 1)
    loop = source == target
    part = 0.5 if interaction else 0.62 if _distance(target) > _distance(source) else 0.38
    x, y = ((1 - part) * source[axis] + part * target[axis] for axis in (0, 1))
    return DrawnLine(*source, *target, loop, interaction, width, count, round(x, 1), round(y - _LOOP * loop, 1))


def _distance(place: Place) -> float:
    return math.hypot(place[0] - _MIDDLE_X, place[1] - _MIDDLE_Y)
