"""`make` on a machine that lacks what it needs says what to do about it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pages import ROOT


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("make") or "make", *arguments]
    ours = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=False)


def write_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("target", ["install", "demo", "test", "lock"])
def test_without_python_it_says_how_to_get_one(target: str, tmp_path: Path) -> None:
    """For a system or two, and how to name one that is elsewhere; whatever was asked for."""
    places = (f"VENV={tmp_path / 'venv'}", f"TOOLS={tmp_path / 'tools'}")

    said = make(target, "PYTHON=python3.none", *places).stderr

    assert said.startswith("python3.none: not found. Lucid needs Python 3.11")
    assert "apt install python3.11 python3.11-venv" in said
    assert f"make {target} PYTHON=/path/to/python3.11" in said
    assert "No such file" not in said
    assert [] == list(tmp_path.iterdir())


def test_without_the_venv_module_it_names_the_package(tmp_path: Path) -> None:
    """As on Debian, whose Python is there without it."""
    python = write_program(tmp_path / "python", "exit 1")

    said = make("install", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")

    assert 0 != said.returncode
    assert f"{python} cannot make a virtual environment" in said.stderr
    assert "apt install python3.11-venv" in said.stderr


@pytest.mark.parametrize(
    ("there", "broken", "taken"),
    [
        (["python3.11", "python3.12"], [], "python3.11"),
        (["python3.12", "python3.13"], ["python3.11"], "python3.12"),
        (["python3.14"], [], "python3.14"),
    ],
)
def test_it_takes_the_first_python_that_runs(there: list[str], broken: list[str], taken: str, tmp_path: Path) -> None:
    """Of those that Lucid runs on, and names the package of that one; a name by which none runs is passed over."""
    for name in there:
        write_program(tmp_path / name, f"test $1 = -c && echo {name}")
    for name in broken:
        write_program(tmp_path / name, "exit 127")

    said = make("install", f"VENV={tmp_path / 'venv'}", PATH=str(tmp_path)).stderr

    assert f"{taken} cannot make a virtual environment" in said
    assert f"apt install {taken}-venv" in said
