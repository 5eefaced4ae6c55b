"""Strengths: what interactions say of how much somebody liked what he met, by their metadata or by their type.

A rating, an amount or a type that tells of dislike gives an interaction a strength between -1 (the clearest dislike)
and 1; it has none (NaN) where nothing tells. From -0.5 down it is a dislike, from 0.5 up it is liked. What strengths
weigh in a model is chosen by what ranks held-out interactions better, see `lucid.training.tuning`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from lucid.data.conditions import Binder
from lucid.errors import InvalidRequest, UnknownType
from lucid.schema.names import unknown
from lucid.schema.training import InteractionRule, InteractionUse
from lucid.schema.wording import shown
from lucid.typing import Floats

LIKED, DISLIKED = 0.5, -0.5
"""Strengths from which, and down from which, an interaction tells of liking and of dislike."""
Meaning = Literal["rating", "amount", "dislike", "plain"]
"""Whether values are ratings or amounts, of which more is better; or the type says all, as dislike or as nothing."""

_RATINGS, _EITHER = ("rating", "stars", "vote", "grade"), ("score", "value")
_AMOUNTS = ("weight", "quantity", "qty", "count", "plays", "playcount", "listens", "dwell", "dwelltime", "duration")
"""Keys that hold values, the likeliest first; letters alone are compared."""
_DISLIKES = frozenset(
    "dislike disliked dislikes thumbsdown thumbdown downvote downvoted return returned returns refund refunded skip "
    "skipped skips hide hidden hid notinterested unlike unliked reject rejected block blocked report reported ban "
    "banned".split()
)
_LIKED_SHARE, _DISLIKED_SHARE = 0.75, 0.35
"""Of the range of ratings: where liking begins and dislike ends. 4 and 2 of five stars, 8 and 4 of ten, 1 and 0 of two;
set by hand."""
_NUMBERS = 0.95
"""Share of a key's values that must be numbers."""
_LEAST = 20
"""With fewer values than this there is no telling how they are spread."""
_TRIMMED = 0.001
"""Share of the values on either side that say nothing of where a scale begins and ends."""
_WHOLE = 21
"""Distinct values of a rating at most, where only this tells it from an amount: 0 to 10 in halves."""


@dataclass(frozen=True)
class StrengthRule:
    """What the interactions of one type say, why, and the counts that decided it.

    An amount is liked the more the larger it is, and one below zero, such as what was sent back, is a dislike.

    `key` holds the values where `meaning` is `rating` or `amount`. Ratings run from `low` to `high`; they are liked
    from `positive_above` on and disliked down from `negative_below`. Half of the amounts are above `middle`. `weight`
    is what was asked for: how much the type counts, None where that is learned.
    """

    type: str
    meaning: Meaning
    reason: str
    key: str | None = None
    low: float = 0.0
    high: float = 0.0
    middle: float = 0.0
    positive_above: float | None = None
    negative_below: float | None = None
    weight: float | None = None
    is_asked: bool = False
    """Whether a sign was asked for, and must not be unlearned."""
    values: int = 0
    interactions: int = 0

    @property
    def has_values(self) -> bool:
        """Whether a number of each interaction is needed to tell."""
        return self.meaning in ("rating", "amount")

    def strengths(self, numbers: NDArray[np.float64]) -> Floats:
        """The strength of interactions of this type, (E) float32, by their values (E), NaN for none."""
        if self.meaning == "dislike":
            return np.full(len(numbers), -1.0, np.float32)
        if self.meaning == "plain":
            return np.full(len(numbers), np.nan, np.float32)
        if self.meaning == "amount":
            positive = np.maximum(numbers, 0)
            share = positive / (positive + self.middle)
            return np.where(numbers < 0, -1.0, LIKED + share * (1 - LIKED)).astype(np.float32)  # NaN stays NaN
        assert self.positive_above is not None
        assert self.negative_below is not None
        liked, disliked = self.positive_above, self.negative_below
        nodes = [(disliked, DISLIKED), (liked, LIKED)]
        if self.low < disliked:
            nodes.insert(0, (self.low, -1.0))
        if self.high > liked:
            nodes.append((self.high, 1.0))
        at, strength = zip(*nodes, strict=True)
        return np.asarray(np.interp(numbers, at, strength), np.float32)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "StrengthRule":
        return cls(**raw)


