"""Reviews: why a version does not answer by itself, in a small file beside its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lucid.errors import Damaged
from lucid.store.documents import read_json
from lucid.store.files import write_text


@dataclass(frozen=True)
class Review:
    """What is against a version: the gate has held it back, or it was rejected; `reason` is for people."""

    state: Literal["held", "rejected"]
    reason: str

    @property
    def held(self) -> bool:
        return self.state == "held"


def write_review(path: Path, review: Review) -> None:
    write_text(path, json.dumps(vars(review), indent=1))


def read_review(path: Path) -> Review | None:
    """The review of a version, if it has one; a version whose review cannot be read waits for somebody."""
    try:
        return read_json(path, _review, "promote or reject the version")
    except FileNotFoundError:
        return None
    except Damaged as error:
        return Review("held", error.message)


def _review(raw: Any) -> Review:
    if raw["state"] not in ("held", "rejected"):
        raise ValueError("held or rejected expected")
    return Review(raw["state"], str(raw["reason"]))
