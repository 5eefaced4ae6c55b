"""Models and their versions as their owner sees and changes them: list, show, delete, roll back.

Reads what trainings left in the catalog and on disk; how a training makes a version is told in `lucid.training.run`.
"""

from contextlib import suppress
from datetime import datetime

from lucid.errors import DamagedVersion, ModelNotReady, UnknownModel, UnknownVersion
from lucid.schema.fields import utc_now
from lucid.schema.training import Model, Version
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training.report import read_report
from lucid.training.run import alone_with
from lucid.versions import lifecycle


def list_models(settings: Settings) -> list[Model]:
    """All models with their versions, by name, without reports."""
    models = []
    for model_id in Catalog(settings.home).models():
        with suppress(UnknownModel):  # deleted in this moment
            models.append(_describe(settings, model_id))
    return models


def show_model(settings: Settings, model_id: str) -> Model:
    """A model with the report of each version that can be read; raises UnknownModel."""
    model = _describe(settings, model_id)
    for version in model.versions:
        folder = lifecycle.version_folder(settings.home, model_id, version.version)
        with suppress(DamagedVersion), lifecycle.reading(folder):  # removed in this moment, or damaged
            version.report = read_report(folder)
    return model


def delete_model(settings: Settings, model_id: str) -> Model:
    """Delete a model with all its versions and return what it was; its version numbers are never given again.

    Raises UnknownModel, and AlreadyTraining while it is being trained or refreshed.
    """
    catalog, deleted = Catalog(settings.home), _describe(settings, model_id)
    with alone_with(settings, model_id):
        # Entered like a refresh: no training can begin meanwhile, and what a killed process leaves is swept.
        catalog.start_training(model_id, {}, utc_now(), "select", refresh_of=0)
        lifecycle.remove_model(settings.home, model_id)
        catalog.forget_model(model_id)
    return deleted


def roll_back(settings: Settings, model_id: str, version: int | None = None) -> Model:
    """Let a finished version answer: the one named, or the newest from before the training that answers now.

    Where a damaged version should answer, the newest sound one takes its place for good.

    Raises UnknownModel, ModelNotReady, UnknownVersion, DamagedVersion where its files are not as they were published,
    and AlreadyTraining while a process works on the model, since it might remove that version.
    """
    home = settings.home
    with suppress(DamagedVersion):
        lifecycle.live_version(home, model_id)  # an unknown model gets no lock
    with alone_with(settings, model_id):
        if version is None:
            answering = lifecycle.answering_version(home, model_id)
            is_sound = lifecycle.is_live(home, model_id, answering)
            version = _before(settings, model_id, answering) if is_sound else answering
        folder = lifecycle.version_folder(home, model_id, lifecycle.find_version(home, model_id, version))
        lifecycle.expect_sound(folder, thoroughly=True)
        lifecycle.switch(home, model_id, version)
    return _describe(settings, model_id)


def _before(settings: Settings, model_id: str, live: int) -> int:
    """The newest finished version that is older than the training whose vectors answer."""
    trained = live
    while (of := Catalog(settings.home).training(model_id, trained).refresh_of) is not None:
        trained = of
    older = [number for number in lifecycle.versions(settings.home, model_id) if number < trained]
    if not older:
        raise UnknownVersion(f"model {model_id!r} has no finished version before {trained}; version {live} answers")
    return older[-1]


def _describe(settings: Settings, model_id: str) -> Model:
    try:
        live = lifecycle.answering_version(settings.home, model_id)
    except (ModelNotReady, UnknownModel, DamagedVersion):
        live = None
    training = Catalog(settings.home).training(model_id).status
    versions = []
    for number in lifecycle.versions(settings.home, model_id):
        with suppress(FileNotFoundError, DamagedVersion):  # removed in this moment, because newer ones took its place
            versions.append(_version(settings, model_id, number, live))
    return Model(model_id=model_id, live_version=live, training=training, versions=versions)


def _version(settings: Settings, model_id: str, number: int, live: int | None) -> Version:
    manifest = lifecycle.read_manifest(lifecycle.version_folder(settings.home, model_id, number))
    return Version(
        version=number,
        created=datetime.fromisoformat(manifest["created"]),
        live=number == live,
        refresh_of=manifest["refresh_of"],
    )
