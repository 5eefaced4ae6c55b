"""What a training costs follows the data, and not the number of pairs of types that they are spread over."""

import time
from pathlib import Path

import numpy as np

from lucid.workspace import Workspace

ENTITIES, INTERACTIONS = 1000, 500


def spread(folder: Path, types: int, pairs: int) -> Workspace:
    """As many entities and interactions whatever the numbers of types and of pairs that have interactions."""
    rng = np.random.default_rng(0)
    every = [(first, second) for first in range(types) for second in range(first)]
    chosen = rng.permutation(every)[:pairs]
    of_types = np.resize(chosen, (INTERACTIONS, 2))
    ends = of_types + types * rng.integers(ENTITIES // types, size=of_types.shape)
    folder.mkdir()
    entities = "".join(f"e{row},type{row % types},e{row},,\n" for row in range(ENTITIES))
    (folder / "entities.csv").write_text(f"id,type,name,metadata,media_url\n{entities}")
    interactions = "".join(f"linked,e{source},e{target},,\n" for source, target in ends.tolist())
    (folder / "interactions.csv").write_text(f"type,source_id,target_id,timestamp,metadata\n{interactions}")
    workspace = Workspace(folder / "home")
    workspace.import_files([folder / "entities.csv", folder / "interactions.csv"])
    return workspace


def seconds_of_processors(workspace: Workspace) -> float:
    began = time.process_time()
    assert workspace.train("model").status == "completed"
    return time.process_time() - began


def test_five_hundred_pairs_cost_a_few_times_what_ten_cost(tmp_path: Path) -> None:
    """Before, every pair was split, searched, judged and written by itself: twenty times and more."""
    few, many = spread(tmp_path / "few", 5, 10), spread(tmp_path / "many", 40, 500)
    seconds_of_processors(few)  # with what is imported and compiled once

    least = min(seconds_of_processors(few) for _ in range(2))

    assert seconds_of_processors(many) <= 8 * least
