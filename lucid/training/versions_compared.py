"""Two versions of a model side by side: how good each is, and how their answers differ."""

from contextlib import ExitStack
from dataclasses import asdict

from lucid.errors import UnknownVersion
from lucid.model.pair_model import Pair
from lucid.schema.comparison import Comparison, PairAnswersCompared, PairName, PairQualityCompared
from lucid.settings import Settings
from lucid.training.comparison import PairComparison, compare_reports
from lucid.training.report import TrainingReport, read_report
from lucid.versions.answers import compare_answers, pairs_only_in
from lucid.versions.lifecycle import ModelVersions


def compare(settings: Settings, model_id: str, a: int | None = None, b: int | None = None) -> Comparison:
    """How version b differs from version a, by default the newest other one from the one that answers.

    Raises UnknownModel, ModelNotReady, UnknownVersion, DamagedVersion where a file of one is not as it was published,
    and OutdatedVersion.
    """
    versions = ModelVersions(settings.home, model_id)
    first = versions.answering() if a is None else versions.named(a)
    second = versions.named(_newest_but(versions, first.number) if b is None else b)
    with ExitStack() as reading:
        reading.enter_context(first.reading())
        reading.enter_context(second.reading())
        reports = read_report(first.folder), read_report(second.folder)
        return Comparison(
            model_id=model_id,
            a=first.number,
            b=second.number,
            interactions=(reports[0].steps[-1].kept, reports[1].steps[-1].kept),
            quality=[_quality(pair, *reports) for pair in compare_reports(first, second)],
            answers=[PairAnswersCompared.model_validate(asdict(pair)) for pair in compare_answers(first, second)],
            pairs_only_in_a=[_named(pair) for pair in pairs_only_in(first, second)],
            pairs_only_in_b=[_named(pair) for pair in pairs_only_in(second, first)],
        )


def _newest_but(versions: ModelVersions, number: int) -> int:
    others = [version.number for version in versions.complete() if version.number != number]
    if not others:
        raise UnknownVersion(f"model {versions.model_id!r} has no other version than {number}; train it again")
    return others[-1]


def _quality(pair: PairComparison, before: TrainingReport, after: TrainingReport) -> PairQualityCompared:
    a, b = (
        next((one.model.ndcg for one in report.pairs if (one.source_type, one.target_type) == pair.pair), None)
        for report in (before, after)
    )
    found = pair.differences["ndcg@10"] if pair.differences else None
    return PairQualityCompared(
        source_type=pair.source_type,
        target_type=pair.target_type,
        a=a,
        b=b,
        difference=found.mean if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=found.p if found else None,
        significant=found is not None and found.significant,
        sources=pair.sources,
        on=pair.on,
        reason=pair.reason,
    )


def _named(pair: Pair) -> PairName:
    return PairName(source_type=pair[0], target_type=pair[1])
