"""Room in memory: what trainings on this machine need and hold, what is left for one more, and what to say of it."""

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lucid.errors import NotEnoughMemory
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.store.tables.trainings import TrainingRow
from lucid.training.estimate import Cost, read_cost
from lucid.training.memory import available_bytes, in_words, used_bytes


@dataclass(frozen=True)
class Share:
    """What a training that works on this machine needs at its highest point, and what it holds now, in bytes."""

    needs: int
    holds: int = 0


def room(settings: Settings, others: Iterable[Share] = (), own: int = 0) -> int | None:
    """Bytes that one more training may need beside others; None where memory is not looked at.

    `own` are those that the process which asks holds already, and which its training will go on using.
    """
    if settings.training_memory == "off":
        return None
    limit = settings.training_memory_bytes
    if limit is not None:
        return limit - sum(max(share.needs, share.holds) for share in others)
    return available_bytes() + own - sum(max(0, share.needs - share.holds) for share in others)


def most(settings: Settings, others: Iterable[Share] = (), own: int = 0) -> int | None:
    """Bytes that a training could have if the others were done; None where memory is not looked at."""
    if settings.training_memory == "off":
        return None
    limit = settings.training_memory_bytes
    return limit if limit is not None else available_bytes() + own + sum(share.holds for share in others)


def worker() -> dict[str, str | int]:
    """This process, as a training notes who works on it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def here(home: Path, rows: Iterable[TrainingRow]) -> Iterator[tuple[TrainingRow, Cost]]:
    """Those trainings that have selected their data and whose process lives on this machine, with what they need."""
    for row in rows:
        cost = read_cost(Home(home).version(row.status.model_id, row.status.version))
        if cost and cost.needs and cost.host == socket.gethostname() and used_bytes(cost.pid):
            yield row, cost


def share(cost: Cost) -> Share:
    """Of the memory, of a training that works here."""
    return Share(cost.needs, 0 if cost.pid == os.getpid() else used_bytes(cost.pid))


def waits(needs: int, left: int) -> str:
    """What a training says that waits until there is room."""
    return f"waits for memory: about {in_words(needs)}, {in_words(max(0, left))} free"


def too_large(memory_by_part: Mapping[str, int], available: int) -> NotEnoughMemory:
    """Why a training is refused that needs more than there is, with the figures."""
    largest = max(memory_by_part, key=lambda part: memory_by_part[part])
    return NotEnoughMemory(
        f"the training needs about {in_words(sum(memory_by_part.values()))} of memory, most of it for {largest} "
        f"({in_words(memory_by_part[largest])}), and {in_words(max(0, available))} are available; let it use less data "
        "(fewer data_tags, data_filters, a lower maximum_interaction_age_days), or give it more memory"
    )
