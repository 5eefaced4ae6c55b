"""The pictures of the console in `docs/images`, taken of a service with the demo's data: `make pictures`.

A model is trained, data come in that make the next version worse, so that it is held, and a placement and an experiment
are there. Then a browser of the tests looks at the pages.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

from lucid.api.console.access import CONSOLE
from lucid.client import Client
from lucid.demo.catalogue import Catalogue, generate
from tests.support.chromium import chromium, tab
from tests.support.service import Service

FOLDER = Path(__file__).parent.parent / "docs" / "images"
_MODEL, _USER, _USERS = "videos", "user_1", 300
_NOISE = 3000
"""Interactions at random that make a version worse."""


@dataclass(frozen=True)
class Picture:
    """A page of the console, by its path, as it is seen through a window of some size."""

    name: str
    path: str
    height: int = 900
    width: int = 1280
    scheme: str = "light"


_OF_MODEL = f"/models/{_MODEL}"
_PREVIEW = f"/placements/home/preview?model_id={_MODEL}&source_id={_USER}&target_type=video"
PICTURES = (
    Picture("home", ""),
    Picture("phone", "", height=780, width=360),
    Picture("report", f"{_OF_MODEL}/report", height=860),
    Picture("pair-dark", f"{_OF_MODEL}/pair?source_type=user&target_type=video", scheme="dark"),
    Picture("versions", f"{_OF_MODEL}/versions", height=760),
    Picture("explore", f"/explore/entity?model_id={_MODEL}&id={_USER}", height=1130),
    Picture("placement", _PREVIEW, height=1060),
    Picture("experiment", "/experiments/summer/results", height=900),
)


def prepare(client: Client, data: Catalogue, folder: Path) -> None:
    """Leave a version that answers, one that is held, a schedule, a placement, and an experiment with some events."""
    client.import_files([data.entities], tags=["catalogue", "noise"])
    client.import_files([data.interactions], tags=["catalogue"])
    client.import_files([_noise(folder)], tags=["noise"])
    client.train(_MODEL, data_tags=["catalogue"])
    client.schedule(_MODEL, "train", "30 2 * * *", "Europe/Berlin")
    client.save_placement(
        {
            "name": "home",
            "note": "summer sale",
            "pin": [{"id": "video_7", "rank": 1}],
            "boost": [{"when": [{"field": "metadata.genre", "op": "eq", "value": "Comedy"}], "factor": 1.5}],
            "quotas": [{"each": "metadata.genre", "at_most": 3, "of": 10}],
            "diversity": {"lambda": 0.7},
        }
    )
    both = [{"name": "now", "share": 0.5}, {"name": "rules", "share": 0.5, "placement": "home"}]
    client.begin_experiment("summer", _MODEL, both)
    _watch(client, [f"user_{number}" for number in range(1, _USERS + 1)])
    client.train(_MODEL, data_tags=["noise"])


def _watch(client: Client, users: list[str]) -> None:
    """Ask for each user within the experiment, and let some of them watch what they are shown."""
    chance = np.random.default_rng(0)
    for user in users:
        shown = client.recommend(
            _MODEL, source_id=user, target_type="video", experiment="summer", max_recommendations=10
        )
        if chance.random() < 0.3:
            client.send_events(
                {
                    "type": "watched",
                    "source_id": user,
                    "target_id": str(chance.choice(shown["target_id"])),
                    "recommendation_id": shown.attrs["noted"]["recommendation_id"],
                }
            )


def _noise(folder: Path) -> Path:
    chance, file = np.random.default_rng(1), folder / "noise.csv"
    rows = (f"watched,user_{1 + chance.integers(_USERS)},video_{1 + chance.integers(300)},," for _ in range(_NOISE))
    file.write_text("\n".join(["type,source_id,target_id,timestamp,metadata", *rows]) + "\n", encoding="utf-8")
    return file


def take(page: Page, picture: Picture) -> None:
    """Look at a page until it is whole, and keep what is seen."""
    page.set_viewport_size({"width": picture.width, "height": picture.height})
    page.goto(f"{CONSOLE}{picture.path}", wait_until="networkidle")
    page.screenshot(path=FOLDER / f"console-{picture.name}.png")


@contextmanager
def _service(folder: Path) -> Iterator[Service]:
    service = Service(folder / "home")
    service.start()
    try:
        service.key = service.first_key()
        yield service
    finally:
        service.stop()


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as name, _service(Path(name)) as service, chromium() as browser:
        base = f"http://127.0.0.1:{service.api_port}"
        with Client(base, apikey=service.key) as client:
            prepare(client, generate(Path(name), users=_USERS), Path(name))
        for picture in PICTURES:
            with tab(browser, base, width=picture.width, scheme=picture.scheme) as person:
                person.sign_in(service.key)
                take(person.page, picture)


if __name__ == "__main__":
    main()
