"""Models and their versions as their owner sees and changes them: list, show, delete, roll back, callbacks.

Reads what trainings left in the catalog and on disk; how a training makes a version is told in `lucid.training.run`.
"""

from contextlib import suppress

from lucid.errors import DamagedVersion, ModelNotReady, UnknownDelivery, UnknownModel, UnknownVersion
from lucid.schema.deliveries import Delivery
from lucid.schema.fields import utc_now
from lucid.schema.names import unknown
from lucid.schema.training import Model, ModelStatus, Version
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training.run import alone_with
from lucid.training.shown_report import show_report
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.manifest import Manifest
from lucid.webhooks.callbacks import make_event


def list_models(settings: Settings) -> list[Model]:
    """All models with their versions, by name, without reports."""
    models = []
    for model_id in Catalog(settings.home).trainings.models():
        with suppress(UnknownModel):  # deleted in this moment
            models.append(_describe(settings, model_id))
    return models


def show_model(settings: Settings, model_id: str) -> Model:
    """A model with the report of each version that can be read; raises UnknownModel."""
    model = _describe(settings, model_id)
    for version in model.versions:
        handle = ModelVersions(settings.home, model_id).version(version.version)
        with suppress(DamagedVersion), handle.reading():  # removed in this moment, or damaged
            version.report = show_report(handle.folder)
    return model


def delete_model(settings: Settings, model_id: str) -> Model:
    """Delete a model with all its versions and return what it was; its version numbers are never given again.

    Raises UnknownModel, and AlreadyTraining while it is being trained or refreshed.
    """
    catalog, deleted = Catalog(settings.home), _describe(settings, model_id)
    with alone_with(settings, model_id):
        # Entered like a refresh: no training can begin meanwhile, and what a killed process leaves is swept.
        catalog.trainings.start(model_id, {}, utc_now(), "select", refresh_of=0)
        ModelVersions(settings.home, model_id).remove()
        catalog.trainings.forget_model(model_id)
    return deleted


def roll_back(settings: Settings, model_id: str, version: int | None = None) -> Model:
    """Let a finished version answer: the one named, or the newest from before the training that answers now.

    Where a damaged version should answer, the newest sound one takes its place for good.

    Raises UnknownModel, ModelNotReady, UnknownVersion, DamagedVersion where its files are not as they were published,
    and AlreadyTraining while a process works on the model, since it might remove that version.
    """
    versions = ModelVersions(settings.home, model_id)
    with suppress(DamagedVersion):
        versions.live()  # an unknown model gets no lock
    with alone_with(settings, model_id):
        if version is None:
            answering = versions.answering().number
            version = _before(versions, answering) if versions.is_live(answering) else answering
        chosen = versions.named(version)
        chosen.expect_sound(thoroughly=True)
        versions.switch(chosen)
    return _describe(settings, model_id)


def refresh_status(settings: Settings, model_id: str) -> ModelStatus:
    """How far the latest refresh of a model has come; raises UnknownModel, UnknownVersion where it has had none."""
    trainings = Catalog(settings.home).trainings
    trainings.get(model_id)
    found = trainings.latest_refresh(model_id)
    if found is None:
        raise UnknownVersion(f"model {model_id!r} was never refreshed")
    return found.status


def deliveries(settings: Settings, model_id: str) -> list[Delivery]:
    """The callbacks of a model, the newest first; raises UnknownModel."""
    catalog = Catalog(settings.home)
    catalog.trainings.get(model_id)
    return catalog.deliveries.of_model(model_id)


def resend(settings: Settings, model_id: str, event_id: str) -> Delivery:
    """Enter that an event is sent once more, as it was at first; raises UnknownModel, UnknownDelivery."""
    known = {delivery.event_id: delivery for delivery in deliveries(settings, model_id)}
    if event_id not in known:
        raise UnknownDelivery(unknown("delivery of this model", event_id, known))
    again, catalog = known[event_id], Catalog(settings.home)
    status = catalog.trainings.get(model_id, again.version).status
    return catalog.deliveries.owe_again(make_event(status, again.url, event_id, again.created), utc_now())


def _before(versions: ModelVersions, live: int) -> int:
    """The newest finished version that is older than the training whose embeddings answer."""
    trained, catalog = live, Catalog(versions.home)
    while (of := catalog.trainings.get(versions.model_id, trained).refresh_of) is not None:
        trained = of
    older = [version.number for version in versions.complete() if version.number < trained]
    if not older:
        raise UnknownVersion(
            f"model {versions.model_id!r} has no finished version before {trained}; version {live} answers"
        )
    return older[-1]


def _describe(settings: Settings, model_id: str) -> Model:
    kept = ModelVersions(settings.home, model_id)
    try:
        live = kept.answering().number
    except (ModelNotReady, UnknownModel, DamagedVersion):
        live = None
    trainings = Catalog(settings.home).trainings
    training, refresh = trainings.get(model_id), trainings.latest_refresh(model_id)
    versions = []
    for version in kept.complete():
        with suppress(FileNotFoundError, DamagedVersion):  # removed in this moment, because newer ones took its place
            versions.append(_describe_version(version.manifest, live))
    return Model(
        model_id=model_id,
        live_version=live,
        training=training.status,
        refresh=refresh.status if refresh else None,
        versions=versions,
    )


def _describe_version(manifest: Manifest, live: int | None) -> Version:
    number = manifest.version
    return Version(
        version=number,
        created=manifest.created,
        live=number == live,
        refresh_of=manifest.refresh_of,
        bytes=sum(manifest.files.values()),
    )
