"""What each metadata key holds, decided from the data; see `lucid.data.links` for what becomes of its values.

A key is judged by all its values together; the thresholds are the constants below and the outcome of every key stands
in the training report. How its numbers are written is found by `lucid.data.numbers`, and what its keys are called by
`lucid.data.flattening`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from lucid.data.flattening import Flattened, flatten
from lucid.data.numbers import NUMBER_SHARE, NumberForm, Written, find_forms
from lucid.data.spellings import folded, unescape
from lucid.schema.fields import KeyUse

MIN_VALUES_TO_JUDGE = 20
"""With fewer values than this a key is never called an identifier: there is too little to go by."""
IDENTIFIER_SHARE = 0.9
"""A key with this share of values that differ within their entity type identifies entities."""
CASTABLE_SHARE = 0.95
"""A key with this share of values that are numbers, not a number or infinite holds numbers."""
TEXT_LENGTH = 50
"""Values longer than this on average, in characters, are text rather than names."""
URL_SHARE = 0.5
"""A key with this share of URLs identifies, even where several entities share one."""
NEARLY_SHARE = 0.5
"""Where at least this share of values is written in one form, but too few, that is told."""
SHOWN_VALUE = 60
"""Values in the report are cut to so many characters."""


@dataclass(frozen=True)
class KeyRule:
    """How the values of one metadata key are used, and the counts that decided it.

    Where it holds numbers, `form` says how they are written, `fitting` is the share of values that are, and `misfits`
    are the most frequent others, which lead nowhere. `merged` is how many spellings count as another one, and `merges`
    are pairs of these: what was found, and what it counts as.
    """

    key: str
    use: KeyUse
    reason: str
    entities: int
    values: int
    distinct: int
    examples: list[str]
    form: str = ""
    fitting: float | None = None
    misfits: list[str] = field(default_factory=list)
    merged: int = 0
    merges: list[list[str]] = field(default_factory=list)

    def shown_values(self) -> list[str]:
        """Values of customers that are in it."""
        return [*self.examples, *self.misfits, *(spelling for merge in self.merges for spelling in merge)]


@dataclass(frozen=True)
class Reading:
    """How a training has read metadata, so that what comes later is read alike.

    `forms` of the keys that hold numbers, and `paths` of those that are not named by their nesting; see
    `lucid.data.numbers` and `lucid.data.flattening`. Releases that left no reading knew plain numbers only, and merged
    no spellings.
    """

    forms: dict[str, NumberForm]
    paths: dict[str, list[str]]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Reading":
        """Read what `asdict` gives; raises KeyError, TypeError or ValueError for what is none."""
        return cls({key: NumberForm(**form) for key, form in raw["forms"].items()}, dict(raw["paths"]))


def read_values(connection: duckdb.DuckDBPyConnection, known: Mapping[str, list[str]] | None = None) -> Flattened:
    """Create the table `metadata_values(id, type, key, value, json_type, listed)` from the table `entities`.

    One row for every scalar in the metadata; null and blank values have none. `known` are the paths that keys had at a
    training.
    """
    return flatten(connection, "metadata_values", "entities", "id, type", known=known)


@dataclass(frozen=True)
class _Facts:
    """What is counted of the values of a key; shares are of all of them."""

    key: str
    entities: int
    listed: bool
    values: int
    distinct: int
    distinct_in_type: int
    length: float
    castable: float
    finite: float
    zeros_first: bool
    urls: float
    fractions: bool | None
    examples: list[str]
    like_thousands: bool
    digits_first: float


def judge_keys(
    connection: duckdb.DuckDBPyConnection,
    asked: Mapping[str, KeyUse] | None = None,
    flattened: Flattened | None = None,
) -> tuple[list[KeyRule], Reading]:
    """Decide for every key in `metadata_values` what it holds, sorted by key; what is `asked` is not decided.

    What `flattened` has left out is told of.
    """
    asked, flattened = asked or {}, flattened or Flattened({}, {})
    facts = _count(connection)
    forms = find_forms(connection, [fact.key for fact in facts if _may_hold_numbers(fact, asked)])
    written = {fact.key: _written(fact, forms.get(fact.key)) for fact in facts}
    judged = {fact.key: _judge(fact, written[fact.key]) for fact in facts}
    split = [key for key, (use, _) in judged.items() if use == "identifier"]
    for key, distinct in _distinct_spellings(connection, split).items():
        fact = next(fact for fact in facts if fact.key == key)
        if distinct < IDENTIFIER_SHARE * fact.values <= fact.distinct_in_type and fact.urls < URL_SHARE:
            judged[key] = "entity", f"{distinct:,} distinct but for spelling among {fact.values:,} values"
    connection.execute("DROP TABLE value_counts")
    rules, numbers = [], {}
    for fact in facts:
        use, reason = judged[fact.key]
        if fact.key in asked:
            use, reason = asked[fact.key], "asked for by the training"
        if lost := flattened.left_out.get(fact.key):
            reason += f"; {lost:,} values of other objects that would have the same name are left out"
        form = ""
        if use == "number":
            found = written[fact.key]
            numbers[fact.key], form = found.form, found.shown
        examples = [example[:SHOWN_VALUE] for example in fact.examples]
        rules.append(KeyRule(fact.key, use, reason, fact.entities, fact.values, fact.distinct, examples, form))
    return rules, Reading(numbers, flattened.paths)


def _count(connection: duckdb.DuckDBPyConnection) -> list[_Facts]:
    """Facts on every key, sorted; leaves `value_counts(key, type, value, values)`."""
    connection.execute(
        "CREATE TABLE value_counts AS SELECT key, type, value, count(*) AS values FROM metadata_values GROUP BY ALL"
    )
    rows = connection.execute(r"""
        WITH counted AS (
            SELECT key, sum(values)::BIGINT, count(DISTINCT value), count(*),
                sum(values * length(value)) / sum(values),
                coalesce(sum(values) FILTER (number IS NOT NULL), 0) / sum(values),
                coalesce(sum(values) FILTER (isfinite(number)), 0) / sum(values),
                -- Codes such as zip codes look like numbers but for their leading zeros.
                bool_or(regexp_matches(value, '^0\d')),
                coalesce(sum(values) FILTER (regexp_matches(value, '^(?i:https?|ftp)://')), 0) / sum(values),
                bool_or(number <> floor(number)), min(DISTINCT value, 3),
                bool_and(NOT contains(value, '.') OR regexp_matches(value, '^[+-]?[1-9]\d{0,2}\.\d{3}$')),
                coalesce(sum(values) FILTER (regexp_matches(value, '^[^0-9０-９]{0,8}[0-9０-９]')), 0) / sum(values)
            FROM (SELECT *, try_cast(value AS DOUBLE) AS number FROM value_counts) GROUP BY key)
        SELECT key, count(DISTINCT id), bool_or(listed), any_value(COLUMNS(counted.* EXCLUDE key))
        FROM metadata_values JOIN counted USING (key) GROUP BY key ORDER BY key""").fetchall()
    return [_Facts(*row) for row in rows]


def _may_hold_numbers(fact: _Facts, asked: Mapping[str, KeyUse]) -> bool:
    """Whether its form has to be found: not where all its values are plain numbers, or too few could be any."""
    return fact.finite < 1 and (fact.digits_first >= NEARLY_SHARE or asked.get(fact.key) == "number")


@dataclass(frozen=True)
class _Numbers:
    """The form of a key's numbers, the share of its values in it, and whether they are few enough to be codes."""

    form: NumberForm
    share: float
    shown: str
    like_codes: bool
    undecided: bool


