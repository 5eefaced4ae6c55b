"""Looks for damage in the home, so that its owner learns of it before a customer does."""

from pathlib import Path

from lucid.errors import DamagedVersion
from lucid.health import HealthWarnings, Round
from lucid.store.home import Home, text_of
from lucid.versions.files import LIVE
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version

_Stamps = tuple[tuple[int, int, int], ...]
"""What changes when a file is written, replaced or restored, of each JSON file of a version."""


class Inspection:
    """Looks at all models again and again: which version `live` names, and the small files of every version.

    Names and sizes of files are compared each time, the checksums of JSON files when they have changed; see
    `lucid.serving.registry.ModelRegistry.verify` for all others.
    """

    def __init__(self, home: Path, warnings: HealthWarnings) -> None:
        self._home, self._warnings = home, warnings
        self._seen: dict[Version, tuple[_Stamps, str | None]] = {}

    def look(self) -> None:
        """Warn of all that is damaged now, and of nothing else any more."""
        before, self._seen = self._seen, {}
        with self._warnings.round("models") as each:
            for folder in Home(self._home).models.glob("*"):
                with each.apart(folder.name, f"models/{folder.name} cannot be looked at"):
                    model_id = text_of(folder.name)
                    if model_id is not None and folder.is_dir():  # else it is not ours
                        self._look_at_model(model_id, folder, before, each)

    def _look_at_model(
        self, model_id: str, folder: Path, before: dict[Version, tuple[_Stamps, str | None]], each: Round
    ) -> None:
        versions = ModelVersions(self._home, model_id)
        if found := _wrong_pointer(versions):
            each.warn(f"{folder.name}/{LIVE}", _sentence(f"{folder.name}/{LIVE}: {found}"))
        for version in versions.begun():
            if version.is_begun:  # else it is not complete yet
                found = self._damage(version, before)
                if found and version.folder.exists():
                    about = f"{folder.name}/{version.number}"
                    each.warn(about, _sentence(f"{about}/{found}"))

    def _damage(self, version: Version, before: dict[Version, tuple[_Stamps, str | None]]) -> str | None:
        stamps = _stamps(version.folder)
        seen, found = before.get(version, ((), None))
        if seen != stamps:
            found = version.compare(".json")
        self._seen[version] = stamps, found
        return found or version.damage()


def _wrong_pointer(versions: ModelVersions) -> str | None:
    """What is wrong with the file that names the version that answers."""
    try:
        version = versions.pointed_at()
        if version.folder.is_dir():
            return None
        again = versions.pointed_at()  # another may have taken its place in this moment
        return f"it names version {version.number}, which is not there" if again == version else None
    except FileNotFoundError:  # no training has finished yet
        return None
    except DamagedVersion as error:
        return error.found


def _stamps(folder: Path) -> _Stamps:
    found = [path.stat() for path in sorted(folder.glob("*.json"))]
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)


def _sentence(found: str) -> str:
    return f"models/{found}; roll back to another version, train the model again, or run: lucid check --repair"
