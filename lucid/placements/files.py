"""Placements as files: every change is a new version, and no version is ever changed.

    placements/<name>/<version>.json    the rules, numbered from 1 without gaps; the last one counts

Serving reads them without the catalog. A placement that is ended has a last version that says so; its name may be used
again, and its versions can still be asked for by their numbers.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from lucid.errors import InvalidRequest, UnknownPlacement
from lucid.schema.names import unknown
from lucid.schema.placements import Placement, PlacementRequest, dump, read_reference, request_of
from lucid.store.documents import read_json
from lucid.store.files import make_folder, write_new
from lucid.store.home import Home, text_of

_REMEDY = "restore it from a backup, or save the placement anew"


class Placements:
    """The placements of a home; safe to share between threads and processes."""

    def __init__(self, home: Path) -> None:
        self._home = Home(home)
        self._latest: dict[str, int] = {}
        self._read: dict[tuple[str, int], Placement] = {}

    def save(self, wanted: PlacementRequest, now: datetime) -> Placement:
        """A new version of a placement with these rules, or the last one where it has just these."""
        latest = self._last(wanted.name)
        if latest and not latest.retired and PlacementRequest.model_validate(request_of(latest)) == wanted:
            return latest
        return self._write(wanted.name, dump(wanted), now)

    def retire(self, name: str, now: datetime) -> Placement:
        """End a placement, and return the version that did; raises UnknownPlacement."""
        self.find(name)
        return self._write(name, {"name": name, "retired": True}, now)

    def find(self, reference: str) -> Placement:
        """The last version of `home`, or that of `home@3`; takes some microseconds once it was read.

        Raises UnknownPlacement, InvalidRequest for what is no reference, Damaged.
        """
        try:
            name, number = read_reference(reference)
        except ValueError as error:
            raise InvalidRequest(f"placement: {error}") from error
        latest = self._number(name)
        if not latest:
            raise UnknownPlacement(unknown("placement", name, self.names()))
        if number is not None and number > latest:
            raise UnknownPlacement(f"placement {name!r} has no version {number}; its last one is {latest}")
        found = self._version(name, number or latest)
        if found.retired:
            raise UnknownPlacement(f"placement {name!r} was ended by its version {found.version}; save it anew")
        return found

    def names(self) -> list[str]:
        """Placements that answer, sorted."""
        return [placement.name for placement in self.all()]

    def all(self) -> list[Placement]:
        """The last version of each placement that answers, by name."""
        folders = self._home.placements.iterdir() if self._home.placements.is_dir() else ()
        names = sorted(name for folder in folders if (name := text_of(folder.name)))
        found = (self._last(name) for name in names)
        return [placement for placement in found if placement and not placement.retired]

    def versions(self, name: str) -> list[Placement]:
        """All versions of a placement, the last one first; raises UnknownPlacement."""
        latest = self._number(name)
        if not latest:
            raise UnknownPlacement(unknown("placement", name, self.names()))
        return [self._version(name, number) for number in range(latest, 0, -1)]

    def _last(self, name: str) -> Placement | None:
        number = self._number(name)
        return self._version(name, number) if number else None

    def _number(self, name: str) -> int:
        """The number of the last version, 0 where there is none; numbers have no gaps, so the next is looked for."""
        number = self._latest.get(name, 0)
        while self._path(name, number + 1).exists():
            number += 1
        self._latest[name] = number
        return number

    def _version(self, name: str, number: int) -> Placement:
        if (name, number) not in self._read:
            self._read[name, number] = read_json(self._path(name, number), Placement.model_validate, _REMEDY)
        return self._read[name, number]

    def _path(self, name: str, number: int) -> Path:
        return self._home.placement(name) / f"{number}.json"

    def _write(self, name: str, content: dict[str, Any], now: datetime) -> Placement:
        make_folder(self._home.placement(name))
        while True:
            number = self._number(name) + 1
            made = Placement.model_validate({**content, "version": number, "created": now})
            if write_new(self._path(name, number), json.dumps(dump(made), indent=1, ensure_ascii=False)):
                return made
