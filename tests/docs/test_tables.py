"""Tables of the pages are those of the code: codes, settings, scopes, routes, figures, parameters, limits."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families

from lucid import events
from lucid.api.auth import OPEN, SCOPES
from lucid.api.console.access import CONSOLE
from lucid.api.metrics import Metrics
from lucid.api.multipart import MAX_FIELD_BYTES
from lucid.api.problems import FOREIGN_ADDRESS, HTTP_CODES, INTERNAL_ERROR, STATUS, STATUS_OF_CODE
from lucid.api.requests import MAX_BODY_BYTES, MAX_NAMES, MAX_PARAMETERS
from lucid.data.csv_load import _CHECKS
from lucid.data.drift import DriftCode
from lucid.disk import DiskMeter
from lucid.erasure.erase import MAX_IDS_LENGTH
from lucid.errors import MachineError, UnusableFile
from lucid.flows.deployments import DEPLOYMENTS
from lucid.keys import Scope
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS, MAX_FILES, Batch, Erased
from lucid.schema.fields import MAX_PARTS, MAX_TAG, MAX_TAGS, KeyUse, ServedBy, Stage, utc_now
from lucid.schema.filters import ENTITY_FIELDS, INTERACTION_FIELDS, Op
from lucid.schema.gate import GateRequest
from lucid.schema.recommendations import RecommendationQuery
from lucid.schema.training import ModelStatus, TrainingEstimate, TrainingRequest
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.store.tables.database import MAX_MESSAGE, Ended
from lucid.training.run import MAX_REQUEST_BYTES
from lucid.training.steps import TRAINING
from lucid.workspace import Workspace
from tests.support.pages import DOCS, ROOT, column, paragraph, table, words


def test_errors() -> None:
    """The table of errors has exactly the codes and statuses that the API can answer."""
    rows = table("api.md", "code", "status", "meaning")
    documented = {code: int(status) for codes, status, _ in rows for code in words(codes)}

    ours = {error.code: status for error, status in STATUS.items()} | dict.fromkeys(UnusableFile.codes, 422)
    ours |= dict.fromkeys(MachineError.codes, 503) | dict.fromkeys(("no_interactions", "type_changes"), 422)
    frameworks = {code: status for status, code in HTTP_CODES.items()}
    assert ours | STATUS_OF_CODE | frameworks | {INTERNAL_ERROR: 500, FOREIGN_ADDRESS: 421} == documented


def test_limits_of_the_gate() -> None:
    """Every limit stands there with its default."""
    rows = table("models.md", "limit", "default", "a training is held where")
    documented = {
        limit: default.strip()
        for limits, defaults, _ in rows
        for limit, default in zip(words(limits), defaults.split(","), strict=True)
    }

    ours = {name: json.dumps(field.default) for name, field in GateRequest.model_fields.items()}
    assert {name: default.removesuffix(".0") for name, default in ours.items()} == documented


def reject_codes(of: str) -> set[str]:
    return {words(code)[0] for code, place, _ in table("data.md", "code", "of", "meaning") if place == of}


def test_codes_of_files() -> None:
    """Every reason for which a file is refused stands there; one that was stopped was not refused."""
    assert set(UnusableFile.codes) - {"import_stopped"} == reject_codes("file")


def test_codes_of_cells() -> None:
    """Every check of a cell stands there, and what is looked for only in some files: NUL, and ids of two types."""
    checked = {check.code for checks in _CHECKS.values() for check in checks}

    assert checked | {"invalid_character", "type_conflict"} == reject_codes("cell")


def test_codes_of_rows(tmp_path: Path) -> None:
    """Rows that cannot be read get the codes that stand there."""
    file = tmp_path / "entities.csv"
    rows = ["a,user", "b,user,,,,more", 'c,user,"x" y,,', f"d,user,{'x' * 4_000_001},,", "e,user,,,"]
    file.write_text("\n".join([",".join(ENTITY_COLUMNS), *rows, ""]))

    (batch,) = Workspace(tmp_path / "home").import_files(file)

    assert 1 == batch.entity_count
    assert {error.code for error in batch.errors} == reject_codes("row")


def test_codes_of_events(tmp_path: Path) -> None:
    """Those that files do not have for a cell or row."""
    entity, interaction = {"id": "a", "type": "t"}, {"type": "t", "source_id": "a", "target_id": "b"}
    wrong = [7, {**entity, "id": [1]}, {**entity, "color": "red"}, {"type": "t"}, {**entity, **interaction}]

    answer = Workspace(tmp_path).send_events(wrong)  # type: ignore[arg-type]

    assert {error.code for error in answer.errors} == set(column("events.md", "code", "meaning"))


def test_codes_of_drift() -> None:
    """What may be odd about a batch stands there, all of it."""
    assert set(get_args(DriftCode)) == {
        words(code)[0] for code, *_ in table("reports.md", "code", "meaning", "look at")
    }


def test_columns_of_files() -> None:
    """The header of either file, as it is told everywhere."""
    for page in (ROOT / "README.md", DOCS / "data.md"):
        assert f"`{','.join(ENTITY_COLUMNS)}`" in page.read_text()
        assert f"`{','.join(INTERACTION_COLUMNS)}`" in page.read_text()


def test_settings_and_their_defaults() -> None:
    """Every setting with the value that it has where nobody sets it."""
    rows = table("operations.md", "variable", "default", "meaning")
    ours = {f"LUCID_{name.upper()}": shown(field.default) for name, field in Settings.model_fields.items()}

    assert ours == {words(name)[0]: default.strip("`") for name, default, _ in rows}


def shown(default: object) -> str:
    """A default as the table writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default in (None, "", ()) else f"{default:g}" if isinstance(default, float) else str(default)


