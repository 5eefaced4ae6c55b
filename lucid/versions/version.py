"""The handle of a version: where it lies and what is in it, each part opened once, when it is first asked for."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from lucid.data.links import KNOWN_WORDS, learn_again
from lucid.data.names import Names, read_keys
from lucid.graph.adjacency import Adjacency
from lucid.graph.entity_index import EntityIndex
from lucid.graph.histories import InteractionHistory
from lucid.model.embedding import Embedding
from lucid.model.follows import Follows
from lucid.model.pair_model import Pair
from lucid.model.scorer import Scorer
from lucid.store.duck import connect
from lucid.store.files import fsync
from lucid.store.home import Home
from lucid.typing import INTERACTION
from lucid.versions import manifest
from lucid.versions.config import Origin, VersionConfig, read_config, read_origin
from lucid.versions.files import (
    ENTITIES,
    INDEX,
    MANIFEST,
    VALUES,
    read_adjacency,
    read_disliked,
    read_embeddings,
    read_follows,
    read_history,
    read_left_out,
)
from lucid.versions.manifest import Manifest
from lucid.versions.precomputed import PrecomputedPair, open_pairs
from lucid.versions.standings import Standings, read_standings


@dataclass(frozen=True)
class Version:
    """A version of a model under a home, published or being made.

    What is in it raises FileNotFoundError where the version was removed, Damaged where a file cannot be read, and
    OutdatedVersion where another release wrote it in a way that this one does not read; read inside `reading`.
    """

    home: Path
    model_id: str
    number: int
    _scorers: dict[Pair, Scorer] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        return Home(self.home).version(self.model_id, self.number)

    @property
    def work(self) -> Path:
        """Files that only those need who make it."""
        return self.folder / "work"

    # What is in it

    @cached_property
    def manifest(self) -> Manifest:
        return manifest.read_manifest(self.folder)

    @cached_property
    def config(self) -> VersionConfig:
        return read_config(self.folder)

    @cached_property
    def origin(self) -> Origin:
        return read_origin(self.folder)

    @cached_property
    def amounts(self) -> set[str]:
        """Relations whose numbers are amounts, which are added."""
        return {INTERACTION + rule.type for rule in self.origin.strengths if rule.meaning == "amount"}

    @cached_property
    def embeddings(self) -> tuple[Embedding, ...]:
        return read_embeddings(self.folder, self.config.weightings, self.config.erased)

    @cached_property
    def history(self) -> InteractionHistory:
        return read_history(self.folder)

    @cached_property
    def left_out(self) -> InteractionHistory:
        """Interactions that are known, but were left out of what the model learned from."""
        return read_left_out(self.folder)

    @cached_property
    def disliked(self) -> InteractionHistory:
        """What each entity disliked, and whom it was disliked by."""
        return read_disliked(self.folder)

    @cached_property
    def adjacency(self) -> Adjacency:
        return read_adjacency(self.folder)

    @cached_property
    def standings(self) -> Standings | None:
        """What is popular and trending; None for a version of an earlier release, which counted no activity."""
        return read_standings(self.folder, self.config.entity_types)

    @cached_property
    def follows(self) -> dict[Pair, Follows]:
        """What follows what, of the pairs in whose scores it counts."""
        return read_follows(self.folder, self.config.entity_types)

    @cached_property
    def index(self) -> EntityIndex:
        return EntityIndex(self.folder / INDEX)

    @cached_property
    def precomputed(self) -> dict[Pair, PrecomputedPair]:
        return open_pairs(self.folder, self.config.entity_types)

    @cached_property
    def names(self) -> Names:
        """What conditions on its entities may name; read once from their metadata, whatever release wrote them."""
        with connect(threads=2) as connection:
            connection.read_parquet(str(self.folder / VALUES)).create_view("entity_values")
            keys = read_keys(connection, "entity_values")
        return Names("entity", keys, {"type": self.config.entity_types.types})

    @contextmanager
    def learnt(self) -> Iterator[Path]:
        """A folder with what its training learnt of metadata values; see `lucid.data.links`."""
        if (self.folder / KNOWN_WORDS).exists():
            yield self.folder
        else:
            with TemporaryDirectory() as folder:
                learn_again(self.folder / ENTITIES, self.folder / VALUES, self.origin.keys, Path(folder))
                yield Path(folder)

    def scorer(self, source_type: str, target_type: str) -> Scorer:
        """What scores a pair, kept for the next time; raises UnknownType."""
        pair = source_type, target_type
        if pair not in self._scorers:
            config = self.config
            scorer = Scorer(
                self.embeddings,
                config.pair(*pair),
                config.entity_types,
                self.history,
                self.left_out,
                self.disliked,
                self.follows.get(pair),
                strengths_count=any(weights.strengths != "ignored" for weights in config.weightings),
            )
            self._scorers[pair] = scorer if pair in config.pairs else scorer.scaled()
        return self._scorers[pair]

    def knows(self, row: int) -> bool:
        """Whether an entity of the version has any edge that weighs; without one, all that is left is popularity."""
        return any(embedding.degrees[row] > 0 for embedding in self.embeddings)

    def open(self) -> "Version":
        """Open all that answers are made of, as the version may be removed meanwhile; mapped, it is not read yet."""
        interactions = self.history, self.left_out, self.disliked, self.follows
        answering = self.embeddings, interactions, self.adjacency, self.index, self.precomputed
        assert all(part is not None for part in (self.manifest, self.origin, *answering))
        _ = self.standings
        return self

    # Whether it is as it was published

    @property
    def is_begun(self) -> bool:
        """Whether it was published once, whatever has become of it."""
        return (self.folder / MANIFEST).exists()

    @property
    def is_complete(self) -> bool:
        """Whether it has its manifest and every file in it at the right size."""
        return self.damage() is None

    def damage(self) -> str | None:
        """See `manifest.damage`."""
        return manifest.damage(self.folder)

    def compare(self, only: str = "") -> str | None:
        """See `manifest.compare`."""
        return manifest.compare(self.folder, only)

    def comparing(self) -> Generator[int, None, str | None]:
        """See `manifest.comparing`."""
        return manifest.comparing(self.folder)

    def expect_sound(self, *, thoroughly: bool) -> None:
        """See `manifest.expect_sound`."""
        manifest.expect_sound(self.folder, thoroughly=thoroughly)

    def expect_untouched(self) -> None:
        """See `manifest.expect_untouched`."""
        manifest.expect_untouched(self.folder)

    @contextmanager
    def reading(self) -> Iterator["Version"]:
        """Read what is in it; raises DamagedVersion where a file is not as it was published or cannot be read."""
        self.expect_sound(thoroughly=False)
        with manifest.telling_damage(self.folder):
            yield self

    # How it comes and goes

    def complete(self, refresh_of: int | None, now: datetime) -> None:
        """Write its manifest, after which it can answer; see `manifest.write_manifest`."""
        manifest.write_manifest(self.folder, self.model_id, self.number, refresh_of, now)

    def set_aside(self) -> Path:
        """Rename its folder, so that nothing reads it any more, and return the new one."""
        folder = self.folder
        names = (
            folder.with_name(f"damaged-{self.number}" + (f".{number}" if number else "")) for number in range(1000)
        )
        new = next(name for name in names if not name.exists())
        folder.rename(new)
        fsync(new.parent)
        return new