def strengths_of(rules: Iterable[StrengthRule], types: NDArray[Any], numbers: NDArray[np.float64]) -> Floats:
    """The strength of interactions, (E) float32, NaN where nothing tells, by their types (E) and values (E)."""
    found = np.full(len(numbers), np.nan, np.float32)
    for rule in rules:
        of_type = types == rule.type
        found[of_type] = rule.strengths(numbers[of_type])
    return found


def disliking(rules: Iterable[StrengthRule], bind: Binder) -> str:
    """SQL that tells which interactions, of a type and with a number, tell of dislike."""
    kinds = []
    for rule in rules:
        if rule.meaning == "dislike":
            kinds.append(f"type = {bind(rule.type)}")
        elif rule.has_values:
            most = "< 0" if rule.meaning == "amount" else f"<= {bind(rule.negative_below)}"
            kinds.append(f"type = {bind(rule.type)} AND number {most}")
    return " OR ".join(kinds) or "false"


def find_rules(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], asked: Mapping[str, InteractionUse] | None = None
) -> list[StrengthRule]:
    """What the interactions of each type in some batch files say, sorted by type; what is `asked` is not decided.

    Raises UnknownType and InvalidRequest for rules about types and keys that no row has, and about keys of texts.
    """
    asked, values = asked or {}, {"files": list(files)}
    if not files:
        return []
    counts = dict(
        connection.execute(f"SELECT type, count(*) FROM {_ROWS} GROUP BY ALL ORDER BY ALL", values).fetchall()
    )
    keys: dict[str, dict[str, int]] = {name: {} for name in counts}
    for name, key, count in connection.execute(
        f"SELECT type, key, count(*) FROM (SELECT type, unnest(json_keys(metadata)) AS key FROM {_ROWS} "
        "WHERE metadata <> '') GROUP BY ALL ORDER BY ALL",
        values,
    ).fetchall():
        keys[name][key] = count
    for name in sorted(asked):
        if name not in counts:
            raise UnknownType(f"interaction_rules: {unknown('interaction type', name, counts)}")
    found = []
    for name, count in counts.items():
        rule = asked.get(name, "learned")
        found.append(
            _rule(connection, values, name, list(keys[name]), rule if rule != "learned" else InteractionRule())
        )
        found[-1] = replace(found[-1], interactions=count)
    return found


_ROWS = "read_parquet($files, union_by_name = true)"


def _rule(
    connection: duckdb.DuckDBPyConnection,
    files: Mapping[str, Any],
    name: str,
    keys: Sequence[str],
    asked: InteractionRule | Literal["ignored"],
) -> StrengthRule:
    """What the interactions of a type say, but for how many there are."""
    if asked == "ignored":
        return StrengthRule(name, "plain", "asked for by the training: all count alike", is_asked=True)
    place = f"interaction_rules.{name}"
    weight = abs(asked.weight) if asked.weight is not None else None
    if asked.weight is not None and asked.weight < 0:
        return StrengthRule(
            name, "dislike", f"a weight of {asked.weight:g} was asked for", weight=weight, is_asked=True
        )
    key = _asked_key(asked, keys, place) or _likely_key(keys)
    if key is None:
        if (asked.positive_above, asked.negative_below) != (None, None):
            raise InvalidRequest(f"{place}: no metadata key of these interactions holds values; name it as value_key")
        if asked.weight is None and _plain(name) in _DISLIKES:
            return StrengthRule(name, "dislike", "its name tells of dislike", weight=weight)
        return StrengthRule(name, "plain", "nothing tells how much was liked what", weight=weight)
    facts = _count(connection, files, name, key)
    is_asked = (asked.positive_above, asked.negative_below) != (None, None)
    if asked.value_key and not facts.numbers >= facts.values / 2:
        raise InvalidRequest(
            f"{place}.value_key: {key!r} holds texts such as {shown(facts.text)}; name a key that holds numbers"
        )
    if (why := _useless(facts)) and not (asked.value_key or is_asked):
        return StrengthRule(name, "plain", f"{key}: {why}", key, weight=weight, values=facts.values)
    told = (
        "asked for by the training"
        if asked.value_key
        else f"{facts.numbers / facts.values:.0%} of the values are numbers"
    )
    rule = StrengthRule(
        name, "amount", f"{key}: {told}", key, facts.low, facts.high, facts.middle, weight=weight, values=facts.numbers
    )
    if not is_asked and _is_amount(key, facts):
        return rule if facts.middle > 0 else replace(rule, meaning="plain", reason=f"{key}: most values are 0 or less")
    liked, disliked = _limits(asked, facts)
    return replace(rule, meaning="rating", positive_above=liked, negative_below=disliked, is_asked=is_asked)


