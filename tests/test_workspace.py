"""Trainings of a whole workspace on data where the right answer is known."""

from pathlib import Path

import pytest

from lucid.model.top_n import top_n
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, USERS, train_checkerboard, withheld, write_checkerboard


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("board")
    return train_checkerboard(Workspace(folder / "home"), folder)


def test_the_withheld_checkerboard_item_is_found_first(trained: Workspace) -> None:
    """Every user is first recommended the one item of its colour that it has not liked."""
    table = trained.recommend("board", source_type="user", target_type="item", max_recommendations=1)

    first = dict(zip(table["source_id"], table["target_id"], strict=True))
    assert {f"u{user:02}": f"i{withheld(user):02}" for user in range(USERS)} == first


def test_types_that_nothing_links_directly_can_be_asked(trained: Workspace) -> None:
    """Users are recommended the colour of their items, though no interaction links users and colours."""
    table = trained.recommend("board", source_type="user", target_type="colour", max_recommendations=1)

    first = dict(zip(table["source_id"], table["name"], strict=True))
    assert {f"u{user:02}": "white" if user % 2 else "black" for user in range(USERS)} == first


def test_users_of_one_colour_are_nearest_to_each_other(trained: Workspace) -> None:
    """Within one type, the best are those with the same taste, never the source itself."""
    table = trained.recommend("board", source_id=["u00", "u01"], target_type="user", max_recommendations=USERS // 2 - 1)

    assert {
        source: {int(target[1:]) % 2 for target in rows} for source, rows in table.groupby("source_id")["target_id"]
    } == {
        "u00": {0},
        "u01": {1},
    }
    assert not (table["source_id"] == table["target_id"]).any()


@pytest.mark.parametrize("colour", ["black", "white"])
def test_an_entity_without_interactions_is_near_its_kin(tmp_path: Path, colour: str) -> None:
    """One metadata link is enough: a new item finds the items of its colour first, and the users who like them."""
    workspace, parity = Workspace(tmp_path / "home"), int(colour == "white")
    new = tmp_path / "new.csv"
    new.write_text(
        f'id,type,name,metadata,media_url\ni99,item,New item,"{{""colour"": ""{colour}""}}",\nu99,user,New user,,\n'
    )
    workspace.import_files([*write_checkerboard(tmp_path), new])
    workspace.train("board")

    kin = workspace.recommend("board", source_id="i99", target_type="item", max_recommendations=ITEMS // 2)
    users = workspace.recommend("board", source_id="i99", target_type="user", max_recommendations=USERS // 2)
    items = workspace.recommend("board", source_type="user", target_type="item", max_recommendations=2)

    assert {int(item[1:]) % 2 for item in kin["target_id"]} == {parity}
    assert {int(user[1:]) % 2 for user in users["target_id"]} == {parity}
    # Next to the one item of its colour that a user lacks, the new one is all that is left of it.
    fans = {source: set(rows) for source, rows in items.groupby("source_id")["target_id"] if source != "u99"}
    assert {user for user, rows in fans.items() if "i99" in rows} == {
        f"u{user:02}" for user in range(USERS) if user % 2 == parity
    }


def test_saved_and_loaded_vectors_give_the_same_scores(trained: Workspace) -> None:
    """What was computed ahead at training equals what the stored vectors give."""
    version = Version(trained.settings.home, "board", 1)
    scorer = version.scorer("user", "user")

    stored = trained.recommend("board", source_type="user", target_type="user", max_recommendations=5)
    found = top_n(scorer, scorer.profiles(version.config.sources("user")), 5)

    assert stored["score"].tolist() == found.scores.tolist()


@pytest.mark.parametrize("entities", [(("u", "user"), ("v", "video")), (("u", "user"), ("v", "video"), ("w", "video"))])
def test_the_smallest_data_trains(workspace: Workspace, tmp_path: Path, entities: list[tuple[str, str]]) -> None:
    """One interaction is enough for a model that answers, even if there is nothing to choose on."""
    lines = ["id,type,name,metadata,media_url", *(f"{entity},{entity_type},,," for entity, entity_type in entities)]
    (tmp_path / "e.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "i.csv").write_text("type,source_id,target_id,timestamp,metadata\nsaw,u,v,,\n")
    workspace.import_files([tmp_path / "e.csv", tmp_path / "i.csv"])

    status = workspace.train("tiny")

    assert ("completed", 1) == (status.status, status.version)
    found = workspace.recommend("tiny", source_id="u", target_type="video")
    assert [entity for entity, entity_type in entities if entity_type == "video" and entity != "v"] == found[
        "target_id"
    ].tolist()
