"""Selection: which rows a training uses."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from lucid.data.selection import Selection, select
from lucid.errors import TrainingFailed
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def selected(
    workspace: Workspace, tmp_path: Path, *, days: int | None = None, tags: list[str] | None = None
) -> Selection:
    home = workspace.settings.home
    batches = Catalog(home).batches.select(tags)
    return select(home, batches, tmp_path / "selection", started=NOW, maximum_interaction_age_days=days)


def rows(selection: Selection, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        for name in ("entities", "interactions", "links", "words"):
            connection.execute(f"CREATE VIEW {name} AS FROM '{selection.folder / name}.parquet'")
        return connection.execute(query).fetchall()


NAMED = (
    "SELECT i.type, s.id, t.id FROM interactions i JOIN entities s ON s.row = source_row "
    "JOIN entities t ON t.row = target_row ORDER BY ALL"
)
LINKED = (
    "SELECT s.id, key, t.id FROM links JOIN entities s ON s.row = source_row "
    "JOIN entities t ON t.row = target_row ORDER BY ALL"
)


def test_the_last_row_of_the_latest_batch_wins(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """A repeated id overwrites; deleting the newest version brings the one before back."""
    workspace.import_files([entities_csv(("u1", "user", "first"), ("u1", "user", "second"), ("v1", "video"))])
    (newest,) = workspace.import_files([entities_csv(("u1", "user", "third"))])
    workspace.import_files([interactions_csv(("saw", "u1", "v1"))])
    name = "SELECT name FROM entities WHERE id = 'u1'"

    assert [("third",)] == rows(selected(workspace, tmp_path), name)
    workspace.delete_batches([newest.batch_id])
    assert [("second",)] == rows(selected(workspace, tmp_path), name)


def test_versions_compete_only_among_the_selected_batches(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """A newer version in a batch without the tag does not count."""
    workspace.import_files([entities_csv(("u1", "user", "tagged"), ("v1", "video"))], tags=["a"])
    workspace.import_files([interactions_csv(("saw", "u1", "v1"))], tags=["a", "b"])
    workspace.import_files([entities_csv(("u1", "user", "newer"))], tags=["c"])

    assert [("tagged",)] == rows(selected(workspace, tmp_path, tags=["a"]), "SELECT name FROM entities WHERE id = 'u1'")
    assert 2 == len(selected(workspace, tmp_path, tags=["a"]).batch_ids)
    assert 3 == len(selected(workspace, tmp_path, tags=["b", "c", "a"]).batch_ids)


def test_age_leaves_out_old_interactions_and_keeps_those_without_time(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Age counts from the start of the training; the limit itself is still young enough."""
    old, limit = (NOW - timedelta(days=10, seconds=1)).isoformat(), (NOW - timedelta(days=10)).isoformat()
    workspace.import_files(
        [
            entities_csv(("u1", "user"), ("v1", "video"), ("v2", "video"), ("v3", "video")),
            interactions_csv(("saw", "u1", "v1", old), ("saw", "u1", "v2", limit), ("saw", "u1", "v3")),
        ]
    )

    assert [("saw", "u1", "v2"), ("saw", "u1", "v3")] == rows(selected(workspace, tmp_path, days=10), NAMED)
    assert 3 == len(rows(selected(workspace, tmp_path), NAMED))


