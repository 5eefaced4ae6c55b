"""The picture of the flows in the documentation is that of the code."""

from pathlib import Path

from deploy.diagram import PICTURE, Step, draw, record
from lucid.flows.approve_version import approve_version
from lucid.flows.auto_train import auto_train
from lucid.flows.deployments import DEPLOYMENTS
from lucid.training.steps import REFRESH, TRAINING


def test_the_picture_is_up_to_date(tmp_path: Path) -> None:
    """What Prefect knows of every flow after a run; where it has changed, draw it anew with `make diagram`."""
    flows = record(tmp_path)

    assert [one.flow.name for one in DEPLOYMENTS if one.flow not in (auto_train, approve_version)] == [*flows]
    for name, steps in (("train_model", TRAINING), ("refresh_recommendations", REFRESH)):
        assert {step.name.replace("_", " ") for step in steps} <= {step.name for step in flows[name]}
    assert draw(flows) == PICTURE.read_text()


def test_a_step_stands_behind_all_that_it_waits_for() -> None:
    """Whatever names they have: arrows lead to the right."""
    chain = [Step("a", frozenset({"c"})), Step("b", frozenset({"a", "c"})), Step("c", frozenset())]

    drawn = draw({"flow": chain})

    lefts = {name: int(drawn.split(f">{name}<")[0].rsplit('<rect x="', 1)[1].split('"')[0]) for name in "abc"}
    assert lefts["c"] < lefts["a"] < lefts["b"]
    assert 3 == drawn.count("marker-end")
