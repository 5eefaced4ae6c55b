"""The maintenance as Prefect shows it: its steps, what went and what the rest takes, and what goes wrong."""

from pathlib import Path

import pytest

from lucid.errors import LucidError
from lucid.flows.maintain_home import maintain_home
from lucid.maintenance import STEPS
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.workspace import Workspace
from tests.flows.conftest import task_states
from tests.flows.test_models import artifacts
from tests.support.checkerboard import train_checkerboard

NAMES = [step.what for step in STEPS]


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Home:
    """With a model whose name is emphasis in Markdown, and with a training beyond those that are kept."""
    workspace = train_checkerboard(Workspace(settings=settings), tmp_path, "_board_")
    for _ in range(3):
        workspace.train("_board_")
    return Home(settings.home)


def test_each_step_is_a_task_and_the_page_tells_what_is_there(home: Home) -> None:
    """In order; what a dry run would do, a true run does, and a model's name is text."""
    looked, did = (maintain_home(dry_run, 1e-9, return_state=True) for dry_run in (True, False))

    assert looked.result() == did.result() == {step.what: int(step.what.startswith("trainings")) for step in STEPS}
    assert dict.fromkeys(NAMES, "Completed") == task_states(did, NAMES)
    told, shown = artifacts(looked)["maintenance"], artifacts(did)["maintenance"]
    assert ("would be removed" in told, "| trainings and refreshes | 1 | 0.0 MB |" in shown) == (True, True)
    assert r"| \_board\_ | 3 |" in shown
    assert 0 == sum(maintain_home(False, 1e-9).values())


def test_one_step_that_fails_stops_no_other(home: Home) -> None:
    """A file that is no database: the others are done, and the run says in a sentence what was wrong with that."""
    home.prefect.mkdir()
    (home.prefect / "prefect.db").write_text("no database " * 100)

    state = maintain_home(False, 1e-9, return_state=True)

    with pytest.raises(LucidError, match=r"Prefect's database.*could not be made shorter"):
        state.result()
    assert ["Completed"] * (len(NAMES) - 1) + ["Failed"] == sorted(
        str(one) for one in task_states(state, NAMES).values()
    )
    (home.prefect / "prefect.db").unlink()
    assert 0 == Workspace(home.path).maintain(1e-9)["trainings and refreshes"].count
