"""Two rule sets side by side: what each would show to some sources."""

from collections.abc import Mapping, Sequence
from typing import Any

from lucid.data.names import Names, check_conditions, check_keys
from lucid.placements.files import Placements
from lucid.schema.placements import (
    NO_RULES,
    UNSAVED,
    Placement,
    PlacementRules,
    Preview,
    PreviewRequest,
    PreviewRow,
    SourcePreview,
)
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.registry import ModelRegistry

_Table = list[dict[str, Any]]


def preview(registry: ModelRegistry, placements: Placements, wanted: PreviewRequest) -> Preview:
    """Ask a model under both rule sets, and say where each row stands under the other.

    Raises as `ModelRegistry.recommend` does, and InvalidRequest or UnknownType for rules on what no entity of the model
    has.
    """
    version = registry.predictor(wanted.model_id).version
    sides = {name: _rules(getattr(wanted, name), placements) for name in ("a", "b")}
    for name, rules in sides.items():
        if rules is not None:
            check_rules(rules, version.names, name)
    query = RecommendationQuery(
        model_id=wanted.model_id,
        source_id=wanted.source_id,
        target_type=wanted.target_type,
        use=wanted.use,
        max_recommendations=wanted.max_recommendations,
        version=version.number,  # both by the same one, whatever goes live meanwhile
    )
    answers = {name: registry.recommend(query, rules) for name, rules in sides.items()}
    a, b = (_by_source(answers[name].blocks) for name in ("a", "b"))
    known = [source for source in dict.fromkeys(wanted.source_id) if source in {*a, *b}]
    sources = [_side_by_side(source, a.get(source, []), b.get(source, [])) for source in known]
    return Preview(
        model_id=wanted.model_id,
        version=version.number,
        a=_name(sides["a"]),
        b=_name(sides["b"]),
        shared=_shared(sources),
        sources=sources,
        unknown_source_ids=answers["a"].unknown_source_ids,
    )


def check_rules(rules: PlacementRules, names: Names, place: str = "") -> None:
    """Refuse rules on types, metadata keys or values that no entity has; raises UnknownType, InvalidRequest."""
    prefix = f"{place}." if place else ""
    for where, conditions in rules.conditions():
        check_conditions(conditions, names, f"{prefix}{where}")
    for where, key in rules.metadata_keys():
        check_keys([key], names.keys, f"{prefix}{where}")


def _rules(given: str | PlacementRules | None, placements: Placements) -> PlacementRules | None:
    return placements.find(given) if isinstance(given, str) else given


def _name(rules: PlacementRules | None) -> str:
    if rules is None:
        return NO_RULES
    return rules.reference if isinstance(rules, Placement) else UNSAVED


def _by_source(blocks: Any) -> dict[str, _Table]:
    found: dict[str, _Table] = {}
    for block in blocks:
        table: Mapping[str, list[Any]] = block.table()
        for values in zip(*table.values(), strict=True):
            row = dict(zip(table, values, strict=True))
            found.setdefault(row["source_id"], []).append(row)
    return found


def _side_by_side(source: str, a: _Table, b: _Table) -> SourcePreview:
    return SourcePreview(source_id=source, a=_rows(a, b), b=_rows(b, a))


def _rows(rows: _Table, others: _Table) -> list[PreviewRow]:
    ranks = {row["target_id"]: row["rank"] for row in others}
    return [
        PreviewRow(
            **{name: row[name] for name in ("target_id", "name", "target_type", "score", "rank")},
            other_rank=ranks.get(row["target_id"]),
            rules=row.get("rules", []),
            propensity=row.get("propensity", 1.0),
        )
        for row in rows
    ]


def _shared(sources: Sequence[SourcePreview]) -> float:
    """The mean share of rows that stand under both; 1 where there is none."""
    shares = [
        sum(row.other_rank is not None for row in one.a) / max(len(one.a), len(one.b))
        for one in sources
        if one.a or one.b
    ]
    return round(sum(shares) / len(shares), 4) if shares else 1.0
