"""The generated catalogue: good recommendations can be told from bad ones, and ours are good."""

from pathlib import Path

import pytest

from lucid.demo.catalogue import favourites_found, generate, recommend_popular
from lucid.workspace import Workspace


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_favourites_are_found_and_popularity_does_not_find_them(tmp_path: Path, seed: int) -> None:
    """A withheld favourite stands in the first 10 for at least 90% of the users, by popularity for under 40%."""
    catalogue = generate(tmp_path, seed=seed)
    workspace = Workspace(tmp_path / "home")
    workspace.import_files([catalogue.entities, catalogue.interactions])
    workspace.train("videos")

    table = workspace.recommend("videos", source_type="user", target_type="video", max_recommendations=10)

    recommended = {str(user): rows.tolist() for user, rows in table.groupby("source_id")["target_id"]}
    assert favourites_found(recommended, catalogue.favourites) >= 0.9
    assert favourites_found(recommend_popular(catalogue.watched), catalogue.favourites) < 0.4


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    """The catalogue depends on nothing but its seed and the day."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        generate(folder, users=20, seed=3)

    for name in ("entities.csv", "interactions.csv"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
