"""Whatever can be asked can be asked in every way: over HTTP, as a command, from Python here and there, in Prefect."""

import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import lucid
from lucid import cli
from lucid.api.routes.recommended_items import RecommendationParameters
from lucid.api.routes.upload import UploadForm
from lucid.errors import InvalidRequest
from lucid.flows.train_model import train_model
from lucid.schema.recommendations import RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard

TRAINING, QUESTION, UPLOAD = (set(model.model_fields) for model in (TrainingRequest, RecommendationQuery, UploadForm))
WATCHING = {"progress"}
"""What Python takes besides: it waits, and so shows how far the work is."""
TABLE = {"entity_id", "output_format"}
"""What Python has no use for: another name of `source_id`, and a format, as it gives a table."""
_ABSENT = object()
WRITING = {"context", "more_ids", "output"}
"""What the command takes besides: further ids after --source-id, and where to write."""


def parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def test_a_training_takes_the_same_in_every_way() -> None:
    """Every field of the request is an option of the command, and a parameter of both Python APIs and of the flow."""
    assert parameters(lucid.Workspace.train) - WATCHING == TRAINING
    assert parameters(lucid.Client.train) - WATCHING == TRAINING
    assert parameters(cli.train) - {"dry_run"} == TRAINING
    assert parameters(train_model.fn) - {"version"} == TRAINING


def test_a_question_takes_the_same_in_every_way() -> None:
    """Every field of a query, but for what a way has no use for."""
    assert parameters(lucid.Workspace.recommend) == QUESTION - TABLE
    assert parameters(lucid.Client.recommend) == QUESTION - TABLE
    assert parameters(cli.recommend) - WRITING == QUESTION - {"entity_id"}
    assert set(RecommendationParameters.model_fields) == QUESTION


def test_the_schema_of_a_question_takes_what_its_check_takes() -> None:
    """So that a client that is generated from it asks nothing that is refused for which parameters go together."""
    schema, chance, taken = Draft202012Validator(RecommendationQuery.model_json_schema()), random.Random(0), 0
    choices: dict[str, list[Any]] = {
        "source_id": [_ABSENT, None, "a", ["a", "b"]],
        "entity_id": [_ABSENT, None, "c"],
        "source_type": [_ABSENT, None, "user"],
        "sources": [_ABSENT, None, [{"id": "a"}]],
        "target_type": [_ABSENT, None, "item"],
        "use": [_ABSENT, "recommend", "similar", "popular", "trending"],
        "fallback": [_ABSENT, None, "popular"],
        "window_days": [_ABSENT, None, 3],
        "half_life_days": [_ABSENT, None, 2.5],
        "placement": [_ABSENT, _ABSENT, None, "home"],
    }
    for _ in range(3000):
        drawn = {name: chance.choice(values) for name, values in choices.items()}
        asked = {"model_id": "m", **{name: value for name, value in drawn.items() if value is not _ABSENT}}
        try:
            RecommendationQuery.model_validate(asked)
            is_taken = True
        except ValidationError:
            is_taken = False

        assert is_taken == schema.is_valid(asked), asked
        taken += is_taken
    assert taken > 50


def test_an_import_takes_the_same_in_every_way() -> None:
    """Only HTTP needs to be told how long to wait."""
    asked = UPLOAD - {"wait_seconds"} | {"files"}

    assert parameters(lucid.Workspace.import_files) - WATCHING == asked
    assert parameters(lucid.Client.import_files) - WATCHING == asked
    assert parameters(cli.import_command) == asked


def test_what_the_package_has_can_be_seen() -> None:
    """`dir(lucid)` shows both Python APIs, though neither is loaded until it is asked for."""
    assert {"Client", "Workspace"} <= set(dir(lucid))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A board whose users are called 0, 1 and so on."""
    folder = tmp_path_factory.mktemp("numbered")
    files = write_checkerboard(folder)
    for file in files:
        file.write_text(re.sub(r"\bu0?(\d+)\b", r"\1", file.read_text()))
    workspace = Workspace(folder / "home")
    workspace.import_files(files)
    workspace.train("board")
    return workspace


def test_a_whole_number_stands_for_an_id(numbered: Workspace) -> None:
    """As most people's tables have them: one, several, or in a mix; whatever is no id is refused in words."""
    expected = numbered.recommend("board", source_id="1", target_type="item")

    assert expected.equals(numbered.recommend("board", source_id=1, target_type="item"))
    assert {"1", "2"} == set(numbered.recommend("board", source_id=[1, "2"], target_type="item")["source_id"])
    assert len(numbered.recommend("board", sources=[{"id": 1}, {"id": 2}], target_type="item"))
    for wrong in (1.5, True, [None], [[1]]):
        with pytest.raises(InvalidRequest, match='an id is a text: "1"'):
            numbered.recommend("board", source_id=wrong, target_type="item")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match='an id is a text: "1"'):
        numbered.erase([1.5])  # type: ignore[list-item]


def test_a_home_that_is_a_file_is_named_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the path itself is a file or a folder above it; nothing is made."""
    (tmp_path / "file").touch()

    for home in (tmp_path / "file", tmp_path / "file" / "below" / "home"):
        monkeypatch.setenv("LUCID_HOME", str(home))
        with pytest.raises(InvalidRequest, match=r"home: .*/file is no folder; LUCID_HOME names a folder"):
            Workspace()
