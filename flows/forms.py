"""Types of the flows' parameters: the limits that Prefect's forms carry, and what they leave out."""

from typing import Annotated

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from lucid.schema.batches import MAX_FILES
from lucid.schema.fields import MAX_PARTS, MAX_TAGS, Tag, Text
from lucid.schema.training import PrecomputePair

Files = Annotated[list[Text], Field(min_length=1, max_length=MAX_FILES)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
DataTags = list[Text]
Pairs = Annotated[list[PrecomputePair], Field(max_length=MAX_PARTS)]
CallbackUrl = Annotated[
    str,
    # A form may send an empty text for none.
    WithJsonSchema({"type": "string", "maxLength": 2000, "pattern": "^(https?://.+)?$"}),
]

VersionOfApi = Annotated[int | None, SkipJsonSchema()]
BatchesOfApi = Annotated[list[str] | None, SkipJsonSchema()]
"""What the API alone passes for work that it has entered, and no form offers."""
