"""The drawing of a graph's schema: all types and relations are in it, and none stands on another."""

from lucid.api.console.drawing import MOST_TYPES, draw
from lucid.training.report import EdgeCount, GraphCounts


def graph(*edges: tuple[str, str, str, int]) -> GraphCounts:
    types = sorted({end for source, _, target, _ in edges for end in (source, target)})
    return GraphCounts(100, types, [EdgeCount(*edge) for edge in edges], [])


def test_relations_between_two_types_are_one_line() -> None:
    """Whichever way they lead, and how many there are; interactions are told apart."""
    drawn = draw(
        graph(
            ("user", "interaction:likes", "video", 10),
            ("video", "interaction:liked by", "user", 5),
            ("video", "metadata:genre", "genre", 3),
            ("user", "interaction:follows", "user", 2),
        )
    )
    lines = {(line.interaction, line.loop, line.edges) for line in drawn.lines}

    assert {(True, False, 15), (False, False, 3), (True, True, 2)} == lines
    assert ["genre", "user", "video"] == [one.name for one in drawn.types]


def test_types_stand_apart_and_within_the_picture() -> None:
    """However many there are; of very many, those with the most edges are drawn."""
    for count in (1, 2, 5, MOST_TYPES, 40):
        edges = [("user", "interaction:saw", "video", 1000)] if count > 1 else []
        edges += [("video", f"metadata:{number}", f"type {number:02}", 100 - number) for number in range(count - 2)]
        drawn = draw(graph(*edges) if edges else GraphCounts(1, ["only"], [], []))
        places = {(one.x, one.y) for one in drawn.types}

        assert min(count, MOST_TYPES) == len(places) == len(drawn.types)
        assert max(0, count - MOST_TYPES) == drawn.left_out
        assert all(20 <= x <= 700 and 20 <= y <= 470 for x, y in places)
        assert count < 2 or {"user", "video"} <= {one.name for one in drawn.types}
