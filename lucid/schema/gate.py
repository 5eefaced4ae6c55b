"""The gate: what a new version has to hold to go live by itself."""

from pydantic import BaseModel, ConfigDict, Field, StrictBool


class GateRequest(BaseModel):
    """How a new training of a model is compared with the version that answers; shares are numbers from 0 to 1."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"max_relative_loss": 0.1, "min_overlap": 0.2}]}
    )

    enabled: StrictBool = Field(True, description="Whether anything is compared; else every training goes live.")
    max_relative_loss: float = Field(
        0.05, ge=0, le=1, description="How much of its quality a pair may lose, whether by chance or not."
    )
    significance: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="How often chance alone may hold a training back at most, all of its pairs together.",
    )
    min_overlap: float = Field(
        0.1, ge=0, le=1, description="How much of the first ten of a source stays the same at least, on average."
    )
    max_lists_changed: float = Field(
        1.0, ge=0, le=1, description="The share of sources whose first ten may change at all; 1: all of them."
    )
    max_sources_lost: float = Field(
        0.1, ge=0, le=1, description="The share of sources with answers of their own that may lose these."
    )
    min_interactions: float = Field(
        0.5, ge=0, le=1, description="Interactions that are learned from, as a share of those before."
    )
    min_entities: float = Field(
        0.5, ge=0, le=1, description="Entities of each type with recommendations, as a share of those before."
    )
    allow_lost_pairs: StrictBool = Field(False, description="Whether pairs that were answered ahead may vanish.")


class Gate(GateRequest):
    """The gate of a model as it is; `is_default` where nobody has set it."""

    is_default: bool = True
