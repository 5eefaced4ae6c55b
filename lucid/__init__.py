"""Lucid: CSV in, recommendations out, from a graph of everything that is known."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lucid.workspace import Workspace

__all__ = ["Workspace"]


def __getattr__(name: str) -> Any:
    # The service imports parts of this package where pandas is not wanted; `Workspace` loads it only when asked.
    if name == "Workspace":
        from lucid.workspace import Workspace

        return Workspace
    raise AttributeError(f"module 'lucid' has no attribute {name!r}")
