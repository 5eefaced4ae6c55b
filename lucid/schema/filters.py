"""Conditions on entities and interactions, as a training's `data_filters` and a query's `target_filter` have them.

What a condition says by itself is checked here; whether there is such a key or type, where the data are known, in
`lucid.data.names`.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lucid.schema.fields import MAX_PARTS, as_id
from lucid.schema.names import unknown
from lucid.schema.wording import shown

Op = Literal["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "exists", "contains"]
Scalar = bool | int | float | str
ENTITY_FIELDS = ("id", "type", "name")
INTERACTION_FIELDS = ("type", "source_id", "target_id", "source_type", "target_type", "timestamp")
METADATA = "metadata."
IDS = ("id", "source_id", "target_id")
TYPES = ("type", "source_type", "target_type")
EQUALITY = ("eq", "ne", "in", "not_in")


def _scalars(value: Any) -> Any:
    """Refuse what is neither a scalar nor a list of them, in one sentence instead of one for each kind of scalar."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, bool | int | float | str | None) or (one is None and isinstance(value, list)):
            raise ValueError(f"found {shown(one)}, expected a text, a number, true or false, or a list of these")
    return value


def _id(value: Any) -> Any:
    """The id that a whole number stands for; whatever is none is refused where the data are known."""
    with suppress(ValueError):
        return as_id(value)
    return value


class Condition(BaseModel):
    """One condition on one field; rows of other types than `for_type` pass."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="A column, or `metadata.<key>`.")
    op: Op
    value: Annotated[Scalar | Annotated[list[Scalar], Field(fail_fast=True)] | None, BeforeValidator(_scalars)] = Field(
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
        if self.op not in ("exists", "contains"):
            self._fit_column()
        elif (self.field, self.op) == ("timestamp", "contains"):
            raise ValueError("op 'contains' does not apply to a timestamp; use gte and lt")
        return self

    def _fit_column(self) -> None:
        """Refuse what is no time; a whole number that an id is compared with becomes its text."""
        if self.field == "timestamp":
            for value in self.values():
                moment(value)
        elif self.field in IDS and self.op in EQUALITY:
            self.value = [_id(value) for value in self.value] if isinstance(self.value, list) else _id(self.value)

    def values(self) -> list[Scalar]:
        """What is compared with: none for `exists`, several for `in` and `not_in`."""
        if self.value is None:
            return []
        return self.value if isinstance(self.value, list) else [self.value]

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


def known_fields(conditions: list[Condition], fields: tuple[str, ...]) -> list[Condition]:
    """The conditions; raises ValueError for a field that is neither one of these nor a metadata key."""
    for place, condition in enumerate(conditions):
        key = condition.field.removeprefix(METADATA)
        if condition.field not in fields and (key == condition.field or not key):
            raise ValueError(f"condition {place}: {unknown('field', condition.field, (*fields, 'metadata.<key>'))}")
    return conditions


def moment(value: Scalar) -> datetime:
    """A time from ISO 8601 (no offset means UTC) or Unix seconds."""
    if isinstance(value, bool):
        raise ValueError("a timestamp is ISO 8601 or Unix seconds")
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError) as error:
            raise ValueError(f"{value} Unix seconds are beyond all times") from error
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"found {shown(value)}, expected ISO 8601 such as 2026-05-04T12:30:00Z, or Unix seconds"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
