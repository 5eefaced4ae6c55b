"""Names that the data have, and what metadata keys hold: a filter or a rule on what nothing has is refused.

A condition on a misspelt key or type would be fulfilled by nothing, or by everything, and nobody would notice; so would
one that compares numbers with texts. A key holds numbers where its values read as numbers, whether they were uploaded
as `5` or as `"5"`.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lucid.errors import InvalidRequest, UnknownType
from lucid.schema.filters import EQUALITY, IDS, METADATA, TYPES, Condition, Scalar
from lucid.schema.names import unknown
from lucid.schema.training import PrecomputePair
from lucid.schema.wording import shown

ORDER = ("gt", "gte", "lt", "lte")
_NUMBER = r"coalesce(isfinite(try_cast(value AS DOUBLE)) AND NOT regexp_matches(value, '^[+-]?0\d'), false)"
_BOOLEAN = "value IN ('true', 'false')"


@dataclass(frozen=True)
class KeyValues:
    """How many values of a metadata key are numbers, booleans and other texts, with one of the latter if there is."""

    numbers: int
    booleans: int
    texts: int
    example: str | None


@dataclass(frozen=True)
class Names:
    """What conditions on rows may name: metadata keys, and the types that each column of types holds."""

    rows: str
    keys: Mapping[str, KeyValues]
    types: Mapping[str, Collection[str]]


def read_keys(connection: duckdb.DuckDBPyConnection, values: str) -> dict[str, KeyValues]:
    """The keys in a table, or what else may follow FROM, of metadata values (key, value as text)."""
    rows = connection.execute(f"""
        SELECT key, count(*) FILTER (number), count(*) FILTER (boolean), count(*) FILTER (NOT number AND NOT boolean),
            min(value) FILTER (NOT number AND NOT boolean)
        FROM (SELECT key, value, {_NUMBER} AS number, {_BOOLEAN} AS boolean FROM {values}) GROUP BY key""").fetchall()
    return {key: KeyValues(*counts) for key, *counts in rows}


def read_types(
    connection: duckdb.DuckDBPyConnection, table: str, values: Mapping[str, object] | None = None
) -> set[str]:
    """The types in a table, or what else may follow FROM, in which the values are bound by their names."""
    return {row[0] for row in connection.execute(f"SELECT DISTINCT type FROM {table}", dict(values or {})).fetchall()}


def check_conditions(conditions: Iterable[Condition], names: Names, place: str) -> None:
    """Refuse conditions on what no row has; `place` is the name of their list in the request.

    Raises UnknownType for a type, InvalidRequest for a metadata key and for a value of a kind that the key never has.
    """
    for number, condition in enumerate(conditions):
        where = f"{place}.{number}"
        if condition.for_type is not None:
            check_type(condition.for_type, names.types["type"], f"{where}.for_type", names.rows)
        _check_column(condition, where)
        if condition.field in TYPES and condition.op in EQUALITY:
            for value in condition.values():
                check_type(str(value), names.types[condition.field], f"{where}.value", _rows_of(condition.field, names))
        if condition.field.startswith(METADATA):
            _check_key(condition, names, where)


def check_type(name: str, known: Collection[str], place: str, rows: str = "entity") -> None:
    """Refuse a type that no entity, or no interaction, has; raises UnknownType."""
    if name not in known:
        raise UnknownType(f"{place}: {unknown(f'{rows} type', name, known)}")


def check_keys(asked: Iterable[str], known: Collection[str], place: str) -> None:
    """Refuse metadata keys that no entity has; raises InvalidRequest."""
    for key in sorted(asked):
        if key not in known:
            raise InvalidRequest(f"{place}: {unknown('entity has the metadata key', key, known)}")


def check_pairs(pairs: Sequence[PrecomputePair], known: Collection[str]) -> None:
    """Refuse pairs to precompute of types that no entity has; raises UnknownType."""
    for number, pair in enumerate(pairs):
        check_type(pair.source_type, known, f"precompute.{number}.source_type")
        check_type(pair.target_type, known, f"precompute.{number}.target_type")


def _check_column(condition: Condition, where: str) -> None:
    """Refuse to compare texts with what is none; ids may be put in the order of numbers."""
    texts = (*TYPES, "name") if condition.op in ORDER else (*TYPES, *IDS, "name")
    for value in condition.values() if condition.field in texts else []:
        if not isinstance(value, str):
            found = shown(value)
            raise InvalidRequest(f'{where}.value: found {found}, but {condition.field!r} holds texts; write "{found}"')


def _rows_of(field: str, names: Names) -> str:
    return names.rows if field == "type" else "entity"


def _check_key(condition: Condition, names: Names, where: str) -> None:
    key = condition.field.removeprefix(METADATA)
    held = names.keys.get(key)
    if held is None:
        raise InvalidRequest(f"{where}.field: {unknown(f'{names.rows} has the metadata key', key, names.keys)}")
    if condition.op == "contains" and not held.texts:
        raise InvalidRequest(
            f"{where}.op: {key!r} holds {_kinds(held)}, and contains looks into texts; use eq, gte, lt"
        )
    if condition.op in (*EQUALITY, *ORDER):
        for value in condition.values():
            if (wrong := _misfit(value, condition.op, held)) is not None:
                raise InvalidRequest(f"{where}.value: metadata.{key} holds {_kinds(held)}; {wrong}")


def _misfit(value: Scalar, op: str, held: KeyValues) -> str | None:
    """Why a value can be compared with no value of a key; None where it can."""
    if isinstance(value, bool):
        return None if held.booleans else f"found {shown(value)}, which it never is"
    if isinstance(value, int | float):
        return None if held.numbers else f'found the number {shown(value)}; a text is written "{shown(value)}"'
    if _is_number(value):
        # As texts, "9" would come after "10".
        if held.numbers and (not held.texts or op in ORDER):
            return f"found the text {shown(value)}; write {value.strip()}, without quotes"
    elif value in ("true", "false"):
        return None if held.booleans or held.texts else f"found the text {shown(value)}"
    return None if held.texts else f"found the text {shown(value)}"


def _is_number(text: str) -> bool:
    """Whether a text reads as a number, to Python as to DuckDB; codes such as 007 are none."""
    plain = text.strip().lstrip("+-")
    try:
        return math.isfinite(float(plain)) and "_" not in plain and not (plain[:1] == "0" and plain[1:2].isdigit())
    except ValueError:
        return False


def _kinds(held: KeyValues) -> str:
    """What a key holds, in words."""
    texts = "texts" if held.example is None else f"texts such as {shown(held.example)}"
    kinds = {"numbers": held.numbers, "true and false": held.booleans, texts: held.texts}
    return ", ".join(kind for kind, count in kinds.items() if count) or "nothing"
