"""Lineage: what a version was made of, by what, and what it gives; counts and names of files, never values of rows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lucid.schema.fields import Time

MadeBy = Literal["training", "refresh", "erasure"]


class UsedBatch(BaseModel):
    """A batch that a version was made of, as it is now; of one that was deleted since only its id is known."""

    batch_id: str
    used: Literal["trained", "folded in"] = Field(description="By the training, or by a refresh since.")
    state: Literal["completed", "archived", "deleted"]
    file_name: str | None = None
    tags: list[str] | None = None
    entities: int | None = Field(None, description="Rows that were loaded, less those that were erased since.")
    interactions: int | None = None
    uploaded: Time | None = None


class SelectionStep(BaseModel):
    """What one step of the choice of data kept and removed, in rows."""

    step: str
    kept: int
    removed: int


class UsedSelection(BaseModel):
    """How the training chose its data; `steps` is null where the version is no longer kept."""

    data_tags: list[str] | None = None
    maximum_interaction_age_days: int | None = None
    data_filters: dict[str, Any] | None = None
    metadata_rules: dict[str, str] | None = None
    interaction_rules: dict[str, Any] | None = None
    steps: list[SelectionStep] | None = None


class Ancestor(BaseModel):
    """A version from which another was made, and when that was begun."""

    version: int
    made_by: MadeBy
    started: Time


class PairAnswers(BaseModel):
    """A pair that was precomputed: how many recommendations were asked for each source, how many there are in all."""

    source_type: str
    target_type: str
    max_recommendations: int
    recommendations: int


class VersionFile(BaseModel):
    """A file of a version; `sha256` is null where the earliest release wrote it."""

    name: str
    bytes: int
    sha256: str | None = None


class Lineage(BaseModel):
    """Where a version comes from and where it leads to, by our own records.

    What is only in the files of a version (`published`, `seed`, `erased`, `pairs`, `files`, steps of the selection) is
    null where it is no longer kept.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "version": 2,
                    "made_by": "refresh",
                    "kept": True,
                    "live": True,
                    "started": "2026-05-05T03:00:00.000Z",
                    "published": "2026-05-05T03:00:12.000Z",
                    "flow_run_url": None,
                    "ancestors": [{"version": 1, "made_by": "training", "started": "2026-05-04T12:31:00.000Z"}],
                    "batches": [
                        {
                            "batch_id": "0f8fad5bd9cb469fa16570867728950e",
                            "used": "trained",
                            "state": "completed",
                            "file_name": "interactions.csv",
                            "tags": ["2026"],
                            "entities": 0,
                            "interactions": 1200,
                            "uploaded": "2026-05-04T12:30:00.000Z",
                        }
                    ],
                    "selection": {
                        "data_tags": ["2026"],
                        "maximum_interaction_age_days": 365,
                        "data_filters": None,
                        "metadata_rules": None,
                        "interaction_rules": None,
                        "steps": [{"step": "interactions: in the selected batches", "kept": 1200, "removed": 0}],
                    },
                    "seed": 0,
                    "erased": 0,
                    "pairs": [
                        {
                            "source_type": "user",
                            "target_type": "video",
                            "max_recommendations": 100,
                            "recommendations": 5000,
                        }
                    ],
                    "files": [{"name": "config.json", "bytes": 3120, "sha256": None}],
                }
            ]
        }
    )

    model_id: str
    version: int
    made_by: MadeBy
    kept: bool = Field(description="Whether its files are still there.")
    live: bool = Field(description="Whether it answers.")
    started: Time
    published: Time | None = None
    flow_run_url: str | None = None
    ancestors: list[Ancestor] = Field(
        description="The versions it was derived from, its parent first and their training last; none for a training."
    )
    batches: list[UsedBatch] = Field(description="In upload order, those that were deleted last.")
    selection: UsedSelection = Field(description="Of the training, from which refreshes and erasures take it over.")
    seed: int | None = None
    erased: int | None = Field(None, description="How many entities were erased from it after its training.")
    pairs: list[PairAnswers] | None = None
    files: list[VersionFile] | None = Field(
        None, description="As its manifest names them; that of `config.json` tells whether two have the same settings."
    )