def _written(fact: _Facts, found: Written | None) -> _Numbers:
    plain = NumberForm("point")
    if found is None or (not found.fitting and not found.undecided):
        also = "thousands with points" if fact.fractions and fact.like_thousands else ""
        found = Written(plain, round(fact.finite * fact.values), also, like_codes=True)
    shown = f"{found.form}; {found.also} would read as many" if found.also else str(found.form)
    like_codes = found.like_codes and not (found.form == plain and fact.fractions)
    return _Numbers(found.form, found.fitting / fact.values, shown, like_codes, found.undecided)


def _judge(fact: _Facts, numbers: _Numbers) -> tuple[KeyUse, str]:
    """The use of a key and why."""
    if fact.urls >= URL_SHARE:
        return "identifier", f"{fact.urls:.0%} of the values are URLs"
    if fact.length > TEXT_LENGTH:
        return "text", f"{fact.length:.0f} characters on average"
    plain = numbers.form == NumberForm("point")
    reason = f"{max(fact.castable, numbers.share) if plain else numbers.share:.0%} of the values are numbers"
    holds = numbers.share >= NUMBER_SHARE or (plain and fact.castable >= CASTABLE_SHARE)
    holds &= not (fact.zeros_first and numbers.form.has_codes)
    if holds and not numbers.like_codes:
        return "number", f"{reason}, some with fractions" if plain else reason
    hint = _hint(numbers) if not holds else ""
    unique = fact.distinct_in_type >= IDENTIFIER_SHARE * fact.values
    if not fact.listed and fact.values >= MIN_VALUES_TO_JUDGE and unique:
        told = f"{fact.distinct_in_type:,} of {fact.values:,} values are the only ones of their entity type"
        return "identifier", told + hint
    if holds:
        return "number", reason
    return "entity", f"{fact.distinct:,} distinct among {fact.values:,} values{hint}"


def _hint(numbers: _Numbers) -> str:
    if numbers.undecided:
        return "; dates of which no value tells whether the day or the month is first"
    if NEARLY_SHARE <= numbers.share < NUMBER_SHARE:
        return f"; only {numbers.share:.0%} are written as {numbers.form}, too few for numbers"
    return ""


def _distinct_spellings(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, int]:
    """How many values of each key differ within their entity type in more than spelling."""
    wanted = {"keys": list(keys)}
    unescape(connection, "unescaped", "SELECT value FROM value_counts WHERE list_contains($keys, key)", wanted)
    rows = connection.execute(
        f"""
        SELECT key, count(DISTINCT (type, {folded("text")}))
        FROM (SELECT key, type, coalesce(text, value) AS text FROM value_counts LEFT JOIN unescaped ON escaped = value
            WHERE list_contains($keys, key)) GROUP BY key""",
        wanted,
    ).fetchall()
    connection.execute("DROP TABLE unescaped")
    return dict(rows)
