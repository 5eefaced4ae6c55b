"""The registry of models: a query's answer from the version that should give it, or from another where it is damaged.

Needs neither Prefect nor torch, and a query never waits for the catalog.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from lucid.errors import DamagedVersion, LucidError
from lucid.health import HealthWarnings
from lucid.placements.files import Placements
from lucid.schema.placements import PlacementRules
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.live_versions import LiveVersions
from lucid.serving.predictor import Predictor
from lucid.serving.rendering import Answer
from lucid.versions.known_damage import KnownDamage
from lucid.versions.version import Version


class ModelRegistry:
    """Answers queries from the live versions of models, which it keeps open; safe to share between threads.

    A registry that is `patient` looks before every answer whether batches were uploaded; any other knows them from the
    last `refresh`, so that no query waits for the catalog. Models whose live version does not answer are told to
    `warnings`.
    """

    def __init__(self, home: Path, *, patient: bool = True, warnings: HealthWarnings | None = None) -> None:
        self._patient, self._damage = patient, KnownDamage()
        self._placements = Placements(home)
        self._live = LiveVersions(home, warnings or HealthWarnings(), self._damage)

    def recommend(self, query: RecommendationQuery, rules: PlacementRules | None = None) -> Answer:
        """Answer a query from the live version or the one it names, as its placement wants it, or else these rules.

        Raises UnknownModel, ModelNotReady, UnknownVersion, OutdatedVersion, UnknownType, InvalidRequest, UnknownSource
        for a single unknown source (unknown ones in a list are reported in the answer), UnknownPlacement, and
        DamagedVersion where the query names a damaged version or the model has no sound one left.
        """
        if self._patient:
            self.refresh()
        if query.placement is not None:
            rules = self._placements.find(query.placement)
        try:
            return self._answer(query, rules)
        except FileNotFoundError:  # it was removed a moment ago, as another took its place
            self._live.forget(query.model_id)
            return self._answer(query, rules)

    def predictor(self, model_id: str, version: int | None = None) -> Predictor:
        """What answers for a model, or its version with a number, to look at; raises as `recommend` does."""
        if self._patient:
            self.refresh()
        return self._live.predictor(model_id, version)

    def lookup_precomputed(self, query: RecommendationQuery, source_id: str | None) -> Answer | None:
        """The answer for one source, whatever sources the query names, if its version is open and it is precomputed.

        None as a source stands for nobody, who gets what is popular or trending.

        Takes some microseconds and a read of less than a kilobyte; None where more is needed.
        """
        if query.version is not None or (predictor := self._live.opened(query.model_id)) is None:
            return None
        try:
            return predictor.lookup_precomputed(query, source_id)
        except (DamagedVersion, LookupError, ValueError):  # the long way finds out what is wrong with the files
            return None

    def refresh(self) -> None:
        """Notice what was uploaded, changed, deleted or damaged since the last time; open versions answer meanwhile."""
        self._live.refresh()

    def take_events(self) -> None:
        """Count the events that have come since the last time, which takes less than a `refresh`."""
        self._live.take_events()

    def verify(self) -> Iterator[int]:
        """Compare the versions that answer with their checksums; see `LiveVersions.verify`."""
        return self._live.verify()

    def _answer(self, query: RecommendationQuery, rules: PlacementRules | None) -> Answer:
        predictor = self._live.predictor(query.model_id, query.version)
        try:
            return _begun(predictor.recommend(query, rules))
        except Exception as error:  # damaged numbers lead anywhere: beyond arrays, to types that there are not
            if not self._is_damaged(predictor.version, error):
                raise
        self._live.forget(query.model_id)
        return self._answer(query, rules)  # from another: this one is known now, and there are only so many

    def _is_damaged(self, version: Version, error: Exception) -> bool:
        """Whether an answer failed because of the version's files, and not for a reason in the query or in our code."""
        if isinstance(error, DamagedVersion):
            self._damage.condemn(version, error.found)
            return True
        if isinstance(error, LucidError | FileNotFoundError):
            return False
        for _ in self._damage.comparing(version):
            pass
        return self._damage.of(version) is not None


def _begun(answer: Answer) -> Answer:
    """The answer with its first rows found, so that what goes wrong goes wrong before anything is sent."""
    first = list(islice(answer.blocks, 1))
    return replace(answer, blocks=chain(first, answer.blocks))