def test_equal_interactions_count_once_and_dangling_ones_are_reported(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Equal rows are one, equal ones at other times are repeats, unknown ends are left out with examples."""
    first, second = "2025-01-01", "2025-01-02"
    workspace.import_files(
        [
            entities_csv(("u1", "user"), ("v1", "video")),
            interactions_csv(
                ("saw", "u1", "v1", first),
                ("saw", "u1", "v1", first),
                ("saw", "u1", "v1", second),
                ("saw", "u1", "nowhere", first),
            ),
        ]
    )

    selection = selected(workspace, tmp_path)

    assert [(2,)] == rows(selection, "SELECT repeats FROM interactions")
    assert [(4, 0), (4, 0), (3, 1), (2, 1)] == [(step.kept, step.removed) for step in selection.steps[1:]]
    assert ["nowhere"] == selection.steps[-1].examples


def test_metadata_values_become_entities_and_link_uploaded_ones(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Each list element links; an uploaded entity with the value as id or name is linked instead of a new one."""
    movie = json.dumps({"writer": ["Ann", "w2", "New One"], "crew": {"editor": "Ed"}, "genre": "Drama", "seen": True})
    workspace.import_files(
        [
            entities_csv(
                ("v1", "video", "V", movie),
                ("u1", "user", "U", json.dumps({"genre": "Drama"})),
                ("w1", "writer", "Ann"),
                ("w2", "writer", "Bob"),
            ),
            interactions_csv(("saw", "u1", "v1")),
        ]
    )

    assert [
        ("u1", "genre", "genre:Drama"),
        ("v1", "crew.editor", "crew.editor:Ed"),
        ("v1", "genre", "genre:Drama"),
        ("v1", "seen", "seen:true"),
        ("v1", "writer", "w1"),
        ("v1", "writer", "w2"),
        ("v1", "writer", "writer:New One"),
    ] == rows(selected(workspace, tmp_path), LINKED)


def test_keys_are_judged_by_all_their_values(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Ids, URLs and long text make no entities; numbers make ranges; short repeated text makes entities."""
    videos = [
        (
            f"v{number}",
            "video",
            "",
            json.dumps(
                {
                    "imdb": f"tt{number}",
                    "page": f"https://example.org/{number // 2}",
                    "year": str(1990 + number % 30),
                    "zip": f"0{1000 + number % 5}",
                    "plot": "A long story about nothing much, told slowly and twice. " + "Again. " * (number % 3),
                    "genre": ["Drama", "Crime"][number % 2],
                }
            ),
        )
        for number in range(60)
    ]
    workspace.import_files([entities_csv(("u1", "user"), *videos), interactions_csv(("saw", "u1", "v1"))])

    selection = selected(workspace, tmp_path)

    kinds = {rule.key: rule.use for rule in selection.keys}
    assert {
        "imdb": "identifier",
        "page": "identifier",
        "year": "number",
        "zip": "entity",
        "plot": "text",
        "genre": "entity",
    } == kinds
    assert [("year:1990 to 1992",), ("year:1993 to 1995",)] == rows(
        selection, "SELECT id FROM entities WHERE type = 'year' ORDER BY id LIMIT 2"
    )


def test_telling_words_of_names_and_texts_link(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """Words that some entities of a type share link them; words of most, of one or two, and short ones do not."""
    story = "A story that goes on and on, which nobody has read to its end"
    videos = [
        (
            f"v{number:02}",
            "video",
            f"The {'Dragon' if number < 3 else 'Egg'} of No{number}",
            json.dumps({"plot": f"{story} {'wizards' if number < 4 else 'cooks'}"}),
        )
        for number in range(80)
    ]
    workspace.import_files([entities_csv(("u1", "user", "Dragon"), *videos), interactions_csv(("saw", "u1", "v00"))])

    found = rows(selected(workspace, tmp_path), LINKED.replace("FROM links", "FROM words"))

    dragons = [(f"v{number:02}", "name", "word:dragon") for number in range(3)]
    wizards = [(f"v{number:02}", "plot", "word:wizards") for number in range(4)]
    assert sorted(dragons + wizards) == found


def test_the_share_of_a_word_is_of_all_entities_with_text(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """A word of every book links the books where they are a small part of what has text."""
    users = [(f"u{number:02}", "user", f"Nobody{number}") for number in range(60)]
    books = [(f"b{number}", "book", f"A novel of No{number}") for number in range(3)]
    workspace.import_files([entities_csv(*users, *books), interactions_csv(("read", "u01", "b1"))])

    found = rows(selected(workspace, tmp_path), LINKED.replace("FROM links", "FROM words"))

    assert [(f"b{number}", "name", "word:novel") for number in range(3)] == found


def test_an_interaction_may_name_an_entity_that_metadata_makes(
    workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv
) -> None:
    """What metadata makes is known when interactions are checked for unknown ends."""
    workspace.import_files(
        [
            entities_csv(("u1", "user"), ("v1", "video", "V", json.dumps({"writer": "Ann"}))),
            interactions_csv(("follows", "u1", "writer:Ann")),
        ]
    )

    assert [("follows", "u1", "writer:Ann")] == rows(selected(workspace, tmp_path), NAMED)


@pytest.mark.parametrize(
    ("days", "tags", "told"),
    [(None, ["nobody has this"], "no batch was selected"), (1, None, "not older than 1 days: 0 kept, 1 removed")],
)
def test_nothing_left_says_which_step_emptied_the_data(
    workspace: Workspace,
    tmp_path: Path,
    entities_csv: WriteCsv,
    interactions_csv: WriteCsv,
    days: int | None,
    tags: list[str] | None,
    told: str,
) -> None:
    """A training without interactions fails with the counts of every step."""
    workspace.import_files(
        [entities_csv(("u1", "user"), ("v1", "video")), interactions_csv(("saw", "u1", "v1", "2020-01-01"))]
    )

    with pytest.raises(TrainingFailed, match="no interactions are left to train on") as caught:
        selected(workspace, tmp_path, days=days, tags=tags)

    assert told in caught.value.message
