"""What is wrong with a value, in words of ours: what was found, what is expected, which name was meant.

Pydantic finds what is wrong; its own words are for programmers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from lucid.schema.names import nearest, unknown

_SHOWN = 60
"""A value that was found is shown up to this length."""

_OBJECT = "an object, {{…}}"
_NUMBER, _WHOLE, _BOOLEAN = "a number", "a whole number", "true or false"
_EXPECTED = {
    "bool_parsing": _BOOLEAN,
    "bool_type": _BOOLEAN,
    "dict_type": _OBJECT,
    "finite_number": "a number that is not infinite",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "a whole number with fewer digits",
    "int_type": _WHOLE,
    "json_type": "JSON, as a text",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "list_type": "a list, […]",
    "mapping_type": _OBJECT,
    "model_attributes_type": f"{_OBJECT}, as JSON with the content type application/json",
    "model_type": _OBJECT,
    "path_type": "a path",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_long": "at most {max_length:,} characters",
    "string_too_short": "at least {min_length:,} characters",
    "string_type": "a text",
    "too_long": "at most {max_length:,} values",
    "too_short": "at least {min_length:,} values",
}


def problem(detail: Mapping[str, Any], whole: Any, location: Sequence[object]) -> str:
    """One error of pydantic's as a sentence: about what stands at a location of a value of the type `whole`."""
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "missing; it has to be given"
    if kind == "extra_forbidden":
        return unknown("parameter", str(location[-1]), names_at(whole, location))
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind == "json_invalid":
        return f"not JSON: {context['error']}"
    if kind in ("literal_error", "enum"):
        return f"found {shown(found)}, expected {context['expected']}{_meant(found, context['expected'])}"
    if kind == "string_type" and isinstance(found, int | float) and not isinstance(found, bool):
        return f'found {shown(found)}, expected a text: "{shown(found)}"'
    if kind in _EXPECTED:
        return f"found {shown(found)}, expected {_EXPECTED[kind].format(**context)}"
    message: str = detail["msg"]
    return f"found {shown(found)}: {message.replace('Input should be', 'expected')}"


def place(location: Iterable[object]) -> str:
    """Where a value stands: names and positions, with dots between them."""
    return ".".join(str(part) for part in location)


def names_at(whole: Any, location: Sequence[object]) -> list[str]:
    """Names that the object may have which holds the last part of a location; none where no model describes it."""
    kinds = [whole]
    for part in location[:-1]:
        kinds = [inner for model in _models(kinds) for inner in _inside(model, part)]
    return sorted({name for model in _models(kinds) if _is_model(model) for name in _names(model)})


def _models(kinds: Iterable[Any]) -> Iterator[Any]:
    """Models and lists among types, whatever stands around them."""
    for kind in kinds:
        origin = get_origin(kind)
        if origin is Annotated:
            yield from _models(get_args(kind)[:1])
        elif origin in (Union, UnionType):
            yield from _models(get_args(kind))
        elif origin is list or _is_model(kind):
            yield kind


def _inside(kind: Any, part: object) -> Iterator[Any]:
    if not _is_model(kind):
        yield get_args(kind)[0]
    elif part in kind.model_fields:
        yield kind.model_fields[part].annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _names(model: type[BaseModel]) -> Iterator[str]:
    return (field.alias or name for name, field in model.model_fields.items())


def _meant(found: object, expected: str) -> str:
    """A hint at the one of some quoted choices that is nearest to what was found."""
    choices = [choice.strip(" '") for choice in expected.replace(" or ", ", ").split(",")]
    like = nearest(found, choices) if isinstance(found, str) else None
    return f"; did you mean {like!r}?" if like else ""


def shown(value: object) -> str:
    """A value as its sender wrote it, cut where it is long; of what is too large to be looked through, its kind."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str | bytes):
        text = value[: _SHOWN + 1] if isinstance(value, str) else value[: _SHOWN + 1].decode("utf-8", "replace")
        shown = json.dumps(text[:_SHOWN], ensure_ascii=False)
        return shown + (f"… ({len(value):,} characters)" if len(text) > _SHOWN else "")
    return json.dumps(value)[:_SHOWN] if value is None or isinstance(value, int | float) else repr(value)[:_SHOWN]
