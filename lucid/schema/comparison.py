"""Two versions of a model side by side, as they are told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MovedTarget(BaseModel):
    """A target that has come into lists, or has left them."""

    id: str
    name: str
    lists: int = Field(description="Of how many of the sources that were looked at.")


class PairAnswersCompared(BaseModel):
    """How the lists of a pair's sources moved from version a to version b; shares are of the sources looked at."""

    source_type: str
    target_type: str
    sources_in_both: int
    sources_only_in_a: int
    sources_only_in_b: int
    looked_at: int = Field(description="Sources of a whose lists were looked at, always the same ones.")
    changed: float = Field(description="Share of the lists whose first ten hold other targets.")
    overlap: float = Field(description="How much of the first ten stayed, on average.")
    lost: float = Field(description="Share of the sources with answers of their own in a that have none in b.")
    entered: list[MovedTarget] = Field(description="Targets that came into most lists.")
    left: list[MovedTarget] = Field(description="Targets that left most lists.")


class PairQualityCompared(BaseModel):
    """NDCG@10 of a pair in both versions, and what b is better by, positive, or worse."""

    source_type: str
    target_type: str
    a: float | None = Field(description="As version a was judged; null where it was not.")
    b: float | None
    difference: float | None = Field(description="Null where there is too little to compare; `reason` says why.")
    low: float | None = Field(description="Of the 95% interval of the difference.")
    high: float | None
    p: float | None = Field(description="How often chance alone makes as large a difference.")
    significant: bool
    sources: int = Field(description="Test sources that are compared.")
    on: Literal["same", "own"] | None = Field(
        description="`same`: the same withheld interactions of the same sources; `own`: what was withheld of each."
    )
    reason: str | None = None


class PairName(BaseModel):
    """A pair of types."""

    source_type: str
    target_type: str


class Comparison(BaseModel):
    """How version b of a model differs from version a."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "videos",
                    "a": 1,
                    "b": 2,
                    "interactions": [1_000_209, 1_061_120],
                    "quality": [
                        {
                            "source_type": "user",
                            "target_type": "video",
                            "a": 0.212,
                            "b": 0.219,
                            "difference": 0.0071,
                            "low": -0.0034,
                            "high": 0.0177,
                            "p": 0.187,
                            "significant": False,
                            "sources": 1000,
                            "on": "own",
                            "reason": None,
                        }
                    ],
                    "answers": [
                        {
                            "source_type": "user",
                            "target_type": "video",
                            "sources_in_both": 6040,
                            "sources_only_in_a": 0,
                            "sources_only_in_b": 212,
                            "looked_at": 1000,
                            "changed": 0.871,
                            "overlap": 0.744,
                            "lost": 0.0,
                            "entered": [{"id": "video_9", "name": "The Andromeda Strain", "lists": 41}],
                            "left": [{"id": "video_3", "name": "Westworld", "lists": 38}],
                        }
                    ],
                    "pairs_only_in_a": [],
                    "pairs_only_in_b": [],
                }
            ]
        }
    )

    model_id: str
    a: int
    b: int
    interactions: tuple[int, int] = Field(description="What each version learned from, a before b.")
    quality: list[PairQualityCompared] = Field(description="Pairs that either was judged on.")
    answers: list[PairAnswersCompared] = Field(description="Pairs that both have computed ahead.")
    pairs_only_in_a: list[PairName]
    pairs_only_in_b: list[PairName]
