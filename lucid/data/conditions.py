"""Data filters: conditions of a training request on entities and interactions, checked here and turned into SQL.

A value that is missing fulfils only `ne`, `not_in` and `exists` false. A metadata key with several values fulfils a
condition if one of them does, and `ne` and `not_in` if none is equal. Numbers are compared as numbers, everything else
as text, timestamps as moments.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Op = Literal["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "exists", "contains"]
Scalar = bool | int | float | str
ENTITY_FIELDS = ("id", "type", "name")
INTERACTION_FIELDS = ("type", "source_id", "target_id", "source_type", "target_type", "timestamp")

MAX_PARTS = 1000
"""How many conditions of a kind, or pairs, a training may be asked."""

_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_METADATA = "metadata."


class Condition(BaseModel):
    """One condition on one field; rows of other types than `for_type` pass."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="A column, or `metadata.<key>`.")
    op: Op
    value: Scalar | Annotated[list[Scalar], Field(fail_fast=True)] | None = Field(
        None, description="A list for in and not_in; true by default for exists."
    )
    for_type: str | None = Field(None, min_length=1, description="Only rows of this type must fulfil the condition.")

    @model_validator(mode="after")
    def _value_fits(self) -> "Condition":
        listed = isinstance(self.value, list)
        if self.op in ("in", "not_in"):
            if not self.value or not listed:
                raise ValueError(f"op {self.op!r} needs a list of values")
        elif listed:
            raise ValueError(f"op {self.op!r} needs a single value")
        elif self.op == "exists":
            if self.value not in (None, True, False):
                raise ValueError("op 'exists' needs true or false")
        elif self.op == "contains":
            if not isinstance(self.value, str):
                raise ValueError("op 'contains' needs a text")
        elif self.value is None:
            raise ValueError(f"op {self.op!r} needs a value")
        if self.field == "timestamp" and self.op != "exists":
            if self.op == "contains":
                raise ValueError("op 'contains' does not apply to a timestamp")
            for value in self._values():
                _moment(value)
        return self

    def _values(self) -> list[Scalar]:
        if self.value is None:
            return []
        return self.value if isinstance(self.value, list) else [self.value]

    def test(self, value: str, bind: "Binder") -> str:
        """SQL that tells whether one value, a VARCHAR expression that is not null, fulfils a positive op."""
        if self.op == "exists":
            return "true"
        if self.op == "contains":
            return f"contains({value}, {bind(self.value)})"
        if self.op in _COMPARE:
            return _compare(value, _COMPARE[self.op], self._values()[0], bind, moment=self.field == "timestamp")
        equal = (_compare(value, "=", wanted, bind, moment=self.field == "timestamp") for wanted in self._values())
        return f"({' OR '.join(equal)})"

    @property
    def negated(self) -> bool:
        """Whether the condition asks that no value passes the test."""
        return self.op in ("ne", "not_in") or (self.op == "exists" and self.value is False)


class DataFilters(BaseModel):
    """Conditions on entities and interactions; all must hold."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"entities": [{"field": "metadata.release_year", "op": "gte", "value": 1990, "for_type": "video"}]}
            ]
        },
    )

    entities: list[Condition] = Field([], max_length=MAX_PARTS)
    interactions: list[Condition] = Field([], max_length=MAX_PARTS)

    @field_validator("entities")
    @classmethod
    def _known_entity_fields(cls, conditions: list[Condition]) -> list[Condition]:
        return known_fields(conditions, ENTITY_FIELDS)

    @field_validator("interactions")
    @classmethod
    def _known_interaction_fields(cls, conditions: list[Condition]) -> list[Condition]:
        return known_fields(conditions, INTERACTION_FIELDS)


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
    if condition.field.startswith(_METADATA):
        key = bind(condition.field.removeprefix(_METADATA))
        found = f"{row} IN (SELECT row FROM {values} WHERE key = {key} AND {condition.test('value', bind)})"
    else:
        column = columns[condition.field]
        found = f"coalesce(nullif({column}, '') IS NOT NULL AND {condition.test(column, bind)}, false)"
    held = f"NOT {found}" if condition.negated else found
    return f"({columns['type']} <> {bind(condition.for_type)} OR {held})" if condition.for_type else f"({held})"


def _compare(value: str, sign: str, wanted: Scalar, bind: Binder, *, moment: bool) -> str:
    if moment:
        return f"try_cast({value} AS TIMESTAMPTZ) {sign} {bind(_moment(wanted))}::TIMESTAMPTZ"
    if isinstance(wanted, bool):
        return f"{value} {sign} {bind(str(wanted).lower())}"
    if isinstance(wanted, int | float):
        return f"coalesce(try_cast({value} AS DOUBLE) {sign} {bind(float(wanted))}, false)"
    return f"{value} {sign} {bind(wanted)}"


def _moment(value: Scalar) -> datetime:
    """A time from ISO 8601 (no offset means UTC) or Unix seconds."""
    if isinstance(value, bool):
        raise ValueError("a timestamp is ISO 8601 or Unix seconds")
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError) as error:
            raise ValueError(f"{value} Unix seconds are beyond all times") from error
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def known_fields(conditions: list[Condition], fields: tuple[str, ...]) -> list[Condition]:
    """The conditions; raises ValueError for a field that is neither one of these nor a metadata key."""
    for place, condition in enumerate(conditions):
        key = condition.field.removeprefix(_METADATA)
        if condition.field not in fields and (key == condition.field or not key):
            known = ", ".join(fields)
            raise ValueError(
                f"condition {place}: unknown field {condition.field!r}; fields are {known}, metadata.<key>"
            )
    return conditions
