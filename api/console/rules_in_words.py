"""The rules of a placement as sentences, those first that win over the others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lucid.schema.filters import Condition, Scalar
from lucid.schema.placements import Boost, Bury, Freshness, PlacementRules, Quota

_TESTS = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "contains": "contains",
}


@dataclass(frozen=True)
class RuleInWords:
    """A rule: how it is called where it is written, what it does, and by which name rows say that it moved them.

    The name is None for a rule that leaves targets out, as no row is there to say so.
    """

    kind: str
    does: str
    name: str | None = None


def in_words(rules: PlacementRules) -> list[RuleInWords]:
    """All rules of a set, and what holds where it says nothing."""
    return [*_limits(rules), *_pins(rules), *_quotas(rules), *_draws(rules), *_values(rules)]


def _limits(rules: PlacementRules) -> Iterator[RuleInWords]:
    if rules.target_filter:
        yield RuleInWords("target_filter", f"Shows only targets of which {_all(rules.target_filter)}")
    available = (
        "Leaves out what is not to be had at the time" if rules.available else "Shows also what is not to be had"
    )
    yield RuleInWords("available", available)
    if rules.exclude_interacted is not None:
        told = "Leaves out" if rules.exclude_interacted else "Shows also"
        yield RuleInWords("exclude_interacted", f"{told} what the source interacted with, whatever the question says")
    for one in rules.exclude:
        when = f"in the last {one.days:g} days" if one.days else "ever"
        yield RuleInWords(
            "exclude", f"Leaves out what the source has an interaction {one.interaction_type!r} with, {when}"
        )


def _pins(rules: PlacementRules) -> Iterator[RuleInWords]:
    for pin in rules.pin:
        yield RuleInWords("pin", f"Puts {pin.id!r} at rank {pin.rank}", pin.name or "pin")


def _quotas(rules: PlacementRules) -> Iterator[RuleInWords]:
    for number, quota in enumerate(rules.quotas):
        yield RuleInWords("quotas", _share(quota), quota.name or f"quota.{number}")


def _share(quota: Quota) -> str:
    bound = f"at least {quota.at_least}" if quota.at_most is None else f"at most {quota.at_most}"
    which = f"with the same {quota.each}" if quota.each else f"of which {_all(quota.when or ())}"
    return f"Of each {quota.of} rows, shows {bound} {which}"


def _draws(rules: PlacementRules) -> Iterator[RuleInWords]:
    if one := rules.explore:
        told = f"Draws {one.share:.1%} of the rows at random among the {one.among:,} best"
        yield RuleInWords("explore", told, one.name or "explore")
    if other := rules.diversity:
        told = f"Makes rows differ from those above (lambda {other.weight:g}), among the {other.among:,} best"
        yield RuleInWords("diversity", told, other.name or "diversity")


def _values(rules: PlacementRules) -> Iterator[RuleInWords]:
    for number, boost in enumerate(rules.boost):
        yield RuleInWords("boost", _factor(boost), boost.name or f"boost.{number}")
    for number, bury in enumerate(rules.bury):
        yield RuleInWords("bury", _factor(bury), bury.name or f"bury.{number}")
    if rules.fresh:
        yield RuleInWords("fresh", _fading(rules.fresh), rules.fresh.name or "fresh")


def _factor(rule: Boost | Bury) -> str:
    if rule.factor == 0:
        return f"Puts targets behind all others of which {_all(rule.when)}"
    return f"Multiplies the score with {rule.factor:g} of targets of which {_all(rule.when)}"


def _fading(rule: Freshness) -> str:
    age = f"each {rule.half_life_days:g} days of age, which {rule.by} tells"
    return f"Lets {rule.weight:.0%} of the score fade by half {age}"


def _all(conditions: Iterable[Condition]) -> str:
    return " and ".join(map(_holds, conditions))


def _holds(condition: Condition) -> str:
    only = f" (only for the type {condition.for_type!r})" if condition.for_type else ""
    if condition.op == "exists":
        return f"{condition.field} is {'not ' if condition.negated else ''}there{only}"
    values = ", ".join(map(_value, condition.values()))
    return f"{condition.field} {_TESTS[condition.op]} {values}{only}"


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
