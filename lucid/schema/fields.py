"""Words and values that several border types share: choices, limits, names, times, lists.

Holds no behaviour beyond reading and checking values; all times are aware and in UTC.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from numbers import Integral
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema
from pydantic.config import JsonDict

from lucid.errors import InvalidRequest
from lucid.schema.wording import place, problem, shown

FileType = Literal["entities", "interactions"]
RunStatus = Literal["running", "completed", "error"]
OnError = Literal["set_aside", "abort"]
OutputFormat = Literal["json", "csv"]
Device = Literal["auto", "cpu", "cuda"]
PartName = Literal["api", "flows", "prefect"]
Use = Literal["recommend", "similar", "popular", "trending"]
ForAll = Literal["popular", "trending"]
"""Lists that are the same for all sources, but for what each has interacted with."""
Exclude = Literal["all", "learned"]
"""Which interactions of a source count as its own: all that are known, or only those that the model learned from."""
Hidden = Exclude | Literal["disliked"]
"""What is not recommended to a source: its own, or what it disliked alone."""
ServedBy = Literal["cache", "folded-in", "session", "popular", "trending"]
"""Where an answer comes from: from the version as it is, computed ahead or just now; from the version and what was
uploaded since; from the version and the session in the query; or from popularity alone, as nothing is known of the
source, or from what is trending."""

Stage = Literal["queued", "select", "build", "fit", "evaluate", "precompute", "publish", "finished", "cancelling"]
KeyUse = Literal["entity", "number", "text", "identifier", "ignored"]
"""How the values of a metadata key are used."""

MAX_TAGS, MAX_TAG = 50, 200
"""How many tags a batch may carry, and how long each may be."""

MAX_RECOMMENDATIONS = 100
"""How many recommendations a source gets where the request does not say."""

MAX_PARTS = 1000
"""How many conditions of a kind, or pairs, a training may be asked."""

Checked = TypeVar("Checked", bound=BaseModel)
_MODEL_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def check_zone(name: str) -> str:
    """The name of a time zone as it is written; raises ValueError where none has it."""
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):  # not there, not below the folder of zones, a folder of zones
        near = get_close_matches(name, available_timezones(), 1) or ["Europe/Berlin"]
        raise ValueError(f"{name!r} is no time zone; expected UTC or a name such as {near[0]}") from None


def utc_now() -> datetime:
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Write an aware time as ISO 8601 in UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(model: type[Checked], values: dict[str, Any]) -> Checked:
    """Read values into a border type; raises InvalidRequest with one line that names each bad field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(describe(error, model)) from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One line that names each bad field of a model, what is wrong with it and what is expected."""
    details = ((detail["loc"], problem(detail, model, detail["loc"])) for detail in error.errors())
    return "; ".join(": ".join(part for part in (place(location), found) if part) for location, found in details)


def _check_model_id(model_id: str) -> str:
    if not _MODEL_ID.fullmatch(model_id):
        raise ValueError("must be 1 to 128 of the characters A-Z a-z 0-9 . _ - :")
    return model_id


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def as_id(value: Any) -> Any:
    """A whole number as the text that it is as an id: files hold `1`, and so people send it as a number.

    Raises ValueError for what is neither that nor a text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, Integral | float) or value != value // 1:
        raise ValueError(f'found {shown(value)}, but an id is a text: "1"')
    return str(int(value))


def _as_ids(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else [value]


def ids_of(values: object) -> list[str]:
    """Ids that were given to a Python function, one or several; raises InvalidRequest for what is none."""
    several = values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    try:
        return [as_id(value) for value in several]
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def given(name: str) -> JsonDict:
    """JSON schema of an object that has a property."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


ModelId = Annotated[
    str,
    AfterValidator(_check_model_id),
    WithJsonSchema({"type": "string", "pattern": f"^{_MODEL_ID.pattern}$", "examples": ["videos"]}),
]

Time = Annotated[
    datetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]

Tag = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TAG, "pattern": "^[^,]*$"})]
Text = Annotated[str, Field(min_length=1)]
TextList = Annotated[
    list[Text],
    Field(min_length=1, fail_fast=True),  # a list may be long, and mostly all of it is wrong or nothing
    BeforeValidator(_as_list, json_schema_input_type=Text | Annotated[list[Text], Field(min_length=1)]),
]
"""One text or several, at least one."""
Id = Annotated[Text, BeforeValidator(as_id, json_schema_input_type=Text | int)]
"""An id; a whole number stands for its digits."""
IdList = Annotated[
    list[Id],
    Field(min_length=1, fail_fast=True),
    BeforeValidator(_as_ids, json_schema_input_type=Id | Annotated[list[Id], Field(min_length=1)]),
]
"""One id or several, at least one."""
Ids = str | int | Sequence[str | int]
"""The same, as Python takes them."""
