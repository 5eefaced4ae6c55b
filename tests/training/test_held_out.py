"""The held-out pairs that a version keeps: every figure of its report comes from them, by whoever computes it."""

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.metrics import (
    LinkPredAveragePopularity,
    LinkPredCoverage,
    LinkPredHitRatio,
    LinkPredMRR,
    LinkPredNDCG,
    LinkPredPersonalization,
    LinkPredRecall,
)

import lucid.verify
from lucid.errors import UnknownVersion
from lucid.schema.gate import GateRequest
from lucid.training import steps
from lucid.training.comparison import compare_reports
from lucid.training.gate import reasons
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard

RANKING = {"ndcg": LinkPredNDCG, "recall": LinkPredRecall, "mrr": LinkPredMRR, "hit_rate": LinkPredHitRatio}
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("trained")
    return train_checkerboard(Workspace(folder / "home"), folder)


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(trained.settings.home, tmp_path / "home")
    return Workspace(tmp_path / "home")


def exported(workspace: Workspace, target: Path, version: int | None = None) -> Lines:
    workspace.held_out("board", target, version)
    with gzip.open(target, "rt") as lines:
        return [json.loads(line) for line in lines]


def of_pair(lines: Lines, number: int, kind: str = "source") -> Lines:
    return [line for line in lines if line.get("pair") == number and kind in line]


def by_pyg(metric: Any, lists: list[list[str]], withheld: list[list[str]], numbers: dict[str, int]) -> float:
    """A metric of PyG over lists of ids; places that a list leaves empty hold a target that nobody knows."""
    longest = max(map(len, lists))
    rows = [[*(numbers[one] for one in found), *[len(numbers)] * (longest - len(found))] for found in lists]
    edges = [(source, numbers[one]) for source, found in enumerate(withheld) for one in found]
    metric.update(torch.tensor(rows), torch.tensor(edges).T)
    return float(metric.compute())


@pytest.fixture
def double_precision() -> Any:
    """PyG adds up in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_precision")
def test_the_figures_are_those_that_pyg_computes_from_the_export(trained: Workspace, tmp_path: Path) -> None:
    """Of every pair, for the model and each baseline, at ten and twenty."""
    lines, report = exported(trained, tmp_path / "held_out.gz"), trained.report("board")

    assert len(report["pairs"]) == 2
    for number, pair in enumerate(report["pairs"]):
        (about,) = of_pair(lines, number, "targets_by_interactions")
        sources, figures = of_pair(lines, number), pair["figures"]
        numbers = {target: row for row, target in enumerate(about["interactions"])}
        popularity = torch.tensor([*about["interactions"].values(), 0], dtype=torch.float64)
        withheld = [line["withheld"] for line in sources]
        for who in ("model", "popularity", "item_knn"):
            for cutoff in (10, 20):
                lists = [line[who][:cutoff] for line in sources]
                for name, metric in RANKING.items():
                    theirs = by_pyg(metric(cutoff), lists, withheld, numbers)
                    assert pytest.approx(theirs, abs=1e-6) == figures["ranking"][who][f"{name}@{cutoff}"]["mean"]
            lists, variety = [line[who][:10] for line in sources], figures["variety"][who]
            assert {len(one) for one in lists} == {10}
            coverage = by_pyg(LinkPredCoverage(10, about["targets"]), lists, withheld, numbers)
            personalisation = by_pyg(LinkPredPersonalization(10), lists, withheld, numbers)
            average = by_pyg(LinkPredAveragePopularity(10, popularity), lists, withheld, numbers)
            assert pytest.approx((coverage, personalisation, average), abs=1e-6) == (
                variety["coverage"],
                variety["personalisation"],
                variety["average_popularity"],
            )


def test_nothing_but_the_standard_library_is_needed_to_verify(trained: Workspace, tmp_path: Path) -> None:
    """The file runs alone, outside the package, and finds all figures as they are."""
    exported(trained, tmp_path / "held_out.gz")
    alone = shutil.copy(lucid.verify.__file__, tmp_path / "alone.py")

    told = subprocess.run(
        [sys.executable, "-I", "-S", alone, tmp_path / "held_out.gz"], capture_output=True, text=True, check=False
    )

    assert (0, "") == (told.returncode, told.stderr)
    assert told.stdout.endswith("figures are the same\n")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the numbers of a report stand."""
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in leaves(one, (*path, name))]
    if isinstance(value, list):
        return [leaf for place, one in enumerate(value) for leaf in leaves(one, (*path, place))]
    return [path] if isinstance(value, int | float) else []


