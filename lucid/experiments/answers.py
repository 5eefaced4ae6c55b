"""Answers that are noted: with an id that events may name, and in an experiment with the variant of each source."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from lucid.errors import InvalidRequest, UnknownSource, UnknownVersion
from lucid.schema.experiments import Experiment, Variant
from lucid.schema.fields import utc_now
from lucid.schema.recommendations import PLACED, RecommendationQuery
from lucid.serving.registry import ModelRegistry
from lucid.serving.rendering import Answer, Block, Noted
from lucid.store.impression_log import Impression, ImpressionLog, NewAnswer, new_recommendation_id
from lucid.versions.experiments import Experiments, variant_of

_NOT_PLACED = dict(zip(PLACED, (b"[]", b"1.0", b'""'), strict=True))
"""What rows that follow no placement have in its columns: nothing moved them, and nothing was drawn."""


@dataclass(frozen=True)
class _Part:
    """What one variant gives to some sources, all of it found; without a variant, what the live version gives."""

    answer: Answer
    blocks: Sequence[Block]
    variant: Variant | None


class NotedAnswers:
    """Gives answers of a registry, and notes what they show; safe to share between threads."""

    def __init__(self, home: Path, registry: ModelRegistry) -> None:
        self._registry, self._experiments, self._log = registry, Experiments(home), ImpressionLog(home)

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query that asks for an id or names an experiment; what it shows is on the disk when this returns.

        Raises as `ModelRegistry.recommend` does, and UnknownExperiment, InvalidRequest where that is one of another
        model, MachineError, Unavailable and Damaged where it cannot be noted.
        """
        asked = query.model_copy(update={"recommendation_id": False, "experiment": None})
        if query.experiment is None:
            parts, unknown = [self._part(asked, None)], list[str]()
            unknown += parts[0].answer.unknown_source_ids
        else:
            parts, unknown = self._tried(query.experiment, asked)
        shown = int(utc_now().timestamp() * 1e6)
        recommendation_id = new_recommendation_id(shown)
        named = not (query.is_for_nobody or query.session)
        impressions = [one for part in parts for one in _impressions(part, named=named)]
        self._log.note(NewAnswer(recommendation_id, shown, query.model_id, impressions, query.experiment))
        noted = Noted(recommendation_id, query.experiment, _variants(parts) if query.experiment else None)
        return replace(_joined(parts), unknown_source_ids=unknown, noted=noted)

    def close(self) -> None:
        """Let go of the log's file."""
        self._log.close()

    def _tried(self, name: str, query: RecommendationQuery) -> tuple[list[_Part], list[str]]:
        """The answers for each source in turn, each from its variant, and which sources are unknown."""
        experiment = self._experiments.get(name)
        if experiment.model_id != query.model_id:
            raise InvalidRequest(
                f"experiment {name!r} is one of model {experiment.model_id!r}, but the question is for "
                f"{query.model_id!r}; ask that model, or leave experiment out"
            )
        _expect_to_rank(experiment, query)
        parts, unknown = list[_Part](), list[str]()
        asked = list(dict.fromkeys(query.source_id or ()))
        for source_id in asked:
            of_one = query.model_copy(update={"source_id": [source_id]})
            try:
                parts.append(self._part(of_one, variant_of(experiment, source_id)))
            except UnknownSource:
                if len(asked) == 1:
                    raise
                unknown.append(source_id)
        if parts:
            return parts, unknown
        nobody = self._registry.recommend(query)
        return [_Part(nobody, list(nobody.blocks), None)], unknown

    def _part(self, query: RecommendationQuery, variant: Variant | None) -> _Part:
        """What a variant gives; the live version answers where the one that it names was removed."""
        answer = self._answer(query, variant)
        return _Part(answer, list(answer.blocks), variant)

    def _answer(self, query: RecommendationQuery, variant: Variant | None) -> Answer:
        if variant is None:
            return self._registry.recommend(query)
        placement = {"placement": variant.placement} if variant.placement is not None else {}
        tried = query.model_copy(update={"version": variant.version, **placement})
        try:
            return self._registry.recommend(tried)
        except UnknownVersion:  # an erasure has removed it; a shop goes on all the same
            return self._registry.recommend(tried.model_copy(update={"version": None}))


def _expect_to_rank(experiment: Experiment, query: RecommendationQuery) -> None:
    """Raises InvalidRequest for what no placement arranges, where a variant has one."""
    placed = next((variant for variant in experiment.variants if variant.placement is not None), None)
    if placed and experiment.stopped is None and (query.for_all or query.fallback):
        raise InvalidRequest(
            f"experiment: variant {placed.name!r} follows a placement, which arranges what is ranked for sources: "
            "leave out use=popular, use=trending and fallback"
        )


def _joined(parts: Sequence[_Part]) -> Answer:
    """All parts as one answer, that of the first; where a placement made some rows, the others have its columns too."""
    answers = [part.answer for part in parts]
    columns = max((answer.columns for answer in answers), key=len)
    only = {answer.placement for answer in answers}
    blocks = (_with_columns(block, columns) for part in parts for block in part.blocks)
    return replace(answers[0], blocks=blocks, columns=columns, placement=only.pop() if len(only) == 1 else None)


def _with_columns(block: Block, columns: Sequence[str]) -> Block:
    if len(block.columns) == len(columns):
        return block
    every = {**_NOT_PLACED, **block.columns}
    return replace(block, columns={name: every[name] for name in columns})


def _variants(parts: Sequence[_Part]) -> dict[str, Any]:
    """The variant and version of each source that was answered."""
    return {
        orjson.loads(source): {"variant": part.variant.name if part.variant else None, "version": part.answer.version}
        for part in parts
        for block in part.blocks
        for source in block.sources
    }


def _impressions(part: _Part, *, named: bool) -> Iterator[Impression]:
    """What was shown of each type to each source, those that got nothing included; without ids where none was named."""
    of_answer = part.variant.name if part.variant else None, part.answer.placement
    for block in part.blocks:
        rows: defaultdict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
        table = {"propensity": [1.0] * block.rows, **block.table()}
        columns = (table.get(name, ()) for name in ("source_id", "target_type", "rank", "target_id", "propensity"))
        for source, target_type, *row in zip(*columns, strict=True):
            rows[source, target_type].append(tuple(row))
        types = {orjson.loads(source): source_type or None for source, source_type in block.sources.items()}
        got_some = {source for source, _ in rows}
        for (source, target_type), shown in rows.items():
            ranks, ids, chances = zip(*sorted(shown), strict=True)
            who = source if named else None, types.get(source)
            yield Impression(part.answer.version, *who, target_type, ids, ranks, *of_answer, chances)
        for source, source_type in types.items():
            if source not in got_some:
                who = source if named else None, source_type
                yield Impression(part.answer.version, *who, None, (), (), *of_answer)
