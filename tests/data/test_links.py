"""Links and words of an entity are the same whether it was there at training or came later."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lucid.data.selection import select
from lucid.data.since import select_since
from lucid.schema.fields import KeyUse
from lucid.schema.filters import DataFilters
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES: dict[str, KeyUse] = {
    "genre": "entity",
    "maker": "entity",
    "year": "number",
    "plot": "text",
    "code": "identifier",
    "price": "number",
    "shown": "number",
    "weight": "number",
    "a.b": "entity",
    "n.x": "entity",
    "odd[0]": "entity",
}
LETTERS = ["Ann Lee", "ANN LEE", "ann  lee", "Bo &amp; Co", "Bo & Co", "Maker 3", "MAKER 3", "m1", "M1"]
WORDS = [f"{word}{number}" for number in range(400) for word in ("harbour", "Winter", "letters", "ÉCRAN", "signal")]


def films(chance: random.Random, count: int) -> list[tuple[str, str, str, str]]:
    """Films whose metadata name makers by id, by name, by both and not at all, years, and long plots."""
    rows = []
    for number in range(count):
        metadata = {
            "genre": chance.sample(["Drama", "Crime", "m1", "Comedy"], chance.randrange(3)),
            "maker": chance.sample(
                ["m1", "Maker 2", "m3", "Maker 3", "Nobody", " Maker 2 ", *LETTERS], chance.randrange(4)
            ),
            "year": [chance.choice([1950 + chance.randrange(70), 1987.5, "1990", "n/a"]) for _ in range(2)],
            "plot": " ".join(chance.choices(WORDS, k=60)),
            "code": f"c{number}",
            "price": chance.choice([f"${chance.randrange(1, 3000):,}.50", "-"]),
            "shown": chance.choice([f"{chance.randrange(1, 29):02}.03.{chance.randrange(1990, 2020)}", "soon"]),
            "weight": chance.choice([f"{chance.randrange(900)} g", "1 kg", "２５０ g"]),
            "a.b": chance.choice(["x", "y"]),
            "a": {"b": chance.choice(["z", "x"])},
            "n": {"x": [chance.choice(["v", "w"])]},
            "odd[0]": [chance.choice(["r", "R"])],
        }
        rows.append((f"f{number:03}", "film", " ".join(chance.choices(WORDS[:80], k=4)), json.dumps(metadata)))
    return rows


def linked(folder: Path, film: str) -> set[tuple[str, str]]:
    """Relation and id of everything that a selected entity links to."""
    rows = duckdb.execute(
        "SELECT prefix || key, t.id FROM (SELECT 'metadata:' AS prefix, * FROM read_parquet($links) "
        "UNION ALL SELECT 'text:', * FROM read_parquet($words)) "
        "JOIN read_parquet($entities) s ON s.row = source_row JOIN read_parquet($entities) t ON t.row = target_row "
        "WHERE s.id = $film",
        {**{name: str(folder / f"{name}.parquet") for name in ("links", "words", "entities")}, "film": film},
    ).fetchall()
    return {(relation, other) for relation, other in rows}


@pytest.mark.parametrize("seed", range(4))
def test_a_twin_that_comes_later_has_the_links_and_words_of_the_one_that_was_trained(
    seed: int, workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv, tmp_path: Path
) -> None:
    """Of every film: named values, ranges of numbers, and the rarest words that tell something."""
    rows = films(random.Random(seed), 200)
    makers = [(f"m{number}", "maker", f"Maker {number}") for number in (1, 2, 3)] + [
        ("maker:Maker 2", "maker", "other")
    ]
    seen = [("view", "u1", film) for film, *_ in rows]
    workspace.import_files([entities_csv(("u1", "user"), *makers, *rows), interactions_csv(*seen)])
    home, folder = workspace.settings.home, tmp_path / "selection"
    catalog = Catalog(home)
    reading = select(home, catalog.batches.select(None), folder, started=NOW, metadata_rules=RULES).reading
    twins = [(f"twin-{film}", *rest) for film, *rest in rows]
    workspace.import_files([entities_csv(*twins, name="twins.csv")])

    since = select_since(
        home,
        catalog.batches.select(None)[2:],
        folder / "entities.parquet",
        folder,
        RULES,
        reading,
        now=NOW,
        maximum_interaction_age_days=None,
        data_filters=DataFilters(),
    )

    ids = dict(duckdb.execute("SELECT row, id FROM read_parquet(?)", [str(folder / "entities.parquet")]).fetchall())
    later: dict[str, set[tuple[str, str]]] = {}
    for twin, relation, row in zip(*(since.edges[name].tolist() for name in ("id", "relation", "other")), strict=True):
        later.setdefault(twin, set()).add((relation, ids[row]))
    trained = {film: linked(folder, film) for film, *_ in rows}
    linking = {f"metadata:{key}" for key, use in RULES.items() if use in ("entity", "number")}
    assert linking | {"text:name", "text:plot"} == {relation for edges in trained.values() for relation, _ in edges}
    assert trained == {twin.removeprefix("twin-"): edges for twin, edges in later.items()}
    assert [1] * len(since.edges["repeats"]) == since.edges["repeats"].tolist()
