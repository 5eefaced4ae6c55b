"""Types and names that several packages share: arrays by what they hold, callbacks, prefixes of relation names."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Node rows: positions of entities in the whole graph, or counted from the first of their type where that is said."""
Floats = NDArray[np.float32]
AnyFloats = TypeVar("AnyFloats", bound=NDArray[Any])

Progress = Callable[[float, str], None]
"""Told how far a piece of work has come: percent from 0 to 100 and a word on what is being done."""

IsLost = Callable[[str | None, datetime], bool | Literal["cancelled"]]
"""Tells for the flow run (None if it has none) of work entered at a time whether no process will begin it any more, and
whether that is because somebody cancelled it."""

INTERACTION, LINK, TEXT = "interaction:", "metadata:", "text:"
"""Prefixes of relation names: what was uploaded as interaction, what metadata says, and words of names and texts."""
