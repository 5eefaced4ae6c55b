"""Models and their versions as their owner sees and changes them: list, show, delete, choose what answers, callbacks.

Reads what trainings left in the catalog and on disk; how a training makes a version is told in `lucid.training.run`.
"""

from contextlib import suppress

from lucid.errors import DamagedVersion, ModelNotReady, UnknownDelivery, UnknownModel, UnknownVersion, VersionAnswers
from lucid.schema.deliveries import Delivery
from lucid.schema.fields import utc_now
from lucid.schema.gate import Gate, GateRequest
from lucid.schema.names import unknown
from lucid.schema.training import Model, ModelStatus, Version
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import publishing
from lucid.training.gate import gate_of
from lucid.training.run import alone_with
from lucid.training.shown_report import show_report
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.manifest import Manifest
from lucid.versions.reviews import Review
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


def find_model(settings: Settings, model_id: str) -> Model:
    """A model without reports; raises UnknownModel."""
    return _describe(settings, model_id)


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


def roll_back(settings: Settings, model_id: str, version: int | None = None, *, pinned: bool = False) -> Model:
    """Let a finished version answer: the one named, or the newest from before the training that answers now.

    Where a damaged version should answer, the newest sound one takes its place for good. It is pinned where the one
    before was, or is to be `pinned`.

    Raises UnknownModel, ModelNotReady, UnknownVersion, DamagedVersion where its files are not as they were published,
    and AlreadyTraining while a process works on the model, since it might remove that version.
    """
    versions = ModelVersions(settings.home, model_id)
    _expect_model(versions)
    with alone_with(settings, model_id):
        if version is None:
            answering = versions.answering().number
            version = _before(versions, answering) if versions.is_live(answering) else answering
        chosen = versions.named(version)
        chosen.expect_untouched()  # the API compares all checksums of what answers, in the background
        publishing.promote(Catalog(settings.home), versions, chosen, pinned=pinned)
    return _describe(settings, model_id)


def promote(settings: Settings, model_id: str, version: int) -> Model:
    """Let a version answer that is held, was rejected or waits behind a pinned one, or any other that is finished.

    Raises as `roll_back` does.
    """
    return roll_back(settings, model_id, version)


def reject(settings: Settings, model_id: str, version: int, reason: str = "") -> Model:
    """Decide that a version shall not answer; it stays until others take its place, and may still be promoted.

    Raises UnknownModel, ModelNotReady, UnknownVersion, and VersionAnswers for the live one.
    """
    versions = ModelVersions(settings.home, model_id)
    if versions.is_live(version):
        raise VersionAnswers(f"version {version} answers; roll back to another one instead of rejecting it")
    rejected = versions.named(version)
    before = versions.review(rejected)
    told = "; ".join(part for part in (reason, before.reason if before else "") if part)
    publishing.reject(Catalog(settings.home), versions, rejected, told)
    return _describe(settings, model_id)


def pin(settings: Settings, model_id: str, version: int | None = None) -> Model:
    """Let a version answer until it is unpinned, by default the one that answers; trainings go on, and wait.

    Raises UnknownModel, ModelNotReady, and for another version than the live one all that `roll_back` raises.
    """
    versions = ModelVersions(settings.home, model_id)
    if version is None or versions.is_live(version):
        pinned = versions.pin(pinned=True).number
        if version in (None, pinned):  # else another one went live in this moment
            return _describe(settings, model_id)
    return roll_back(settings, model_id, version, pinned=True)


def unpin(settings: Settings, model_id: str) -> Model:
    """Let the next training answer again; until then the version that was pinned does. Raises as `pin` does."""
    ModelVersions(settings.home, model_id).pin(pinned=False)
    return _describe(settings, model_id)


def gate(settings: Settings, model_id: str) -> Gate:
    """What a new training of a model has to hold to go live by itself; raises UnknownModel."""
    catalog = Catalog(settings.home)
    catalog.trainings.get(model_id)
    return gate_of(catalog, model_id)


def set_gate(settings: Settings, model_id: str, wanted: GateRequest | None) -> Gate:
    """Change that for trainings that end from now on; None lets the defaults hold. Raises UnknownModel."""
    catalog = Catalog(settings.home)
    catalog.trainings.get(model_id)
    catalog.gates.set(model_id, wanted.model_dump() if wanted else None)
    return gate_of(catalog, model_id)


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
    return catalog.deliveries.owe_again(make_event(status, again.url, event_id, again.created, again.event), utc_now())


def _expect_model(versions: ModelVersions) -> None:
    """Raises UnknownModel, ModelNotReady: such a model gets no lock."""
    with suppress(DamagedVersion):
        versions.live()


def _before(versions: ModelVersions, live: int) -> int:
    """The newest finished version that is older than the training whose embeddings answer."""
    trained, catalog = live, Catalog(versions.home)
    while (of := catalog.trainings.get(versions.model_id, trained).refresh_of) is not None:
        trained = of
    older = [version.number for version in versions.approved() if version.number < trained]
    if not older:
        raise UnknownVersion(
            f"model {versions.model_id!r} has no finished version before {trained}; version {live} answers"
        )
    return older[-1]


def _describe(settings: Settings, model_id: str) -> Model:
    kept = ModelVersions(settings.home, model_id)
    live: int | None = None
    pinned: int | None = None
    with suppress(ModelNotReady, UnknownModel, DamagedVersion):
        live = kept.answering().number
        pinned = kept.live().number if kept.is_pinned else None
    trainings = Catalog(settings.home).trainings
    training, refresh = trainings.get(model_id), trainings.latest_refresh(model_id)
    versions = []
    for version in kept.complete():
        with suppress(FileNotFoundError, DamagedVersion):  # removed in this moment, because newer ones took its place
            versions.append(_describe_version(version.manifest, kept.review(version), live, pinned))
    return Model(
        model_id=model_id,
        live_version=live,
        training=training.status,
        refresh=refresh.status if refresh else None,
        versions=versions,
    )


def _describe_version(manifest: Manifest, review: Review | None, live: int | None, pinned: int | None) -> Version:
    number = manifest.version
    return Version(
        version=number,
        created=manifest.created,
        live=number == live,
        state="live" if number == live else review.state if review else "kept",
        reason=(review.reason or None) if review else None,
        pinned=number == pinned,
        refresh_of=manifest.refresh_of,
        bytes=sum(manifest.files.values()),
    )
