"""Lucid: CSV in, recommendations out, from a graph of everything that is known."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lucid.client import Client
    from lucid.workspace import Workspace

__all__ = ["Client", "Workspace"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Each is loaded only when asked for: the service does without pandas, a client without all of the engine.
    if name in __all__:
        return getattr(import_module(f"lucid.{name.lower()}"), name)
    raise AttributeError(f"module 'lucid' has no attribute {name!r}")
