"""How much of the disk a home takes, by kind, model and version; nothing is opened, names and sizes tell."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lucid.schema.disk import DiskUse, ModelDisk, VersionDisk
from lucid.store.home import Home, text_of


class DiskMeter:
    """Measures a home again and again.

    The folders of batches and versions are looked into once and then when something was written into them or replaced,
    which changes the time of the folder. So a look costs a call of the system for each of them, and not for each file.
    """

    def __init__(self, home: Path) -> None:
        self._home = Home(home)
        self._known: dict[Path, tuple[int, int]] = {}
        """Of folders that rarely change: when they last did, and their bytes."""

    def look(self) -> DiskUse:
        """What the home takes now; what comes or goes in this moment counts or does not."""
        before, self._known = self._known, {}
        home = self._home
        folders = {place.name for place in (home.batches, home.models, home.uploads, home.logs, home.prefect)}
        kinds = dict.fromkeys([*folders, "catalog", "other"], 0)
        models = []
        for entry in _entries(home.path):
            kind = entry.name if entry.name in folders else "other"
            if entry.name.startswith(home.catalog.name):
                kind = "catalog"
            if kind == "batches":
                kinds[kind] = sum(self._kept(one, before) for one in _entries(entry.path))
            elif kind == "models":
                models = [self._model(one, before) for one in _entries(entry.path)]
                kinds[kind] = sum(model.bytes for model in models)
            else:
                kinds[kind] += _bytes(entry)
        named = [model for model in models if model.model_id]
        return DiskUse(**kinds, by_model=sorted(named, key=lambda model: model.model_id))

    def _model(self, folder: os.DirEntry[str], before: dict[Path, tuple[int, int]]) -> ModelDisk:
        """What lies in the folder of a model; without a name where that is not one."""
        sizes = {entry.name: self._kept(entry, before) for entry in _entries(folder.path)}
        versions = sorted((int(name), size) for name, size in sizes.items() if name.isdecimal())
        return ModelDisk(
            model_id=text_of(folder.name) or "",
            bytes=sum(sizes.values()),
            versions=[VersionDisk(version=number, bytes=size) for number, size in versions],
        )

    def _kept(self, entry: os.DirEntry[str], before: dict[Path, tuple[int, int]]) -> int:
        """Bytes of what changes rarely, as they were where it has not."""
        path = Path(entry.path)
        with suppress(OSError):
            stamp = entry.stat(follow_symlinks=False).st_mtime_ns
            known = before.get(path)
            if known is None or known[0] != stamp:
                known = stamp, _bytes(entry)
            self._known[path] = known
            return known[1]
        return 0


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is none."""
    with suppress(OSError):
        return sum(_bytes(entry) for entry in _entries(path)) if path.is_dir() else path.stat().st_size
    return 0


def _bytes(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):  # it is gone, or closed to us
        if entry.is_dir(follow_symlinks=False):
            return sum(_bytes(one) for one in _entries(entry.path))
        return entry.stat(follow_symlinks=False).st_size
    return 0


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        yield from found
