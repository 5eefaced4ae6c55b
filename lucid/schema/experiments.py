"""Experiments: which part of the sources is answered in which way, and what came of it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, field_validator
from pydantic.config import JsonDict

from lucid.schema.fields import ModelId, Time

ExperimentName = Annotated[ModelId, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"})]
Verdict = Literal["better", "worse", "unknown"]

MAX_VARIANTS = 20
_MORE = 1e-9
"""By so much shares may miss 1, as decimal numbers do."""

_VARIANTS: list[JsonValue] = [{"name": "now", "share": 0.5}, {"name": "new", "share": 0.5, "version": 4}]


class Variant(BaseModel):
    """A way to answer that is tried."""

    model_config = ConfigDict(extra="forbid")

    name: ExperimentName
    share: float = Field(gt=0, le=1, description="The share of all sources that get it.")
    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="The version that answers; by default the live one."
    )
    placement: str | None = Field(None, min_length=1, max_length=200, description="The placement that it follows.")


_ASKED: JsonDict = {"name": "deeper", "model_id": "videos", "variants": _VARIANTS}
_BEGUN: JsonDict = {**_ASKED, "started": "2026-05-04T12:30:00.000Z", "stopped": None}


class ExperimentRequest(BaseModel):
    """What is tried on whom. Sources beyond the shares take no part, and get the live version."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [_ASKED]},
    )

    name: ExperimentName
    model_id: ModelId
    variants: list[Variant] = Field(
        min_length=2, max_length=MAX_VARIANTS, description="The first is what the others are compared with."
    )

    @field_validator("variants")
    @classmethod
    def _fit_together(cls, variants: list[Variant]) -> list[Variant]:
        names = [variant.name for variant in variants]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two variants are called {twice!r}; give each a name of its own")
        total = sum(variant.share for variant in variants)
        if total > 1 + _MORE:
            raise ValueError(f"the shares are {total:g} together; expected at most 1")
        return variants


class Experiment(ExperimentRequest):
    """An experiment as it is; after it was stopped everybody gets the live version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BEGUN]})

    started: Time
    stopped: Time | None = None


class VariantEvents(BaseModel):
    """Events of a type that came of a variant. The unit is the source: it is what was split at random."""

    type: str
    events: int = Field(description="How many there were.")
    sources: int = Field(description="Sources with one or more.")
    rate: float = Field(ge=0, le=1, description="The share of these among the sources that were shown the variant.")
    low: float = Field(ge=0, le=1, description="Lower end of its always-valid 95% interval.")
    high: float = Field(ge=0, le=1, description="Upper end.")


class VariantResult(BaseModel):
    """What a variant has shown, and what came of it."""

    name: str
    versions: list[int] = Field(description="The versions that have answered.")
    placements: list[str] = Field(description="The placements that answers have followed, as `home@3`.")
    sources: int = Field(description="Different sources that were shown it.")
    answers: int
    impressions: int = Field(description="Rows that these showed.")
    events: list[VariantEvents]


class VariantDifference(BaseModel):
    """How the rate of a variant differs from that of the first one."""

    variant: str
    type: str
    difference: float = Field(description="Rate of the variant less that of the first one.")
    low: float = Field(description="Lower end of its always-valid 95% interval.")
    high: float = Field(description="Upper end.")
    verdict: Verdict
    sentence: str = Field(description="The same in words.")


class ExperimentReport(Experiment):
    """What came of an experiment so far. It may be looked at as often as one likes, and ended at any look."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "deeper",
                    "model_id": "videos",
                    "variants": _VARIANTS,
                    "started": "2026-05-01T00:00:00.000Z",
                    "stopped": None,
                    "results": [
                        {
                            "name": "now",
                            "versions": [3],
                            "placements": [],
                            "sources": 5000,
                            "answers": 9000,
                            "impressions": 90000,
                            "events": [
                                {
                                    "type": "watched",
                                    "events": 640,
                                    "sources": 500,
                                    "rate": 0.1,
                                    "low": 0.0867,
                                    "high": 0.115,
                                }
                            ],
                        }
                    ],
                    "differences": [],
                    "warnings": [],
                }
            ]
        }
    )

    results: list[VariantResult]
    differences: list[VariantDifference]
    warnings: list[str] = Field(description="What speaks against trusting it.")
