"""The `lucid` command, used as a person uses it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lucid.keys import SCOPES
from lucid.schema.fields import format_time
from lucid.store.catalog import Catalog
from tests.support.checkerboard import write_checkerboard


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    files = [str(file) for file in write_checkerboard(folder)]
    home = folder / "home"
    imported = lucid(home, "import", *files, "--tags", "a,b")
    trained = lucid(home, "train", "--model-id", "board", "--data-tags", "b", "--maximum-interaction-age-days", "30")
    assert (0, 0) == (imported.returncode, trained.returncode), imported.stderr + trained.stderr
    assert "version 1 is live" in trained.stdout
    return home


def lucid(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lucid", *arguments],
        env={**os.environ, "LUCID_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_recommendations_come_as_csv_and_json(home: Path) -> None:
    """Ids follow --source-id one after the other; both formats hold the same rows."""
    asked = ("recommend", "--model-id", "board", "--source-id", "u01", "u02", "--target-type", "item")

    as_csv = lucid(home, *asked, "--max-recommendations", "2")
    as_json = lucid(home, *asked, "--max-recommendations", "2", "--output-format", "json")

    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert ["u01", "u01", "u02", "u02"] == [row["source_id"] for row in rows]
    assert rows == [
        {name: str(value) for name, value in row.items()} for row in json.loads(as_json.stdout)["recommendations"]
    ]


def test_a_whole_type_goes_to_a_file(home: Path, tmp_path: Path) -> None:
    """--output writes the file and prints nothing."""
    file = tmp_path / "all.csv"

    done = lucid(
        home,
        "recommend",
        "--model-id",
        "board",
        "--source-type",
        "user",
        "--target-type",
        "item",
        "--output",
        str(file),
    )

    assert (0, "") == (done.returncode, done.stdout)
    assert 30 == len({row["source_id"] for row in csv.DictReader(io.StringIO(file.read_text()))})


def test_status_is_json(home: Path) -> None:
    """The status object as the API gives it."""
    found = json.loads(lucid(home, "status", "--model-id", "board").stdout)

    assert ("board", 1, "completed", 100) == tuple(
        found[name] for name in ("model_id", "version", "status", "progress")
    )
    assert 2 == len(found["data_batch_ids"])


def test_models_are_listed_and_rolled_back(home: Path) -> None:
    """The list names versions, `show` is the JSON of the API, and rolling back names what answers now."""
    listed = lucid(home, "models", "list")
    shown = json.loads(lucid(home, "models", "show", "board").stdout)
    rolled_back = lucid(home, "models", "rollback", "board", "--version", "1")

    assert "board" in listed.stdout
    assert [(1, True, "board")] == [
        (one["version"], one["live"], one["report"]["model_id"]) for one in shown["versions"]
    ]
    assert (0, listed.stdout) == (rolled_back.returncode, rolled_back.stdout)


def test_a_report_is_shown_exported_and_verified(home: Path, tmp_path: Path) -> None:
    """The table has intervals and what they mean; a figure that somebody changes is named, and the exit code tells."""
    file, changed = tmp_path / "held_out.jsonl.gz", tmp_path / "report.json"
    shown = lucid(home, "report", "--model-id", "board", "--export", str(file))
    report = json.loads(lucid(home, "report", "--model-id", "board", "--json").stdout)
    verified = lucid(home, "verify", str(file))
    report["pairs"][0]["figures"]["ranking"]["model"]["ndcg@10"]["low"] += 0.01
    changed.write_text(json.dumps(report))
    tampered = lucid(home, "verify", str(file), str(changed))

    assert (0, 0, 1) == (shown.returncode, verified.returncode, tampered.returncode)
    assert "user → item" in shown.stdout
    assert "better by" in shown.stdout
    assert report["seconds_by_stage"].keys() > {"select", "fit", "evaluate"}
    assert report["memory_bytes"] > 1e8
    assert verified.stdout.endswith("figures are the same\n")
    assert "user -> item, figures, ranking, model, ndcg@10, low: the report says" in tampered.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "--model-id", "none"), "no model 'none'"),
        (("import", "nowhere.csv"), "nowhere.csv: no such file"),
        (("train", "--model-id", "a b"), "model_id"),
        (("train", "--model-id", "m", "--data-tags", "x"), "no batch carries the tag 'x'; known: a, b"),
        (
            ("recommend", "--model-id", "board", "--source-id", "u01", "--target-type", "book"),
            "no entity type 'book'; known: colour, item, user",
        ),
        (
            (
                "recommend",
                "--model-id",
                "board",
                "--target-type",
                "item",
                "--source-type",
                "user",
                "--source-id",
                "u01",
            ),
            "give one of source_id, source_type and sources",
        ),
        (("recommend", "--model-id", "none", "--source-id", "a", "--target-type", "b"), "no model 'none'"),
        (("models", "rollback", "board"), "no finished version before 1"),
        (("models", "cancel", "board"), "no training or refresh of model 'board' runs"),
        (("models", "delete", "none"), "no model 'none'"),
        (("down",), "no service runs"),
        (("keys", "create", "--scopes", "everything"), "unknown scope"),
        (("keys", "revoke", "none"), "no key 'none'; see: lucid keys list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_failure_is_one_clear_line_and_exit_code_1(home: Path, arguments: tuple[str, ...], told: str) -> None:
    """No traceback, no half answer."""
    failed = lucid(home, *arguments)

    assert (1, "", 1) == (failed.returncode, failed.stdout, failed.stderr.count("\n")), failed.stderr
    assert failed.stderr.startswith("lucid: ")
    assert told in failed.stderr


def test_a_misspelt_setting_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """A LUCID_ variable that is called nearly like a setting is named once; the command does what it does."""
    done = lucid(tmp_path, "keys", "list", LUCID_API_PROT="1")

    assert 0 == done.returncode
    assert ["LUCID_API_PROT in the environment is no setting and changes nothing; did you mean LUCID_API_PORT?"] == [
        line for line in done.stderr.splitlines() if "LUCID" in line
    ]


def test_a_setting_with_a_bad_value_is_one_line(tmp_path: Path) -> None:
    """A port that is no number is named."""
    failed = lucid(tmp_path, "status", "--model-id", "m", LUCID_API_PORT="eighty")

    assert (1, 1) == (failed.returncode, failed.stderr.count("\n"))
    assert 'api_port: found "eighty", expected a whole number' in failed.stderr


def test_keys_are_stored_as_hashes_only(tmp_path: Path) -> None:
    """The printed secret is found in no file."""
    secret = lucid(tmp_path, "keys", "create").stdout.strip()

    assert secret.startswith("lucid_")
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_keys_are_listed_without_their_secrets_until_they_are_revoked(tmp_path: Path) -> None:
    """The list shows id, name, scopes and times; neither secret nor hash."""
    reader = lucid(tmp_path, "keys", "create", "--name", "reader", "--scopes", "recommend").stdout.strip()
    lucid(tmp_path, "keys", "create", "--name", "all [of] them")

    (key, other), shown = Catalog(tmp_path).keys.all(), lucid(tmp_path, "keys", "list").stdout

    found = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "never" in line]
    assert [
        [key.key_id, "reader", "recommend", format_time(key.created), "never"],
        [other.key_id, "all [of] them", ", ".join(SCOPES), format_time(other.created), "never"],
    ] == found
    assert not any(secret in shown for secret in (reader, key.hash, other.hash))
    assert f"revoked {key.key_id}" == lucid(tmp_path, "keys", "revoke", key.key_id).stdout.strip()
    assert [other] == Catalog(tmp_path).keys.all()


def test_an_import_prints_what_it_warns_of(tmp_path: Path) -> None:
    """Ids that change their type are told on the console; with --namespace there are none."""
    users, movies, bad = (tmp_path / f"{name}.csv" for name in ("users", "movies", "bad"))
    users.write_text("id,type,name,metadata,media_url\n1,user,,,\n2,user,,,\n")
    movies.write_text("id,type,name,metadata,media_url\n1,movie,,,\n")
    bad.write_text("id,type,name,metadata,media_url\n1,user,,nonsense,\n")

    plain = lucid(tmp_path / "plain", "import", str(users), str(movies))
    named = lucid(tmp_path / "named", "import", str(users), str(movies), "--namespace")
    none = lucid(tmp_path / "none", "import", str(users), str(bad))

    assert "movies.csv: warning: 1 id has changed from the type user to movie, for example '1'" in plain.stderr
    assert (0, 0, 1) == (plain.returncode, named.returncode, none.returncode)
    assert "warning" not in named.stderr
    assert "lucid: bad.csv: its only row is bad, so nothing was stored: line 2, column metadata" in none.stderr


def test_the_disk_is_shown_by_kind_and_by_version(home: Path) -> None:
    """In megabytes; the whole is what the files take."""
    shown = lucid(home, "disk").stdout
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())

    assert f"{size / 1e6:,.1f} MB" in next(line for line in shown.splitlines() if "all" in line)
    assert ["board", "1"] == next(line for line in shown.splitlines() if "board" in line).replace("│", " ").split()[:2]


def test_a_maintenance_is_shown_step_by_step_and_may_only_look(home: Path) -> None:
    """What would be removed, and what it leaves to a person."""
    (home / "batches" / ("0" * 32)).mkdir()
    looked = lucid(home, "maintain", "--dry-run", "--keep-history-days", "0.5")
    (home / "batches" / ("0" * 32)).rmdir()

    assert ("would be removed" in looked.stdout, "half-done files" in looked.stdout) == (True, True)
    assert "left: batches that the catalog does not know, 1: batches/000" in looked.stderr
    assert "would be removed" not in lucid(home, "maintain").stdout
