"""Conditions as SQL: which entities and interactions fulfil what a training or a query asks.

A value that is missing fulfils only `ne`, `not_in` and `exists` false. A metadata key with several values fulfils a
condition if one of them does, and `ne` and `not_in` if none is equal. Numbers are compared as numbers, everything else
as text, timestamps as moments.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lucid.schema.filters import METADATA, Condition, Scalar, moment

_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Binder:
    """Collects values and gives them names, so that none of them becomes part of the SQL."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, value: Any) -> str:
        name = f"filter_{len(self.values)}"
        self.values[name] = value
        return f"${name}"


def where(conditions: Iterable[Condition], columns: Mapping[str, str], row: str, values: str, bind: Binder) -> str:
    """SQL that is true for rows that fulfil all conditions.

    `columns` gives the SQL of each field; `values` is a table (row, key, value) of metadata, `row` the SQL that names a
    row in it.
    """
    return " AND ".join(_holds(condition, columns, row, values, bind) for condition in conditions) or "true"


def _holds(condition: Condition, columns: Mapping[str, str], row: str, values: str, bind: Binder) -> str:
    if condition.field.startswith(METADATA):
        key = bind(condition.field.removeprefix(METADATA))
        found = f"{row} IN (SELECT row FROM {values} WHERE key = {key} AND {_passes(condition, 'value', bind)})"
    else:
        column = columns[condition.field]
        found = f"coalesce(nullif({column}, '') IS NOT NULL AND {_passes(condition, column, bind)}, false)"
    held = f"NOT {found}" if condition.negated else found
    return f"({columns['type']} <> {bind(condition.for_type)} OR {held})" if condition.for_type else f"({held})"


def _passes(condition: Condition, value: str, bind: Binder) -> str:
    """SQL that tells whether one value, a VARCHAR expression that is not null, fulfils a positive op."""
    is_time = condition.field == "timestamp"
    if condition.op == "exists":
        return "true"
    if condition.op == "contains":
        return f"contains({value}, {bind(condition.value)})"
    if condition.op in _COMPARE:
        return _compare(value, _COMPARE[condition.op], condition.values()[0], bind, is_time=is_time)
    equal = (_compare(value, "=", one, bind, is_time=is_time) for one in condition.values())
    return f"({' OR '.join(equal)})"


def _compare(value: str, sign: str, other: Scalar, bind: Binder, *, is_time: bool) -> str:
    if is_time:
        return f"try_cast({value} AS TIMESTAMPTZ) {sign} {bind(moment(other))}::TIMESTAMPTZ"
    if isinstance(other, bool):
        return f"{value} {sign} {bind(str(other).lower())}"
    if isinstance(other, int | float):
        return f"coalesce(try_cast({value} AS DOUBLE) {sign} {bind(float(other))}, false)"
    return f"{value} {sign} {bind(other)}"
