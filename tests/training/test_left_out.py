"""What was filtered or aged out is still known: it is not learned from, and not recommended again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lucid.errors import InvalidRequest
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.training.steps import refresh
from lucid.versions.uploads import uploads_since
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

USERS, ITEMS = 12, 10
NOW = datetime.now(UTC)
OLD, NEW = (NOW - timedelta(days=400)).isoformat(), (NOW - timedelta(days=1)).isoformat()
WAYS: list[dict[str, Any]] = [
    {"maximum_interaction_age_days": 30},
    {"data_filters": {"interactions": [{"field": "metadata.kind", "op": "eq", "value": "new"}]}},
    {
        "data_filters": DataFilters.model_validate(
            {"interactions": [{"field": "timestamp", "op": "gte", "value": NEW[:10]}]}
        )
    },
]
"""By age, by what interactions say of themselves, and by their time: each leaves out the same."""
GRID = pytest.mark.parametrize("way", WAYS, ids=["age", "metadata", "time"])


def old_of(user: int) -> set[str]:
    """Which items a user bought long ago: the next two after those of today, everything for the last user."""
    if user == USERS - 1:
        return {f"i{item}" for item in range(4)}
    return {f"i{(user + shift) % ITEMS}" for shift in (3, 4)}


def new_of(user: int) -> set[str]:
    """Which items a user bought lately; none for the last user."""
    return {f"i{(user + shift) % ITEMS}" for shift in range(3)} if user < USERS - 1 else set()


def rows_of(user: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [
        ("bought", f"u{user}", item, OLD, '{"kind": "old"}') for item in sorted(old_of(user))
    ]
    return found + [("bought", f"u{user}", item, NEW, '{"kind": "new"}') for item in sorted(new_of(user))]


@pytest.fixture
def shop(tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> Workspace:
    """A workspace in which every user bought some items today and some long ago."""
    workspace = Workspace(tmp_path / "home")
    names = [(f"u{user}", "user", "", "", "") for user in range(USERS)]
    entities = entities_csv(*names, *((f"i{item}", "item", "", "", "") for item in range(ITEMS)))
    interactions = interactions_csv(*(row for user in range(USERS) for row in rows_of(user)))
    workspace.import_files([entities, interactions])
    return workspace


def answered(workspace: Workspace, **asked: Any) -> dict[str, set[str]]:
    """What each user is recommended."""
    found: pd.DataFrame = workspace.recommend("shop", source_type="user", target_type="item", **asked)
    return {f"u{user}": set(found.loc[found["source_id"] == f"u{user}", "target_id"]) for user in range(USERS)}


EVERY = {f"i{item}" for item in range(ITEMS)}


@pytest.mark.slow
@GRID
def test_what_was_left_out_of_learning_is_not_recommended(shop: Workspace, way: dict[str, Any]) -> None:
    """Whichever way it was left out: computed ahead and at once, for one source and for all."""
    shop.train("shop", **way)
    known = {f"u{user}": EVERY - old_of(user) - new_of(user) for user in range(USERS)}
    learned = {f"u{user}": EVERY - new_of(user) for user in range(USERS)}

    assert known == answered(shop)
    assert known == answered(shop, target_filter=[{"field": "type", "op": "eq", "value": "item"}])
    one = shop.recommend("shop", source_id="u0", target_type="item")
    assert known["u0"] == set(one["target_id"])
    assert learned == answered(shop, exclude="learned")
    assert dict.fromkeys(known, EVERY) == answered(shop, exclude_interacted=False)
    mixed = shop.recommend("shop", sources=[{"id": "u0"}, {"id": "u1"}], target_type="item")
    assert known["u0"] & known["u1"] == set(mixed["target_id"])


@pytest.mark.slow
def test_a_source_whose_whole_history_aged_out_is_answered_by_popularity(shop: Workspace) -> None:
    """Nothing of what the model learned tells of it, but what it had is known."""
    shop.train("shop", maximum_interaction_age_days=30)

    found = shop.recommend("shop", source_id=f"u{USERS - 1}", target_type="item")

    assert {"popular"} == set(found["served_by"])
    assert EVERY - old_of(USERS - 1) == set(found["target_id"])


@pytest.mark.slow
def test_uploads_that_would_be_left_out_are_known_at_once_and_after_a_refresh(
    shop: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Of sources that the version holds and of new ones; an erased target is gone from what is known, too."""
    shop.train("shop", maximum_interaction_age_days=30)
    shop.import_files(
        [
            entities_csv(("u99", "user", "", "", "")),
            interactions_csv(("bought", "u0", "i9", OLD, ""), ("bought", "u99", "i5", OLD, "")),
        ]
    )
    left = EVERY - old_of(0) - new_of(0) - {"i9"}

    def targets(source: str) -> set[str]:
        return set(shop.recommend("shop", source_id=source, target_type="item")["target_id"])

    assert (left, EVERY - {"i5"}) == (targets("u0"), targets("u99"))
    refresh(shop.settings, "shop")
    uploads = uploads_since(
        Version(shop.settings.home, "shop", 2),
        TrainingRequest(model_id="shop", maximum_interaction_age_days=30),
        now=NOW,
    )
    assert ([], ["u99"]) == (list(uploads.left_out_by_row), list(uploads.left_out_by_id))  # the rest is computed ahead
    assert (left, EVERY - {"i5"}) == (targets("u0"), targets("u99"))
    shop.erase(["i9"])
    assert left == targets("u0")


def test_a_wrong_choice_is_told(shop: Workspace) -> None:
    """Neither all nor learned."""
    with pytest.raises(InvalidRequest, match="exclude"):
        shop.recommend("shop", source_id="u0", target_type="item", exclude="nothing")  # type: ignore[arg-type]
