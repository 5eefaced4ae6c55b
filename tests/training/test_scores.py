"""Scores that people can read: what a trained model says of its recommendations."""

from pathlib import Path

import numpy as np
import pandas as pd

from lucid.settings import Settings
from lucid.workspace import Workspace


def trained(folder: Path, sources: int) -> pd.DataFrame:
    """All recommendations of a model of users who choose among sixty items, most of them of their own colour."""
    rng = np.random.default_rng(sources)
    lines = []
    for user in range(sources):
        own = np.arange(user % 2, 60, 2)
        chosen = {*rng.choice(own, 5, replace=False).tolist(), int(rng.integers(60))}
        lines += [f"buy,u{user:05d},i{item:02d},," for item in chosen]
    folder.mkdir()
    names = [("user", f"u{user:05d}") for user in range(sources)] + [("item", f"i{item:02d}") for item in range(60)]
    entities = [f"{name},{entity_type},,," for entity_type, name in names]
    for file, header, rows in (
        ("entities.csv", "id,type,name,metadata,media_url", entities),
        ("interactions.csv", "type,source_id,target_id,timestamp,metadata", lines),
    ):
        (folder / file).write_text("\n".join([header, *rows, ""]))
    workspace = Workspace(settings=Settings(home=folder / "home"))
    workspace.import_files([folder / "entities.csv", folder / "interactions.csv"])
    workspace.train("m")
    return workspace.recommend("m", source_type="user", target_type="item", max_recommendations=55)


def test_a_few_dozen_rows_give_no_score_near_100(tmp_path: Path) -> None:
    found = trained(tmp_path / "few", 6)

    assert found["score"].max() < 75


def test_the_same_data_with_ten_times_the_sources_is_scored_alike(tmp_path: Path) -> None:
    """Scores are spread over the whole scale, first ones high and last ones low, whatever the size."""
    some, many = trained(tmp_path / "some", 150), trained(tmp_path / "many", 1500)

    for table in (some, many):
        assert table.groupby("source_id")["score"].apply(lambda scores: scores.is_monotonic_decreasing).all()
        assert table["score"].max() > 85
        assert table["score"].min() < 25
        assert table["probability"].between(0, 1).all()
    means = [table.groupby("rank")["score"].mean() for table in (some, many)]
    assert abs(means[0] - means[1]).mean() < 12
