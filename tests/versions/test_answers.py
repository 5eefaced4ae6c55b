"""How answers of two versions differ: the same as what asking both for everything tells."""

from collections import Counter
from pathlib import Path

import pytest

from lucid.versions.answers import compare_answers, pairs_only_in
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import USERS, train_checkerboard

OTHERS = {"interactions": [{"field": "source_id", "op": "gte", "value": "u12"}]}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two versions; the second learned from other users, knows one who is new, and computes one pair more ahead."""
    folder = tmp_path_factory.mktemp("answers")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    (folder / "new.csv").write_text("id,type,name,metadata,media_url\nnew,user,New,,\n")
    workspace.import_files([folder / "new.csv"])
    workspace.train("board", data_filters=OTHERS, precompute=[{"source_type": "item", "target_type": "user"}])
    return workspace


def version(workspace: Workspace, number: int) -> Version:
    return Version(workspace.settings.home, "board", number)


def lists(workspace: Workspace, number: int) -> dict[str, set[str]]:
    """The first ten of every user that both versions know, as anybody is answered."""
    users = [f"u{user:02}" for user in range(USERS)]
    table = workspace.recommend("board", source_id=users, target_type="item", max_recommendations=10, version=number)
    return {user: set(table.loc[table.source_id == user, "target_id"]) for user in users}


def test_a_comparison_tells_what_asking_both_tells(workspace: Workspace) -> None:
    """Shares of lists that changed, what stayed on average, and how often each target came and went."""
    before, after = lists(workspace, 1), lists(workspace, 2)
    stayed = [len(before[user] & after[user]) / max(len(before[user]), len(after[user])) for user in before]
    entered = Counter(target for user in before for target in after[user] - before[user])
    left = Counter(target for user in before for target in before[user] - after[user])

    (found,) = compare_answers(version(workspace, 1), version(workspace, 2))

    assert (USERS, 0, 1, USERS) == (
        found.sources_in_both,
        found.sources_only_in_a,
        found.sources_only_in_b,
        found.looked_at,
    )
    assert sum(stayed) / USERS == pytest.approx(found.overlap)
    assert sum(share < 1 for share in stayed) / USERS == pytest.approx(found.changed)
    assert 12 / USERS == pytest.approx(found.lost)
    for counted, told in ((entered, found.entered), (left, found.left)):
        assert counted
        assert sorted(counted.values(), reverse=True)[:10] == [target.lists for target in told]
        assert all(counted[target.id] == target.lists for target in told)
        assert all(target.name == f"Item {int(target.id[1:])}" for target in told)


def test_a_version_is_like_itself(workspace: Workspace) -> None:
    """And what comes in one direction goes in the other."""
    (same,) = compare_answers(version(workspace, 1), version(workspace, 1))
    (there,) = compare_answers(version(workspace, 1), version(workspace, 2))
    (back,) = compare_answers(version(workspace, 2), version(workspace, 1))

    assert (0, 1, 0, [], []) == (same.changed, same.overlap, same.lost, same.entered, same.left)
    assert (there.sources_only_in_a, there.sources_only_in_b) == (back.sources_only_in_b, back.sources_only_in_a)
    assert there.overlap == pytest.approx(back.overlap)
    assert {one.id: one.lists for one in there.entered} == {one.id: one.lists for one in back.left}


def test_a_sample_is_always_the_same(workspace: Workspace) -> None:
    """Of fewer sources, the same ones each time."""
    first, second = (compare_answers(version(workspace, 1), version(workspace, 2), sample=7) for _ in range(2))

    assert first == second
    assert 7 == first[0].looked_at


def test_pairs_that_only_one_computes_ahead_are_told(workspace: Workspace) -> None:
    """In either direction."""
    assert [] == pairs_only_in(version(workspace, 1), version(workspace, 2))
    assert [("item", "user")] == pairs_only_in(version(workspace, 2), version(workspace, 1))


def test_erased_entities_count_for_neither(workspace: Workspace, tmp_path: Path) -> None:
    """A source that was erased is not known any more."""
    workspace.back_up(tmp_path / "copy")
    copy = Workspace.restore(tmp_path / "copy", tmp_path / "home")
    copy.erase("u20")

    live = copy.model("board").live_version
    assert live is not None
    hashes = version(copy, live).index.hashes(version(copy, live).config.entity_types.rows("user"))
    assert USERS - 1 == len(hashes)
