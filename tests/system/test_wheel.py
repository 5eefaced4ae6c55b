"""The wheel: what it holds, and that the service runs from it where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.checkerboard import write_checkerboard
from tests.support.service import ROOT, Service

PACKAGES = {"lucid": "lucid", "api": "lucid/api", "flows": "lucid/flows"}
"""Folders of the repository, and where a wheel has them."""

ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""An environment that leads to no checkout."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves folders next to the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, check=True)
    (built,) = (copy / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and with what else the tests have but for the checkout.

    A path that a `.pth` file adds is searched for modules, but not for other such files, with which an editable
    installation leads to the checkout.
    """
    environment = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], env=ALONE, check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "of_the_tests.pth").write_text("\n".join(ours))
    return python.parent


def test_a_wheel_takes_no_name_but_its_own(wheel: Path) -> None:
    """`lucid` and what describes the distribution, in a file that is called as PyPI has nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}

    assert wheel.name.startswith("lucid_recommender-")
    assert {"lucid", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"} == names


def test_a_wheel_holds_every_file_as_it_is(wheel: Path) -> None:
    """Modules and the mark of types; nothing of them is rewritten, left out or added."""
    sources = {
        str(there / path.relative_to(ROOT / here)): path.read_bytes()
        for here, there in ((here, Path(there)) for here, there in PACKAGES.items())
        for path in (ROOT / here).rglob("*")  # which follows no links
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.startswith("lucid/")}

    assert sources == held


def test_the_service_runs_from_a_wheel(installed: Path, tmp_path: Path, prefect_database: Path) -> None:
    """In an empty folder, without the checkout: it becomes ready, and a flow imports what is uploaded."""
    empty = tmp_path / "empty"
    empty.mkdir()
    service = Service(tmp_path / "home", prefect_database, program=[str(installed / "lucid")], folder=empty)
    service.environment.pop("PYTHONPATH", None)
    program = "import lucid.api, lucid.flows; print(*lucid.api.__path__, *lucid.flows.__path__)"
    asked = [str(installed / "python"), "-c", program]
    modules = subprocess.run(asked, env=ALONE, cwd=empty, stdout=subprocess.PIPE, text=True, check=True).stdout
    entities, _ = write_checkerboard(tmp_path / "files")

    try:
        service.start()
        with service.client(service.first_key()) as client, entities.open("rb") as file:
            ready = client.get(f"http://127.0.0.1:{service.api_port}/health/ready")
            (batch,) = client.post("/data_batch", files={"files": file}, data={"wait_seconds": "60"}).json()
    finally:
        service.stop()

    assert str(ROOT) not in modules
    assert 2 == modules.count(str(installed.parent))
    assert 200 == ready.status_code
    assert ("completed", 50) == (batch["status"], batch["entity_count"])
    assert [] == list(empty.iterdir())
