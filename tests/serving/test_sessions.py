"""Sessions: what comes next is told by what somebody came to just now, whoever that is."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from lucid.cli import app
from lucid.errors import InvalidRequest, UnknownType
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.sessions import SESSION
from lucid.training import steps
from lucid.workspace import Workspace
from tests.support.walks import BEGIN, following, item, start, train_walks, walked

INTERACTIONS, ENTITIES = "type,source_id,target_id,timestamp,metadata\n", "id,type,name,metadata,media_url\n"


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("walks")
    return train_walks(Workspace(folder / "home"), folder)


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    """A model that the test changes."""
    return train_walks(Workspace(tmp_path / "home"), tmp_path)


@pytest.fixture
def upload(own: Workspace, tmp_path: Path) -> Callable[..., None]:
    def write(header: str, *rows: str) -> None:
        (tmp_path / "more.csv").write_text(header + "".join(f"{row}\n" for row in rows))
        own.import_files([tmp_path / "more.csv"])

    return write


def asked(workspace: Workspace, session: object, **more: object) -> pd.DataFrame:
    return workspace.recommend("walks", session=session, **{"target_type": "item", **more})  # type: ignore[arg-type]


def firsts(workspace: Workspace, **source: object) -> list[str]:
    found = workspace.recommend("walks", target_type="item", max_recommendations=3, **source)  # type: ignore[arg-type]
    return list(found["target_id"])


def test_the_next_item_follows_the_session(walks: Workspace) -> None:
    """Wherever it has come to, and in either way of saying so; what it holds is not recommended."""
    right = 0
    for place in range(0, 60, 5):
        session = [item(place + step) for step in range(4)]
        found = asked(walks, session)
        right += found["target_id"][0] == item(place + 4)
        assert not {*session} & {*found["target_id"]}
        assert ({SESSION}, {"session"}) == ({*found["source_id"]}, {*found["served_by"]})
        assert found.equals(asked(walks, [{"id": one, "type": "item"} for one in session]))
    assert right >= 10


def test_a_session_is_answered_as_the_source_that_it_is_of(walks: Workspace) -> None:
    """What a user came to gives as a session what the user gets: the same first items."""
    users = range(20)
    of_sessions = [firsts(walks, session=walked(user))[0] for user in users]
    agreed = sum(one == firsts(walks, source_id=f"u{user:02}")[0] for one, user in zip(of_sessions, users, strict=True))

    assert agreed >= 18


def test_direction_tells_where_a_session_goes(walks: Workspace) -> None:
    """The same items the other way round are followed by what follows the last of them."""
    there, back = [item(place) for place in (10, 11, 12, 13)], [item(place) for place in (33, 32, 31, 30)]

    assert item(14) == asked(walks, there)["target_id"][0]
    assert asked(walks, back)["target_id"].tolist() != asked(walks, back[::-1])["target_id"].tolist()
    assert item(34) == asked(walks, back[::-1])["target_id"][0]


def test_times_order_a_session(walks: Workspace) -> None:
    """However they are written, and wherever the rows stand."""
    session = [item(10 + step) for step in range(4)]
    timed = [{"id": one, "timestamp": BEGIN + 60 * step} for step, one in enumerate(session)]
    written = [{"id": one, "timestamp": f"2024-01-01T0{step}:00:00"} for step, one in enumerate(session)]

    expected = asked(walks, session)
    assert expected.equals(asked(walks, timed[::-1]))
    assert expected.equals(asked(walks, [written[2], *written[:2], written[3]]))


def test_unknown_ids_are_named_and_the_rest_is_answered(walks: Workspace) -> None:
    """Of nothing known popularity answers; an id of another type than was said is unknown too."""
    session = [item(10 + step) for step in range(4)]

    found = asked(walks, ["nobody", *session[:2], {"id": "u01", "type": "item"}, *session[2:], "nobody"])
    nothing = asked(walks, ["nobody"])

    assert ["nobody", "u01"] == found.attrs["unknown_source_ids"]
    assert asked(walks, session)["target_id"].tolist() == found["target_id"].tolist()
    assert (["nobody"], {"popular"}) == (nothing.attrs["unknown_source_ids"], {*nothing["served_by"]})
    with pytest.raises(UnknownType):
        asked(walks, [{"id": item(1), "type": "planet"}])
    with pytest.raises(InvalidRequest, match="no source interacts with that; interactions are user → item"):
        asked(walks, ["u01"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"session": []},
        {"session": [{"id": ""}]},
        {"session": [{"id": "a", "weight": 1}]},
        {"session": [{"id": "a", "timestamp": "soon"}]},
        {"session": [{"id": "a", "timestamp": 1}, {"id": "b"}]},
        {"session": [{"id": "a"}], "source_id": ["b"]},
        {"session": [{"id": "a"}], "source_type": ["user"]},
        {"session": [{"id": "a"}] * 1001},
        {"session": "a"},
    ],
    ids=lambda wrong: str(wrong)[:60],
)
def test_sessions_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    """They hold entities, all with times or none, and stand for the source."""
    with pytest.raises(ValidationError):
        RecommendationQuery.model_validate({"model_id": "m", "target_type": ["item"], **wrong})


def test_nothing_of_a_session_is_stored(walks: Workspace) -> None:
    """No file of the home differs after it was asked."""

    def files() -> Iterator[tuple[Path, int, int]]:
        for path in sorted(walks.settings.home.rglob("*")):
            if path.is_file() and path.parent.name not in ("logs", "locks"):
                yield path, path.stat().st_size, path.stat().st_mtime_ns

    before = [*files()]
    asked(walks, [item(1), item(2)], explain=True)

    assert before == [*files()]


def test_limits_of_a_query_hold_for_sessions(walks: Workspace) -> None:
    """Number, threshold, filters and what was interacted with."""
    session = [item(10 + step) for step in range(4)]
    every = asked(walks, session, exclude_interacted=False)
    few = asked(walks, session, max_recommendations=3)
    filtered = asked(walks, session, target_filter=[{"field": "id", "op": "in", "value": [item(14), item(40)]}])

    assert {*session} <= {*every["target_id"]}
    assert asked(walks, session)["target_id"].tolist()[:3] == few["target_id"].tolist()
    assert {item(14), item(40)} == {*filtered["target_id"]}
    users = walks.recommend("walks", session=session, target_type="user", max_recommendations=5)
    assert 5 == len(users)


def test_what_came_last_explains_what_comes_next(walks: Workspace) -> None:
    """The latest item of the session or the source contributes most, and is named as an interaction."""
    session = [item(10 + step) for step in range(4)]
    of_session = asked(walks, session, explain=True)["explanation"][0]
    known = walks.recommend("walks", source_id="u00", target_type="item", explain=True)["explanation"][0]

    assert ("interaction", "view", session[-1]) == tuple(of_session[0][name] for name in ("kind", "relation", "id"))
    assert walked(0)[-1] == known[0]["id"]


def test_what_was_computed_ahead_equals_what_is_scored_at_once(walks: Workspace) -> None:
    """Order counts in both alike."""
    always = [{"field": "type", "op": "eq", "value": "item"}]

    ahead, at_once = (
        walks.recommend("walks", source_type="user", target_type="item", target_filter=limit)
        for limit in (None, always)
    )

    assert ahead.equals(at_once)


def test_what_is_uploaded_since_counts_by_its_time(own: Workspace, upload: Callable[..., None]) -> None:
    """A known source that went on and a new one are followed from where they are, before a refresh and after it."""
    place = start(3) + 40
    upload(INTERACTIONS, *(f"view,u03,{item(place + step)},{BEGIN + 10**6 + step}," for step in range(4)))
    upload(ENTITIES, "new,user,,,")
    # In the file the order is another than that of the times.
    upload(INTERACTIONS, *(f"view,new,{item(20 + step)},{BEGIN + step}," for step in (3, 1, 0, 2)))

    assert item(place + 4) in firsts(own, source_id="u03")  # beside what it was near for long
    assert item(24) == firsts(own, source_id="new")[0]

    before = firsts(own, source_id="u03")
    steps.refresh(own.settings, "walks")

    refreshed = own.recommend("walks", source_id="u03", target_type="item", max_recommendations=3)
    assert (before, {"cache"}) == (refreshed["target_id"].tolist(), {*refreshed["served_by"]})
    assert item(24) == firsts(own, source_id="new")[0]


def test_an_interaction_of_long_ago_is_not_what_came_last(own: Workspace, upload: Callable[..., None]) -> None:
    """Uploaded late, it leaves what follows the latest one in its place."""
    upload(INTERACTIONS, f"view,u03,{item(start(3) + 40)},{BEGIN - 10**6},")

    assert following(3) == firsts(own, source_id="u03")[0]


def test_an_erased_entity_follows_nothing(own: Workspace) -> None:
    """It is neither recommended nor known to a session, and the order of what is left still counts."""
    gone = item(14)
    own.erase(gone)

    found = asked(own, [*(item(10 + step) for step in range(4)), gone])

    assert [gone] == found.attrs["unknown_source_ids"]
    assert gone not in {*found["target_id"]}
    assert item(34) == asked(own, [item(30 + step) for step in range(4)])["target_id"][0]


def test_the_command_asks_about_sessions(walks: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids alone will do; what is no JSON is refused."""
    monkeypatch.setenv("LUCID_HOME", str(walks.settings.home))
    session = [item(10 + step) for step in range(4)]
    asking = ["recommend", "--model-id", "walks", "--target-type", "item", "--output", str(tmp_path / "found.csv")]

    told = CliRunner().invoke(app, [*asking, "--session", json.dumps([*session, "nobody"])])
    refused = CliRunner().invoke(app, [*asking, "--session", "i01"])

    assert 0 == told.exit_code, told.output
    assert "unknown: nobody" in told.output
    assert f"{SESSION},{item(14)}," in (tmp_path / "found.csv").read_text().splitlines()[1]
    assert 2 == refused.exit_code
    assert "--session is not JSON" in refused.output