def test_every_figure_that_is_changed_is_found(trained: Workspace, tmp_path: Path) -> None:
    """By a hundred thousandth, one at a time, wherever it stands."""
    exported(trained, tmp_path / "held_out.gz")
    report = trained.report("board")
    places = leaves(report["pairs"])
    assert len(places) > 400
    for path in places[::7]:
        tampered = json.loads(json.dumps(report))
        place = tampered["pairs"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = not place[path[-1]] if isinstance(place[path[-1]], bool) else place[path[-1]] + 1e-5
        (tmp_path / "report.json").write_text(json.dumps(tampered))

        _, differ = lucid.verify.verify(tmp_path / "held_out.gz", tmp_path / "report.json")

        assert 1 == len(differ), path
        assert str(path[-1]).replace("_", " ") in differ[0].replace("_", " ") or isinstance(path[-1], int)


def test_a_file_that_is_no_export_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a line, whatever it is."""
    (tmp_path / "text.gz").write_text("hello")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))

    assert [2, 2, 2] == [lucid.verify.say(tmp_path / name) for name in ("text.gz", "other.gz", "none.gz")]
    assert 3 == len(capsys.readouterr().err.splitlines())


def test_an_erased_entity_leaves_the_export_and_the_figures_still_agree(workspace: Workspace, tmp_path: Path) -> None:
    """As source, as withheld target and in the lists of others; the report is computed anew without it."""
    before = exported(workspace, tmp_path / "before.gz")
    gone = of_pair(before, 0)[0]["withheld"][0]
    source = of_pair(before, 0)[1]["source"]
    assert gone in json.dumps(before)

    workspace.erase([gone, source])

    text = json.dumps(exported(workspace, tmp_path / "after.gz"))
    assert f'"{gone}"' not in text
    assert f'"{source}"' not in text
    assert (tmp_path / "after.gz").exists()
    assert [] == lucid.verify.verify(tmp_path / "after.gz")[1]
    assert 0 < workspace.report("board")["pairs"][0]["model"]["sources"] < len(of_pair(before, 0))


def test_a_refresh_keeps_the_report_and_what_it_comes_from(workspace: Workspace, tmp_path: Path) -> None:
    """Both are the parent's, and still belong together."""
    steps.refresh(workspace.settings, "board")

    assert exported(workspace, tmp_path / "1.gz", 1)[1:] == exported(workspace, tmp_path / "2.gz", 2)[1:]
    assert [] == lucid.verify.verify(tmp_path / "2.gz")[1]
    with pytest.raises(UnknownVersion):
        workspace.report("board", 3)


def test_what_is_odd_about_a_batch_stands_in_the_report(workspace: Workspace, tmp_path: Path) -> None:
    """And whose doing it is, until that entity is erased."""
    lines = [f"likes,u01,i{number % 20:02},2025-01-01T00:00:{number % 60:02}Z," for number in range(400)]
    lines += [f"likes,u{number % 30:02},i{number % 20:02},2025-01-02," for number in range(60)]
    (tmp_path / "odd.csv").write_text("type,source_id,target_id,timestamp,metadata\n" + "\n".join(lines) + "\n")
    (odd,) = workspace.import_files(tmp_path / "odd.csv")
    workspace.train("board")
    found = {drift["code"]: drift for drift in workspace.report("board")["drift"]}

    workspace.erase("u01")

    assert (odd.batch_id, ["u01"]) == (found["dominant_source"]["batch_id"], found["dominant_source"]["examples"])
    assert [] == next(drift for drift in workspace.report("board")["drift"])["examples"]


# Versions beside each other


def test_what_a_version_has_learned_from_is_never_its_examination(workspace: Workspace) -> None:
    """Trained again on the same data, the one before knows all that is withheld, so no figure of it is shown."""
    workspace.train("board")

    for pair in workspace.report("board")["pairs"]:
        before = pair["figures"]["answered_before"]
        assert (1, None, None) == (before["version"], before["before"], before["difference"])
        assert "it has seen what is withheld" in before["reason"]


def test_a_training_on_the_same_data_is_no_worse(workspace: Workspace) -> None:
    """Source by source, for the same was withheld of both."""
    workspace.train("board")
    versions = [Version(workspace.settings.home, "board", number) for number in (1, 2)]

    compared = compare_reports(*versions)

    users, items = compared
    assert ("user", "same") == (users.source_type, users.on)
    assert users.differences
    assert 0.0 == users.differences["ndcg@10"].mean
    assert items.reason
    assert items.reason.endswith("test sources are too few to tell a difference")
    assert [] == against(*versions)


def test_a_training_on_shuffled_targets_is_found_to_be_worse(workspace: Workspace, tmp_path: Path) -> None:
    """Whoever is asked for what users like, in place of what they like, is found out."""
    lines = ["type,source_id,target_id,timestamp,metadata"]
    rng = random.Random(0)
    lines += [f"likes,u{user:02},i{item:02},," for user in range(30) for item in rng.sample(range(20), 9)]
    (tmp_path / "shuffled.csv").write_text("\n".join(lines) + "\n")
    workspace.delete_batches([batch.batch_id for batch in workspace.batches() if batch.interaction_count])
    workspace.import_files(tmp_path / "shuffled.csv")
    workspace.train("board")

    (found,) = against(*(Version(workspace.settings.home, "board", number) for number in (1, 2)))

    assert "user → item NDCG@10" in found


def against(older: Version, newer: Version) -> list[str]:
    """What the gate has against the quality of a version."""
    return [reason for reason in reasons(older, newer, GateRequest()) if reason.startswith("worse than before: ")]
