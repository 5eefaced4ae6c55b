"""Events of what a run has done, told to Prefect as it ends; see `lucid.events`."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from prefect.events import emit_event

from lucid.errors import LucidError
from lucid.events import Event, of_batches, of_training
from lucid.settings import Settings
from lucid.training.run import Training


def tell_batches(settings: Settings, batch_ids: Sequence[str]) -> None:
    """Tell that batches were imported."""
    with suppress(LucidError):  # what cannot be read now, the service tells
        _emit(of_batches(settings, batch_ids))


def tell_training(training: Training) -> None:
    """Tell how a training or a refresh has ended, if that is written down yet."""
    with suppress(LucidError):
        row = training.catalog.trainings.get(training.model_id, training.version)
        if row.status.status != "running":
            _emit(of_training(training.settings, row))


def _emit(events: Iterable[Event]) -> None:
    """Hand events over to Prefect, which adds the run; one that does not arrive is told by the service."""
    for one in events:
        emit_event(one.event, one.resource, one.occurred, one.related, one.payload, one.id)
