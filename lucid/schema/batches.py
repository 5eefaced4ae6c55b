"""Batches: the columns of files, what a file held, what changes about a batch, what an erasure took."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic.config import JsonDict

from lucid.errors import InvalidRequest
from lucid.schema.fields import MAX_TAGS, FileType, RunStatus, Tag, Time, given

ENTITY_COLUMNS = ("id", "type", "name", "metadata", "media_url")
INTERACTION_COLUMNS = ("type", "source_id", "target_id", "timestamp", "metadata")
TYPE_COLUMNS = ("source_type", "target_type")
"""Columns that interaction files may have besides."""
MAX_FILES = 100
"""How many files one call imports."""


class RejectedRow(BaseModel):
    """One reason why one row was set aside."""

    line: int = Field(description="Line of the file on which the row starts; the header is line 1.")
    column: str | None = Field(description="Column that holds the bad value; null where the row as a whole is bad.")
    code: str
    message: str
    value: str | None = Field(description="The bad value, cut at 100 characters.")


@dataclass(frozen=True)
class Naming:
    """How the ids of a file name entities.

    With `namespace` an id is one of its type only, and the entity is called `type:id`. The types are those of the ends
    of interactions that have no `source_type` or `target_type` in their file; entities have a type of their own.
    """

    source_type: str | None = None
    target_type: str | None = None
    namespace: bool = False


def naming_of(source_type: str | None, target_type: str | None, *, namespace: bool) -> Naming:
    """How a call says that ids name entities; raises InvalidRequest for an empty type, or one with a colon."""
    for name, given_type in (("source_type", source_type), ("target_type", target_type)):
        if given_type is not None and not given_type.strip():
            raise InvalidRequest(f"{name} is empty; give the type of these ends of the interactions, or leave it out")
        if given_type is not None and namespace and ":" in given_type:
            raise InvalidRequest(f"{name} {given_type!r} must not hold a colon with namespace=true")
    return Naming(source_type, target_type, namespace)


@dataclass(frozen=True)
class LoadedFile:
    """What a file held: `loaded + rejected` is its number of rows; `warnings` tell what is odd about loaded ones."""

    file_type: FileType
    loaded: int
    rejected: int
    errors: list[RejectedRow]
    warnings: list[str] = field(default_factory=list)


_BATCH_EXAMPLE: JsonDict = {
    "batch_id": "0f8fad5bd9cb469fa16570867728950e",
    "timestamp": "2026-05-04T12:30:00.000Z",
    "tags": ["2026"],
    "entity_count": 1200,
    "interaction_count": 0,
    "rejected_count": 1,
    "status": "completed",
    "message": "",
    "code": None,
    "errors": [
        {
            "line": 17,
            "column": "media_url",
            "code": "invalid_url",
            "message": "not an http(s) URL",
            "value": "ftp://a.org",
        }
    ],
    "warnings": [],
    "archived": False,
    "file_name": "entities.csv",
}


class Batch(BaseModel):
    """One uploaded file: immutable but for its tags and its archive mark."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH_EXAMPLE]})

    batch_id: str
    timestamp: Time
    tags: list[str]
    entity_count: int = 0
    interaction_count: int = 0
    rejected_count: int = 0
    status: RunStatus
    message: str = ""
    code: str | None = Field(None, description="Why the import failed, as a call's problem has it; null where not.")
    errors: list[RejectedRow] = []
    warnings: list[str] = Field([], description="What is odd about rows that are loaded all the same.")
    archived: bool = False
    file_name: str


class BatchChange(BaseModel):
    """What to change about batches; what is absent stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [given("tags"), given("archived")],
            "examples": [{"tags": ["2026"], "archived": False}],
        },
    )

    tags: Annotated[list[Tag], Field(fail_fast=True, max_length=MAX_TAGS)] | None = Field(
        None, description="The new tags; they take the place of the old ones."
    )
    archived: StrictBool | None = Field(None, description="Archived batches take part in no training.")

    @model_validator(mode="after")
    def _something(self) -> "BatchChange":
        if self.tags is None and self.archived is None:
            raise ValueError("give tags, archived or both")
        return self


class Erased(BaseModel):
    """What was erased, in each place; zero where nothing named the entities."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "entities": 1,
                    "interactions": 40,
                    "metadata_values": 0,
                    "rejected_rows": 0,
                    "models": 1,
                    "vectors": 1,
                    "recommendations": 130,
                    "impressions": 400,
                }
            ]
        }
    )

    entities: int = Field(0, description="Rows of entities in batches.")
    interactions: int = Field(0, description="Rows of interactions in batches, from or to the entities.")
    metadata_values: int = Field(0, description="Values in the metadata of other rows.")
    rejected_rows: int = Field(0, description="Rows that were set aside; they stay counted, without their value.")
    models: int = Field(0, description="Models whose live version held one of the entities.")
    vectors: int = Field(0, description="Vectors in these versions.")
    recommendations: int = Field(0, description="Cached recommendations for or of the entities.")
    impressions: int = Field(0, description="Rows of answers that were noted, for or of the entities.")

    def __add__(self, other: "Erased") -> "Erased":
        mine, others = self.model_dump(), other.model_dump()
        return Erased.model_validate({place: mine[place] + others[place] for place in mine})
