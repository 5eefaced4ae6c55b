"""The picture of the flows and their steps in `docs/`, as Prefect knows them: `make diagram`.

Every flow is run once on a small example, and what Prefect then knows of its tasks and of what they waited for is
drawn. So the picture cannot tell of steps that are not there. Prefect's own `generate_mermaid_graph` runs a flow
without doing its tasks, so it stops where a flow looks at what they made; Mermaid is drawn by a script from elsewhere.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.testing.utilities import prefect_test_harness

from lucid.demo.catalogue import generate
from lucid.erasure import requests
from lucid.flows.approve_version import approve_version
from lucid.flows.auto_train import auto_train
from lucid.flows.deployments import DEPLOYMENTS
from lucid.settings import load_settings

PICTURE = Path(__file__).parent.parent / "docs" / "flows.svg"
_MODEL = "videos"
_BOX, _HEIGHT, _ACROSS, _DOWN, _LEFT = 132, 30, 156, 38, 10
"""Pixels: width and height of a box, from one to the next across and down, and the margin."""
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Step:
    """A task of a flow, and the tasks that end before it begins; a task within another names that one."""

    name: str
    after: frozenset[str]


def record(folder: Path) -> dict[str, list[Step]]:
    """Run each flow that has tasks once, on a Prefect server that is there, with data in a folder; tasks by flow."""
    data = generate(folder, users=40)
    settings = load_settings()
    examples: dict[str, Callable[[], dict[str, Any]]] = {
        "import_data": lambda: {"files": [str(data.entities), str(data.interactions)]},
        "train_model": lambda: {"model_id": _MODEL},
        "erase_entity": lambda: {"request": requests.enter(settings, ["user_1"])},
    }
    recorded = {}
    for one in DEPLOYMENTS:
        if one.flow in (auto_train, approve_version):  # they have no tasks: one enters a training, one waits
            continue
        state: Any = one.flow(**examples.get(one.flow.name, dict)(), return_state=True)
        recorded[one.flow.name] = _tasks(state)
    return recorded


def draw(flows: Mapping[str, Sequence[Step]]) -> str:
    """An SVG with a band for each flow: its steps from left to right, each with arrows from those that it waits for."""
    bands, top = [], 10
    for name, steps in flows.items():
        places = _places(steps)
        bands += [f'<text x="{_LEFT}" y="{top + 14}" font-size="13" font-weight="600">{escape(name)}</text>']
        bands += _band(steps, places, top + 24)
        top += 24 + _DOWN * (1 + max(down for _, down in places.values())) + 12
    width = _LEFT + _ACROSS * max(across + 1 for steps in flows.values() for across, _ in _places(steps).values())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" role="img" fill="#212121" '
            'font-family="system-ui, sans-serif">',
            "<title>The flows and their steps</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 8 4 0 8z" fill="#00796b"/></marker></defs>',
            f'<rect width="{width}" height="{top}" rx="8" fill="#fff"/>',
            *bands,
            "</svg>\n",
        ]
    )


def _tasks(state: State[Any]) -> list[Step]:
    """The tasks of a run that has ended well, once Prefect knows them all; those of the same name once."""
    state.result()
    run_id = state.state_details.flow_run_id
    assert run_id
    this = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    deadline = time.monotonic() + _PATIENCE_SECONDS  # tasks are told to the server as events, which take a while
    with get_client(sync_client=True) as client:
        while not (runs := client.read_task_runs(flow_run_filter=this)) or not all(_is_known(run) for run in runs):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Prefect does not know the tasks of flow run {run_id}")
            time.sleep(0.5)
    names = {run.id: run.name.partition(":")[0] for run in runs}
    after: dict[str, frozenset[str]] = {}
    for run in runs:
        inputs = (one for several in run.task_inputs.values() for one in several)
        waited_for = {names[one.id] for one in inputs if isinstance(one, TaskRunResult)}
        after[names[run.id]] = after.get(names[run.id], frozenset()) | waited_for
    return [Step(name, after[name]) for name in sorted(after)]


def _is_known(run: TaskRun) -> bool:
    return run.state is not None and run.state.is_final() and run.start_time is not None


def _places(steps: Sequence[Step]) -> dict[str, tuple[int, int]]:
    """Where steps stand, across and down: each after all that it waits for."""
    across: dict[str, int] = {}
    while len(across) < len(steps):
        for step in steps:
            if step.name not in across and step.after <= across.keys():
                across[step.name] = 1 + max((across[before] for before in step.after), default=-1)
    columns: dict[int, list[str]] = {}
    for name, column in across.items():
        columns.setdefault(column, []).append(name)
    return {name: (column, names.index(name)) for column, names in columns.items() for name in names}


def _band(steps: Sequence[Step], places: Mapping[str, tuple[int, int]], top: int) -> Iterator[str]:
    for step in steps:
        across, down = places[step.name]
        x, y = _LEFT + _ACROSS * across, top + _DOWN * down
        yield f'<rect x="{x}" y="{y}" width="{_BOX}" height="{_HEIGHT}" rx="6" fill="#e0f2f1" stroke="#455a64"/>'
        yield f'<text x="{x + _BOX // 2}" y="{y + 19}" text-anchor="middle" font-size="11">{escape(step.name)}</text>'
        for before in sorted(step.after):
            column, row = places[before]
            line = f"M{_LEFT + _ACROSS * column + _BOX} {top + _DOWN * row + _HEIGHT // 2}L{x - 2} {y + _HEIGHT // 2}"
            yield f'<path d="{line}" stroke="#00796b" stroke-width="1.6" marker-end="url(#tip)"/>'


def main() -> None:
    """Draw the picture anew."""
    with TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=120):
        os.environ["LUCID_HOME"] = f"{folder}/home"
        PICTURE.write_text(draw(record(Path(folder))))


if __name__ == "__main__":
    main()
