"""The graph that a training learns from: of all that was selected, without strengths where these do not pay."""

from pathlib import Path

from lucid.graph.relation_weights import StrengthUse
from lucid.graph.typed_graph import TypedGraph, read_graph

_USE = "use_of_strengths"


def write_use_of_strengths(folder: Path, use: StrengthUse) -> None:
    """Leave in a folder for work what was chosen."""
    (folder / _USE).write_text(use)


def read_learned_graph(folder: Path) -> TypedGraph:
    """The graph in a folder for work, once `write_use_of_strengths` has been there.

    Where strengths are ignored it is the same, to the last bit, as where nothing says how much somebody liked what he
    met, so that values that are noise change nothing.
    """
    graph, use = read_graph(folder), (folder / _USE).read_text()
    return graph.without_strengths() if use == "ignored" else graph