def test_calls_and_the_scope_of_each() -> None:
    """Every route that asks for a key, with the scope that it asks for."""
    rows = table("api.md", "call", "does", "scope")

    assert {f"{method} {path[1:]}": scope for (method, path), scope in SCOPES.items()} == {
        words(call)[0]: words(scope)[0] for call, _, scope in rows
    }


def test_scopes() -> None:
    """Every scope, in the order of the code."""
    assert list(get_args(Scope)) == column("api.md", "scope", "for")


def test_pages_that_need_no_key() -> None:
    """All of them but what the description pages load."""
    parts = {"/docs/oauth2-redirect", "/static-offline-docs"}
    assert {*OPEN, CONSOLE} - parts == set(column("operations.md", "page", "answer"))


def test_figures(tmp_path: Path) -> None:
    """Every figure of ours that /metrics gives, with its labels."""
    Home(tmp_path).model("m").mkdir(parents=True)
    metrics = Metrics()
    metrics.call(None, "GET", 200, 0.1)
    now = utc_now()
    metrics.work.count([Ended("training", "m 1", "completed", now, now)])
    metrics.work.show_ages({"m": now}, now)
    metrics.work.show_disk(DiskMeter(tmp_path).look())
    ours = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("lucid_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            ours[name] = labels

    documented = {
        words(name)[0]: set(words(labels)) for name, labels, _ in table("operations.md", "metric", "labels", "counts")
    }
    created = {f"{name.removesuffix('_total')}_created" for name in ours}
    assert {name: labels for name, labels in ours.items() if name not in created} == documented


def test_parameters() -> None:
    """Everything that a training and a question take."""
    asked = [name for names, _ in table("api.md", "parameter", "meaning") for name in words(names)]

    assert set(TrainingRequest.model_fields) == set(column("training.md", "parameter", "meaning"))
    assert set(TrainingEstimate.model_fields) == set(column("training.md", "field", "meaning"))
    assert set(RecommendationQuery.model_fields) == set(asked)


def test_stages_of_a_training() -> None:
    """The steps in their order, each with its stage and its part of the whole; other stages stand below."""
    rows = [(words(stage)[0], share) for stage, share, _ in table("training.md", "stage", "share", "step")]
    said = paragraph("training.md", "The list is `TRAINING`")

    assert [(step.stage, "{:g}–{:g}%".format(*step.share)) for step in TRAINING] == rows
    assert [] == [stage for stage in get_args(Stage) if stage not in {row[0] for row in rows} | set(words(said))]
    assert [] == [field for field in ModelStatus.model_fields if field not in words(said)]


def test_fields_of_a_batch() -> None:
    """Everything that a batch object says."""
    said = set(words(paragraph("data.md", "A batch object has")))

    assert set(Batch.model_fields) == said - {"running", "completed", "error"}


def test_what_answers_come_from() -> None:
    """All values of `served_by`, with the one for answers of several kinds."""
    assert {*get_args(ServedBy), "mixed"} == set(column("models.md", "`served_by`", "the answer comes from"))


def test_places_of_an_erasure() -> None:
    """Everything that an erasure counts."""
    assert set(Erased.model_fields) == set(column("models.md", "place", "what goes"))


def test_how_metadata_keys_are_used() -> None:
    """Every decision but the one that only a rule makes."""
    assert set(get_args(KeyUse)) - {"ignored"} == set(column("data.md", "key holds", "it is", "used as", of=1))


def test_fields_and_ops_of_filters() -> None:
    """Everything that a condition may name."""
    fields = {of: set(words(names)) for of, names in table("data.md", "of", "fields")}

    assert {
        "entities": {*ENTITY_FIELDS, "metadata.<key>"},
        "interactions": {*INTERACTION_FIELDS, "metadata.<key>"},
    } == fields
    assert set(get_args(Op)) == set(column("data.md", "op", "the value of the field"))


def test_deployments() -> None:
    """Every deployment, and how many of its runs work at once."""
    rows = table("operations.md", "deployment", "at once", "starts")

    assert {one.name: one.limit for one in DEPLOYMENTS} == {words(name)[0]: int(limit) for name, limit, _ in rows}


def test_events() -> None:
    """Every event of ours, and what it is about."""
    rows = table("operations.md", "event", "about", "payload, besides")

    assert {events.IMPORTED, events.TRAINED, events.FAILED, events.HELD, events.PUBLISHED, events.REFRESHED} == {
        words(event)[0] for event, _, _ in rows
    }


def limits(page: str) -> list[int]:
    """The number of each limit of a page."""
    values = [value for _, _, value in table(page, "limit", "of", "value")]
    return [int(number.replace(",", "")) for value in values for number in re.findall(r"^[\d,]+", value)]


def test_limits() -> None:
    """What files and requests may hold, row by row."""
    settings: dict[str, Any] = {name: field.default for name, field in Settings.model_fields.items()}

    assert limits("data.md") == [
        settings["max_file_bytes"],
        settings["max_file_rows"],
        settings["max_empty_lines"],
        settings["max_file_columns"],
        settings["max_misfits"],
        settings["max_row_bytes"],
        settings["max_metadata_characters"],
        MAX_FILES,
        MAX_TAGS,
        MAX_TAG,
    ]
    assert limits("api.md") == [
        MAX_BODY_BYTES,
        MAX_NAMES,
        MAX_PARAMETERS,
        65_536,  # of h11, which reads heads
        MAX_FILES,
        MAX_FIELD_BYTES,
        MAX_PARTS,
        MAX_REQUEST_BYTES,
        MAX_IDS_LENGTH,
        MAX_MESSAGE,
    ]


def test_libraries() -> None:
    """Every library that Lucid, its extra, or these pages ask for has its reason."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["dask"], *extras["docs"]]
    listed = [name for names, _ in table("design.md", "library", "for") for name in names.split(", ")]

    assert {Requirement(one).name for one in asked} == set(listed)


def test_places_of_the_home() -> None:
    """Whatever `Home` names stands there, so no file on disk gets another name unnoticed."""
    home = Home(Path())
    named = {getattr(home, name) for name in vars(Home) if isinstance(getattr(Home, name), property)}
    documented = {Path(place.split("/")[0]) for place in column("design.md", "place", "holds")}

    assert named == documented
