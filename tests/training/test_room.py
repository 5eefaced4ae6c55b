"""A training that does not fit into memory is refused with figures, before it takes any."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from lucid.errors import NotEnoughMemory
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.training.estimate import Cost, read_cost, write_cost
from lucid.training.memory import Peak, available_bytes, in_words, used_bytes
from lucid.training.room import Share, room, worker
from lucid.training.run import working_on
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard

GB = 1_000_000_000


def limited(workspace: Workspace, memory: str) -> Workspace:
    """The same home with a limit."""
    return Workspace(settings=workspace.settings.model_copy(update={"training_memory": memory}))


@pytest.mark.parametrize(("given", "count"), [("8GB", 8 * GB), ("1.5GB", 1_500_000_000), ("500MB", 500_000_000)])
def test_a_limit_is_written_as_people_do(given: str, count: int) -> None:
    assert count == Settings(training_memory=given).training_memory_bytes


@pytest.mark.parametrize("given", ["8", "8TB", "-1GB", "0GB", "", "much"])
def test_what_is_no_limit_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(training_memory=given)


def test_room_is_the_limit_less_what_others_need() -> None:
    """Whatever they hold now, they will need the rest too; or hold more than was foreseen."""
    others = [Share(2 * GB, GB), Share(GB, 3 * GB)]

    assert 3 * GB == room(Settings(training_memory="8GB"), others)
    assert room(Settings(training_memory="off"), others) is None


def test_room_is_what_is_available_less_what_others_will_still_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they hold is not available any more; what the process that asks holds is its own."""
    monkeypatch.setattr("lucid.training.room.available_bytes", lambda: 5 * GB)

    assert 4 * GB == room(Settings(), [Share(2 * GB, GB), Share(GB, 3 * GB)])
    assert 6 * GB == room(Settings(), own=GB)


def test_a_training_without_room_is_refused_with_figures(workspace: Workspace, tmp_path: Path) -> None:
    """Nothing is left of it, the model answers as before, and with the limit gone it is trained."""
    workspace.import_files(write_checkerboard(tmp_path))
    workspace.train("board")
    small = limited(workspace, "100MB")

    assert not small.estimate("board").fits
    with pytest.raises(NotEnoughMemory, match=r"about .* of memory, most of it for .* and 100 MB are"):
        small.train("board")

    status = workspace.status("board")
    assert ("error", "select") == (status.status, status.stage)
    assert "maximum_interaction_age_days" in status.message
    assert 1 == workspace.model("board").live_version
    assert not (workspace.settings.home / "models" / "board" / "2").exists()
    assert "completed" == limited(workspace, "off").train("board").status


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_control_group_above_the_process_limits_it(tmp_path: Path) -> None:
    """The tightest one counts, caches that can be dropped are free, and `max` is no limit."""
    write(
        tmp_path,
        {
            "own": "0::/service/worker\n",
            "service/memory.max": "3000000",
            "service/memory.current": "2500000",
            "service/memory.stat": "anon 5\ninactive_file 1000000\n",
            "service/worker/memory.max": "max",
            "service/worker/memory.current": "2000000",
        },
    )

    assert 1_500_000 == available_bytes(tmp_path, tmp_path / "own")


def test_control_groups_of_version_1_count_too(tmp_path: Path) -> None:
    """In a container the path is that of the host, and the root of the controller is the container's own."""
    write(
        tmp_path,
        {
            "own": "5:cpu:/x\n4:memory:/docker/abc\n0::/\n",
            "memory/memory.limit_in_bytes": "4000000",
            "memory/memory.usage_in_bytes": "3500000",
            "memory/memory.stat": "total_inactive_file 200000\n",
        },
    )

    assert 700_000 == available_bytes(tmp_path, tmp_path / "own")


def test_without_control_groups_the_machine_limits(tmp_path: Path) -> None:
    assert 0 < available_bytes(tmp_path, tmp_path / "none") == pytest.approx(available_bytes(), rel=0.9)


def test_the_peak_of_a_process_is_what_it_held_at_most() -> None:
    """Also after it has let it go."""
    peak, before = Peak(), used_bytes()
    held = b"x" * 50_000_000
    del held

    assert peak.bytes() >= before + 40_000_000


@pytest.mark.parametrize(("count", "words"), [(450e6, "450 MB"), (999.6e6, "1.0 GB"), (3.24e9, "3.2 GB")])
def test_bytes_are_told_to_people(count: float, words: str) -> None:
    assert words == in_words(int(count))


def test_a_training_waits_for_others_that_need_the_memory(workspace: Workspace, tmp_path: Path) -> None:
    """However it was started; its status says for what, and its time does not count as work."""
    workspace.import_files(write_checkerboard(tmp_path))
    own, waiting = limited(workspace, "2.1GB"), threading.Event()

    def watch(_percent: float, doing: str) -> None:
        if doing.startswith("waits for memory: about "):
            waiting.set()

    entered = working_on(own.settings, TrainingRequest(model_id="large"))
    with ThreadPoolExecutor(1) as other, suppress(InterruptedError), entered as large:
        large.folder.mkdir(parents=True)
        write_cost(large.folder, Cost(None, needs=2 * GB, is_admitted=True, **worker()))  # type: ignore[arg-type]
        small = other.submit(own.train, "small", progress=watch)
        assert waiting.wait(120)
        assert not small.done()
        raise InterruptedError

    assert "completed" == small.result().status
    noted = read_cost(ModelVersions(workspace.settings.home, "small").live().folder)
    assert noted
    assert noted.waited > 0
