"""Lists in queries and forms: repeated or separated by commas."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema
from pydantic.config import JsonDict


def listed(**limits: str | int) -> JsonDict:
    """JSON schema of such a list; what stands in a query or a form is text, so one alone is a list of one."""
    text: JsonDict = {"type": "string", **limits}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]}


Listed = Annotated[list[str], WithJsonSchema(listed())]


def only(given: Any) -> Any:
    """The one value where a parameter that is no list was given once."""
    return given[0] if isinstance(given, list) and len(given) == 1 else given


def split(given: Sequence[str] | None) -> list[str] | None:
    """The values of a list; None where nothing was given."""
    return [part.strip() for value in given for part in value.split(",") if part.strip()] if given is not None else None
