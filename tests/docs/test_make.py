"""`make` on a machine that lacks what it needs says what to do about it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.pages import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


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
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)

    said = make("install", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")

    assert 0 != said.returncode
    assert f"{python} cannot make a virtual environment" in said.stderr
    assert "apt install python3.11-venv" in said.stderr
