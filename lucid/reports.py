"""The report of a version, and what its figures are computed from, for people and for `lucid verify`."""

from collections.abc import Iterator
from typing import Any

from lucid.errors import OutdatedVersion
from lucid.settings import Settings
from lucid.training.held_out import export, read_held_out
from lucid.training.report import read_report
from lucid.training.shown_report import show_report
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version


def report_of(settings: Settings, model_id: str, version: int | None = None) -> dict[str, Any]:
    """The training report of a version, by default of the one that answers.

    Raises UnknownModel, ModelNotReady, UnknownVersion, and DamagedVersion where it cannot be read.
    """
    with _named(settings, model_id, version).reading() as made:
        return show_report(made.folder)


def held_out_of(settings: Settings, model_id: str, version: int | None = None) -> Iterator[bytes]:
    """The held-out pairs of a version as `lucid.training.held_out.export` writes them, in pieces.

    Raises as `report_of` does, and OutdatedVersion where an earlier release made the version and kept none.
    """
    with _named(settings, model_id, version).reading() as made:
        report = read_report(made.folder)
        if report.bootstrap is None:
            raise OutdatedVersion(
                f"an earlier release of Lucid made version {made.number} of this model and kept no held-out pairs; "
                "train the model again"
            )
        return export(report, read_held_out(made.folder), made.index)


def _named(settings: Settings, model_id: str, version: int | None) -> Version:
    versions = ModelVersions(settings.home, model_id)
    answering = versions.answering()  # an unknown model is told before an unknown version
    return answering if version is None else versions.named(version)
