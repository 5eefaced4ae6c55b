"""A machine without room, right to write or files left: one sentence, nothing half-done, and later it works."""

import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lucid.api.paths import BASE
from lucid.errors import MachineError
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.faults import Fault, Said, may_mount, obey_modes, run
from tests.support.service import Api, wait_until

SENTENCE = re.compile(
    r"lucid: /\S+: (No space left on device|File too large|Read-only file system|Permission denied|Too many open files)"
    r"; [^;\n]+\n"
)
LOOK_UP = {"model_id": "board", "source_id": "u01", "target_type": "item"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two batches and a model of two versions; beside it the files that they come from."""
    folder = tmp_path_factory.mktemp("machine")
    train_checkerboard(Workspace(folder / "home"), folder).train("board")
    return folder / "home"


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "home"))


def files(trained: Path) -> list[str]:
    return [str(file) for file in sorted(trained.parent.glob("*.csv"))]


def batches(home: Path) -> list[str]:
    return [batch.batch_id for batch in Workspace(home).batches()]


def reading(home: Path) -> list[list[str]]:
    """Every verb that only reads."""
    asked = [text for name, value in LOOK_UP.items() for text in (f"--{name.replace('_', '-')}", value)]
    return [
        ["batches", "list"],
        ["batches", "errors", batches(home)[0]],
        ["models", "list"],
        ["models", "show", "board"],
        ["status", "--model-id", "board"],
        ["keys", "list"],
        ["recommend", *asked],
    ]


def writing(home: Path, given: list[str]) -> list[list[str]]:
    """Every verb that writes, each with something to do also after those before it."""
    first, second = batches(home)[:2]
    return [
        ["import", *given],
        ["train", "--model-id", "board"],
        ["refresh", "board"],
        ["models", "rollback", "board", "--version", "2"],
        ["keys", "create"],
        ["batches", "tag", first, "--tags", "c"],
        ["batches", "archive", first],
        ["erase", "u03"],
        ["batches", "delete", second],
        ["models", "delete", "board"],
    ]


def half_done(home: Path) -> list[Path]:
    """What work leaves where it is not cleaned up."""
    patterns = ("batches/.*", "models/*/.*", "models/*/*/work", "uploads/*", "**/*.new", "**/*.new.wal", "**/spill")
    return [path for pattern in patterns for path in home.glob(pattern)]


def is_sentence(said: Said) -> bool:
    return (said.code, said.printed) == (1, "") and SENTENCE.fullmatch(said.complained) is not None


@pytest.mark.parametrize("fault", ["full", "read-only", "no files", "mounted full", "mounted read-only"])
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(trained: Path, home: Path, fault: Fault) -> None:
    """Every verb that writes names the path and what to do; those that read answer where they can, before and after."""
    if fault.startswith("mounted") and not may_mount():
        pytest.skip("this user may not mount a file system; the other faults need no right to")
    reads, writes = reading(home), [*writing(home, files(trained)), ["up"]]

    said = run(home, fault, *reads, *writes, *reads)

    before, tried, after = said[: len(reads)], said[len(reads) : -len(reads)], said[-len(reads) :]
    assert [] == [one for one in tried if not is_sentence(one)]
    assert before == after
    assert all(is_sentence(one) if fault == "no files" else one.code == 0 for one in before), before
    assert [] == half_done(home)
    assert [] == Catalog(home).batches.running() + Catalog(home).trainings.running()
    # And once the fault is gone:
    if fault == "full":
        assert [] == [one for one in run(home, "nothing", *writes[:-1]) if one.code != 0]


@pytest.mark.parametrize(
    ("fault", "left"), [("full", (300, 2_000, 8_000, 40_000, 150_000, 350_000)), ("no files", (1, 3, 4, 5, 6, 8))]
)
def test_wherever_it_stops_nothing_half_done_stays(
    trained: Path, home: Path, fault: Fault, left: tuple[int, ...]
) -> None:
    """Whichever step meets the fault, imports and versions are complete or gone, and the live version answers."""
    (known,) = Workspace(home).models()
    verbs = [["import", *files(trained)], ["train", "--model-id", "board"], ["refresh", "board"], ["erase", "u05"]]

    said = run(home, fault, *verbs, left=left)

    workspace = Workspace(home)
    workspace.models()  # which also ends what could not be ended while it lasted
    assert {0, 1} == {one.code for one in said}
    assert [] == [one for one in said if one.code != 0 and not is_sentence(one)]
    assert [] == half_done(home)
    assert [] == Catalog(home).batches.running() + Catalog(home).trainings.running()
    stored = [batch for batch in workspace.batches() if batch.status == "completed"]
    assert 2 + 2 * sum(one.code == 0 for one in said[:: len(verbs)]) == len(stored)
    assert ModelVersions(home, "board").live().number >= (known.live_version or 0)
    assert ModelVersions(home, "board").live().is_complete
    assert all(one.code == 0 for one in run(home, "nothing", *reading(home), *verbs))


def test_a_training_without_room_says_so_without_naming_a_file(trained: Path, home: Path) -> None:
    """The status is for customers: what is the matter, not where the service keeps its files."""
    (said,) = run(home, "full", ["train", "--model-id", "board"], left=(40_000,))

    status = Workspace(home).status("board")
    assert is_sentence(said)
    assert ("error", 3, MachineError.codes["storage_full"]) == (status.status, status.version, status.message)


def test_output_that_cannot_be_written_is_one_sentence(home: Path) -> None:
    """A full disk behind --output: named, and nothing of it stays."""
    file = home.with_name("answer.csv")
    asked = ["recommend", "--model-id", "board", "--source-type", "user", "--target-type", "item"]

    (said,) = run(home, "full", [*asked, "--output", str(file)])

    assert is_sentence(said)
    assert "answer.csv" in said.complained
    assert [] == list(home.parent.glob("answer*"))


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path, fault: Fault) -> None:
    """Also for verbs that only read: there is nothing to read."""
    folder = tmp_path / "folder"
    folder.mkdir()
    home = folder / "home"
    if fault == "full":
        (said,) = run(home, fault, ["batches", "list"])
    else:
        folder.chmod(0o500)
        (said,) = run(home, fault, ["batches", "list"])
        folder.chmod(0o700)

    assert is_sentence(said)
    assert str(home) in said.complained


# The API


@contextmanager
def limited(api: Api, what: int, most: int) -> Iterator[None]:
    """A limit that the running API meets from now on."""
    before = resource.prlimit(api.process.pid, what)
    resource.prlimit(api.process.pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(api.process.pid, what, before)


def stored_files(home: Path) -> list[Path]:
    """All files but those of the catalog, and the one that the API makes when it first looks for Prefect."""
    made = Home(home).prefect_auth
    return sorted(path for path in home.rglob("*") if path.is_file() and "catalog" not in path.name and path != made)


def upload(api: Api, size: int) -> tuple[int, str]:
    rows = b"id,type,name,metadata,media_url\n" + b"u99,user,A,,\n" * (size // 13)
    answer = api.own_client.post(f"{BASE}/data_batch", files={"files": ("e.csv", rows)})
    assert str(api.home) not in answer.text
    return answer.status_code, answer.json()["code"]


def test_an_api_without_room_refuses_what_needs_some(home: Path) -> None:
    """507 that names no file, with the path in the log; look-ups and lists go on, and later the same calls work."""
    with Api(home).running() as api:
        known, stored = batches(home), stored_files(home)
        with limited(api, resource.RLIMIT_FSIZE, 200_000):
            assert (507, "storage_full") == upload(api, 1_000_000)
        with limited(api, resource.RLIMIT_FSIZE, 0):
            trained = api.own_client.post(f"{BASE}/train", json={"model_id": "new"})
            changed = api.own_client.patch(f"{BASE}/data_batch?batch_id={known[0]}", json={"tags": ["c"]})
            small = upload(api, 100)
            answers = [
                api.own_client.post(f"{BASE}/recommended_items", json=LOOK_UP),
                api.own_client.get(f"{BASE}/data_batch"),
                api.own_client.get(f"{BASE}/models"),
                api.own_client.get("/health/live"),
            ]
        refused = [(answer.status_code, answer.json()["code"]) for answer in (trained, changed)]
        assert [(507, "storage_full")] * 3 == [*refused, small]
        assert MachineError.codes["storage_full"] == trained.json()["detail"]
        assert [200] * 4 == [answer.status_code for answer in answers]
        wait_until(lambda: f"{home}/uploads" in api.log.read_text(), 5, "the log")
        assert stored == stored_files(home)
        assert known == batches(home)
        assert 200 == api.own_client.patch(f"{BASE}/data_batch?batch_id={known[0]}", json={"tags": ["c"]}).status_code
        assert (503, "unavailable") == upload(api, 1_000_000)  # it came in, and Prefect is not there


def test_an_api_without_files_goes_on(home: Path) -> None:
    """503 for what opens a file, which ended the process once; look-ups need none, and later all is as before."""
    with Api(home).running() as api:
        asked = [("POST", f"{BASE}/recommended_items"), ("GET", f"{BASE}/data_batch"), ("GET", f"{BASE}/models")]

        def statuses() -> list[int]:
            answers = (api.own_client.request(*call, json=LOOK_UP if call[0] == "POST" else None) for call in asked)
            return [answer.status_code for answer in answers]

        assert [200, 200, 200] == statuses()
        with limited(api, resource.RLIMIT_NOFILE, 1):
            assert [200, 503, 503] == statuses()
            assert "out_of_resources" == api.own_client.get(f"{BASE}/data_batch").json()["code"]
        assert [200, 200, 200] == statuses()


def test_an_api_on_a_home_that_is_read_only_answers(home: Path) -> None:
    """It starts, knows its keys, and answers look-ups and lists; what writes is 503, and so is readiness."""
    api = Api(home, before=obey_modes)
    paths = [home, *home.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    with api.running():
        answered = api.own_client.post(f"{BASE}/recommended_items", json=LOOK_UP)
        listed = api.own_client.get(f"{BASE}/data_batch")
        trained = api.own_client.post(f"{BASE}/train", json={"model_id": "board"})
        ready = api.own_client.get("/health/ready")
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)

    assert [200, 200, 503, 503] == [answer.status_code for answer in (answered, listed, trained, ready)]
    assert "storage_unavailable" == trained.json()["code"]
    assert "not ready: home unavailable" == ready.json()["detail"]
