"""Looks for damage in the home, so that its owner learns of it before a customer does."""

from pathlib import Path

from lucid.errors import DamagedVersion
from lucid.health import HealthWarnings, Round
from lucid.store.locks import text_of
from lucid.versions import lifecycle

_Stamps = tuple[tuple[int, int, int], ...]
"""What changes when a file is written, replaced or restored, of each JSON file of a version."""


class Inspection:
    """Looks at all models again and again: which version `live` names, and the small files of every version.

    Names and sizes of files are compared each time, the checksums of JSON files when they have changed; see
    `lucid.serving.registry.Shelf.verify` for all others.
    """

    def __init__(self, home: Path, warnings: HealthWarnings) -> None:
        self._home, self._warnings = home, warnings
        self._seen: dict[Path, tuple[_Stamps, str | None]] = {}

    def look(self) -> None:
        """Warn of all that is damaged now, and of nothing else any more."""
        before, self._seen = self._seen, {}
        with self._warnings.round("models") as each:
            for folder in (self._home / "models").glob("*"):
                with each.apart(folder.name, f"models/{folder.name} cannot be looked at"):
                    model_id = text_of(folder.name)
                    if model_id is not None and folder.is_dir():  # else it is not ours
                        self._look_at_model(model_id, folder, before, each)

    def _look_at_model(
        self, model_id: str, folder: Path, before: dict[Path, tuple[_Stamps, str | None]], each: Round
    ) -> None:
        if found := self._wrong_pointer(model_id):
            each.warn(f"{folder.name}/{lifecycle.LIVE}", _sentence(f"{folder.name}/{lifecycle.LIVE}: {found}"))
        for number in lifecycle.begun_versions(self._home, model_id):
            version = folder / str(number)
            if (version / lifecycle.MANIFEST).exists():  # else it is not complete yet
                found = self._damage(version, before)
                if found and version.exists():
                    each.warn(f"{folder.name}/{number}", _sentence(f"{folder.name}/{number}/{found}"))

    def _damage(self, version: Path, before: dict[Path, tuple[_Stamps, str | None]]) -> str | None:
        stamps = _stamps(version)
        seen, found = before.get(version, ((), None))
        if seen != stamps:
            found = lifecycle.compare(version, ".json")
        self._seen[version] = stamps, found
        return found or lifecycle.damage(version)

    def _wrong_pointer(self, model_id: str) -> str | None:
        """What is wrong with the file that names the version that answers."""
        try:
            number = lifecycle.live_number(self._home, model_id)
            if lifecycle.version_folder(self._home, model_id, number).is_dir():
                return None
            again = lifecycle.live_number(self._home, model_id)  # another may have taken its place in this moment
            return f"it names version {number}, which is not there" if again == number else None
        except FileNotFoundError:  # no training has finished yet
            return None
        except DamagedVersion as error:
            return error.found


def _stamps(version: Path) -> _Stamps:
    found = [path.stat() for path in sorted(version.glob("*.json"))]
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)


def _sentence(found: str) -> str:
    return f"models/{found}; roll back to another version, train the model again, or run: lucid check --repair"
