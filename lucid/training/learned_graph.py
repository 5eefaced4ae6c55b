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
    use = (folder / _USE).read_text()
    return learned(read_graph(folder), is_ignored=use == "ignored")


def learned(selected: TypedGraph, *, is_ignored: bool) -> TypedGraph:
    """What is learned from a graph; itself where strengths count, or where it has none."""
    return selected.without_strengths() if is_ignored and selected.pairs_with_strengths else selected
