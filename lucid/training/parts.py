"""Parts of a step: computations that may be done apart, in whatever process, and come to the same there.

A part is told by a small description, names and numbers, and opens itself what else it needs. Where a training knows
who does its parts (`Training.spread`), as flows make tasks of them, they go there; else this process does them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lucid.training.run import Training

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Described(Protocol):
    """The description of a part, which can be pickled."""

    @property
    def name(self) -> str:
        """What people read."""


D = TypeVar("D", bound=Described, contravariant=True)


@dataclass(frozen=True)
class PartWork(Generic[D, T_co]):
    """What is to be done for each of some parts; done again, it comes to the same and leaves the same files.

    `doing` is what people read, before the name of a part.
    """

    name: str
    doing: str
    work: Callable[[Training, D], T_co]


class Opened(Generic[T]):
    """What the parts of a training need alike, opened once in a process; that of the last training is kept."""

    def __init__(self, open_for: Callable[[Training], T]) -> None:
        self._open_for, self._lock = open_for, threading.Lock()
        self._kept: tuple[tuple[Path, datetime], T] | None = None

    def of(self, training: Training) -> T:
        """What is open for a training, by whatever thread of this process."""
        key = training.folder, training.started  # a model that was deleted may come again with the same versions
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = None
                self._kept = key, self._open_for(training)
            return self._kept[1]

    @contextmanager
    def keeping(self, training: Training, opened: T) -> Iterator[None]:
        """Let the parts that this process does have what it has open already."""
        self._kept = (training.folder, training.started), opened
        try:
            yield
        finally:
            self._kept = None
