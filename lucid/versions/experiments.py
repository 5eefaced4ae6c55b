"""Experiments of a home, as files: what is tried on whom, read by every query that names one.

Assignment keeps no state: the variant of a source follows from the experiment's name and the source's id alone, so any
process, and any program of others, finds the same one.
"""

import os
from hashlib import blake2b
from pathlib import Path

from lucid.errors import Damaged, ExperimentExists, UnknownExperiment
from lucid.schema.experiments import Experiment, Variant
from lucid.schema.names import unknown
from lucid.store.documents import read_text
from lucid.store.files import make_folder, write_once, write_text
from lucid.store.home import Home, text_of

_REMEDY = "delete the experiment and begin another"
_SUFFIX = ".json"


def variant_of(experiment: Experiment, source_id: str) -> Variant | None:
    """The variant of a source; None where it takes no part, or nobody does any more.

    A number between 0 and 1 is made of 64 bits of BLAKE2b, keyed by the experiment's name: it is uniform over sources,
    and independent of that of another experiment. It falls into the shares one after the other.
    """
    if experiment.stopped is not None:
        return None
    place = _place(experiment.name, source_id)
    for variant in experiment.variants:
        if place < variant.share:
            return variant
        place -= variant.share
    # Shares that are 1 together may be a little less, as sums of decimal numbers are.
    return experiment.variants[-1] if sum(each.share for each in experiment.variants) > 1 - 1e-9 else None


def _place(name: str, source_id: str) -> float:
    key = blake2b(name.encode(), digest_size=32).digest()
    found = blake2b(source_id.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return int.from_bytes(found) / 2**64


class Experiments:
    """The experiments of a home; safe to share between threads. What was read is kept while its file is the same."""

    def __init__(self, home: Path) -> None:
        self._home = Home(home)
        self._read: dict[str, tuple[tuple[int, int], Experiment]] = {}

    def get(self, name: str) -> Experiment:
        """An experiment; raises UnknownExperiment, and Damaged where its file cannot be read."""
        path = self._home.experiment(name)
        try:
            found = os.stat(path)
            stamp = found.st_ino, found.st_mtime_ns
            known = self._read.get(name)
            if known is None or known[0] != stamp:
                known = self._read[name] = stamp, read_text(path, Experiment.model_validate_json, _REMEDY)
            return known[1]
        except FileNotFoundError as error:
            self._read.pop(name, None)
            raise UnknownExperiment(unknown("experiment", name, self._names())) from error

    def all(self) -> list[Experiment]:
        """All that can be read, by name."""
        found = []
        for name in sorted(self._names()):
            try:
                found.append(self.get(name))
            except (UnknownExperiment, Damaged):  # deleted in this moment; who asks for it alone is told
                continue
        return found

    def add(self, experiment: Experiment) -> None:
        """Begin an experiment; raises ExperimentExists."""
        make_folder(self._home.experiments)
        text = experiment.model_dump_json()
        if write_once(self._home.experiment(experiment.name), text) != text:
            raise ExperimentExists(
                f"there is an experiment {experiment.name!r} already; delete it first, or take another name"
            )

    def replace(self, experiment: Experiment) -> None:
        """Write an experiment anew."""
        write_text(self._home.experiment(experiment.name), experiment.model_dump_json())

    def delete(self, name: str) -> None:
        """Forget an experiment; one that is not there may be deleted too."""
        self._home.experiment(name).unlink(missing_ok=True)

    def versions_of(self, model_id: str) -> set[int]:
        """The versions of a model that are tried now."""
        return {
            variant.version
            for experiment in self.all()
            if experiment.model_id == model_id and experiment.stopped is None
            for variant in experiment.variants
            if variant.version is not None
        }

    def _names(self) -> list[str]:
        paths = self._home.experiments.glob(f"*{_SUFFIX}")
        return [name for path in paths if (name := text_of(path.name.removesuffix(_SUFFIX)))]