@dataclass(frozen=True)
class _Facts:
    """What is counted of the values of a key: how many there are, and are numbers; where these begin, end and lie."""

    values: int
    numbers: int
    distinct: int
    low: float
    high: float
    middle: float
    text: str | None


def _count(connection: duckdb.DuckDBPyConnection, files: Mapping[str, Any], name: str, key: str) -> _Facts:
    values, numbers, distinct, low, high, middle, text = connection.execute(
        f"""
        SELECT count(value), count(number), count(DISTINCT number), quantile_disc(number, {_TRIMMED}),
            quantile_disc(number, {1 - _TRIMMED}), median(number) FILTER (number > 0),
            min(value) FILTER (number IS NULL)
        FROM (SELECT {_VALUE.format("$pointer")} AS value, {number_of("$pointer")} AS number FROM {_ROWS}
            WHERE type = $type AND metadata <> '')""",
        {**files, "type": name, "pointer": pointer(key)},
    ).fetchall()[0]
    return _Facts(values, numbers, distinct, low or 0.0, high or 0.0, middle or 0.0, text)


_VALUE = "(metadata ->> {})"


def number_of(pointer: str) -> str:
    """SQL of the number, or NULL, at a place of `metadata` that is a JSON pointer in SQL."""
    number = f"try_cast(replace({_VALUE.format(pointer)}, ',', '.') AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def pointer(key: str) -> str:
    """The JSON pointer to a key, or to `b` in `a` for `a.b`."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _asked_key(asked: InteractionRule, keys: Sequence[str], place: str) -> str | None:
    if asked.value_key is not None and asked.value_key not in keys:
        raise InvalidRequest(
            f"{place}.value_key: {unknown('such interaction has the metadata key', asked.value_key, keys)}"
        )
    return asked.value_key


def _likely_key(keys: Sequence[str]) -> str | None:
    """The key that holds how much, by its name."""
    likely = (*_RATINGS, *_EITHER, *_AMOUNTS)
    found = [key for key in keys if _plain(key) in likely]
    return min(found, key=lambda key: (likely.index(_plain(key)), key), default=None)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalpha())


def _useless(facts: _Facts) -> str:
    """Why values tell nothing; empty where they do."""
    if facts.numbers < _LEAST:
        return f"only {facts.numbers} numbers"
    if facts.numbers < _NUMBERS * facts.values:
        return f"only {facts.numbers / facts.values:.0%} of the values are numbers"
    return "all values are alike" if facts.low == facts.high else ""


def _is_amount(key: str, facts: _Facts) -> bool:
    plain = _plain(key)
    return plain in _AMOUNTS or (plain not in _RATINGS and facts.distinct > _WHOLE and facts.low >= 0)


def _limits(asked: InteractionRule, facts: _Facts) -> tuple[float, float]:
    """Where liking begins and dislike ends."""
    span = facts.high - facts.low or 1.0
    liked, disliked = asked.positive_above, asked.negative_below
    if liked is None:
        liked = facts.low + _LIKED_SHARE * span
        liked = liked if disliked is None or disliked < liked else disliked + span
    if disliked is None:
        disliked = facts.low + _DISLIKED_SHARE * span
        disliked = disliked if disliked < liked else liked - span
    return liked, disliked
