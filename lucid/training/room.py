"""Room in memory: what trainings on this machine need and hold, what is left for one more, and what to say of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lucid.errors import NotEnoughMemory
from lucid.settings import Settings
from lucid.training.memory import available_bytes, in_words


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


def too_large(memory_by_part: Mapping[str, int], available: int) -> NotEnoughMemory:
    """Why a training is refused that needs more than there is, with the figures."""
    largest = max(memory_by_part, key=lambda part: memory_by_part[part])
    return NotEnoughMemory(
        f"the training needs about {in_words(sum(memory_by_part.values()))} of memory, most of it for {largest} "
        f"({in_words(memory_by_part[largest])}), and {in_words(max(0, available))} are available; let it use less data "
        "(fewer data_tags, data_filters, a lower maximum_interaction_age_days), or give it more memory"
    )
