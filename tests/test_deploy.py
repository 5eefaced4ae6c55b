"""What a release is made with: the locks are complete and say what constraints.txt says; an audit hides nothing."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import get_args

import pytest
from packaging.requirements import Requirement

from deploy import audit
from deploy.lock import CONSTRAINTS, CPU_BUILD, LOCK, ROOT, TORCH_CPU_LOCK, TORCH_LOCK, normal, pins
from lucid.keys import Scope

_PLATFORM = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0", "implementation_name": "cpython"}


def needed(requirements: list[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Names of all that requirements ask for, directly or not, but for torch."""
    for requirement in map(Requirement, requirements):
        name = normal(requirement.name)
        for extra in {"", *requirement.extras}:
            environment = {**_PLATFORM, **_PYTHON, "platform_python_implementation": "CPython"}
            if name == "torch" or (name, extra) in seen:
                continue
            seen.add((name, extra))
            yield name
            asked = [one for one in map(Requirement, asked_by(name)) if _applies(one, environment, extra)]
            yield from needed([_without_marker(one) for one in asked], seen)


def asked_by(name: str) -> list[str]:
    """What a package asks for; nothing where this Python does not need it, so that it is not installed."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def _applies(requirement: Requirement, environment: dict[str, str], extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def _without_marker(requirement: Requirement) -> str:
    requirement.marker = None
    return str(requirement)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the locks are for Python 3.11; others need other packages")
def test_the_lock_holds_what_an_installation_needs() -> None:
    """Every package that Lucid needs, directly or not, in the version of constraints.txt, and nothing else."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    constraints = pins(CONSTRAINTS.read_text())

    assert {name: constraints[name] for name in needed(ours, set())} == pins(LOCK.read_text())


def test_the_lock_of_torch_says_what_the_constraints_say() -> None:
    """The version of torch, and of all that both name; what else it needs is for its GPU."""
    constraints, locked = pins(CONSTRAINTS.read_text()), pins(TORCH_LOCK.read_text())
    shared = {name for name in locked if name in constraints}

    assert {name: constraints[name] for name in shared} == {name: locked[name] for name in shared}
    assert "torch" in shared
    assert all(re.match("cuda|nvidia|triton", name) for name in locked.keys() - shared)


def test_torch_for_the_cpu_is_the_same_without_what_a_gpu_needs() -> None:
    """And what both locks of an image name, they name in one version, or pip would refuse to install them together."""
    cpu, cuda = pins(TORCH_CPU_LOCK.read_text()), pins(TORCH_LOCK.read_text())

    assert f"{cuda['torch']}{CPU_BUILD}" == cpu["torch"]
    assert {name: cuda[name] for name in cpu if name != "torch"} == {n: v for n, v in cpu.items() if n != "torch"}
    assert all(re.match("cuda|nvidia|triton", name) for name in cuda.keys() - cpu.keys())
    rest = pins(LOCK.read_text())
    assert {name: rest[name] for name in cpu if name in rest} == {name: cpu[name] for name in cpu if name in rest}
    assert "setuptools" in cpu  # with which the image builds Lucid


@pytest.mark.parametrize("lock", [LOCK, TORCH_LOCK, TORCH_CPU_LOCK], ids=lambda path: path.name)
def test_every_entry_has_hashes_and_no_address(lock: Path) -> None:
    """So pip takes what was locked, from whichever index it is set up for."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    entries = [line for line in lines if not line.startswith(" ")]

    assert all(re.fullmatch(r"[\w.-]+(\[[\w, ]+\])?==\S+ \\", entry) for entry in entries)
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines if line not in entries)
    assert 1_000_000 > lock.stat().st_size


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], audit.CLEAN, "1 packages checked, 0 known"),
        ([{"name": "a", "skip_reason": "not found"}] * 7, audit.UNCHECKED, "NOT CHECKED for vulnerabilities: 7 of 7"),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}],
            audit.UNCHECKED,
            "1 of 2 packages (b)",
        ),
        (
            [
                {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
                {"name": "b", "skip_reason": "not found"},
            ],
            audit.VULNERABLE,
            "a 1, X-1; fixed in 2",
        ),
        ([], audit.UNCHECKED, ""),
    ],
)
def test_what_was_not_checked_is_not_called_clean(
    packages: list[dict[str, object]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code tells clean, vulnerable and unchecked apart, and the words name the packages."""
    assert code == audit.tell(packages)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("program", ["echo no network >&2; exit 1", "echo '{}'"])
def test_a_service_that_does_not_answer_is_told(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever becomes of the program that asks it."""
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "pip-audit").chmod(0o755)

    assert audit.UNCHECKED == audit.check(tmp_path)
    assert "NOT CHECKED for vulnerabilities: " in capsys.readouterr().out


def test_all_that_is_installed_is_audited() -> None:
    """As releases, without the label of a local build, and without Lucid itself."""
    pinned = audit.installed()

    assert {"torch", "duckdb", "pytest"} <= {pin.partition("==")[0] for pin in pinned}
    assert [] == [pin for pin in pinned if "+" in pin or pin.startswith("lucid-recommender==")]


@pytest.mark.parametrize(
    ("text", "permissive"),
    [
        ("MIT License", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 WITH LLVM-exception AND BSL-1.0", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("Artistic License; GNU General Public License (GPL)", False),
        ("GNU Affero General Public License v3", False),
        ("LGPL-3.0-only", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_licences_that_ask_for_more_are_told_apart(text: str, permissive: bool) -> None:
    """Of alternatives one is enough, of parts each counts; what is unknown is not permissive."""
    assert permissive == audit.is_permissive(text)


def test_the_threat_model_names_every_scope() -> None:
    """SECURITY.md says of each what its holder can do, and the README links to it."""
    threats = (ROOT / "SECURITY.md").read_text()

    assert [] == [scope for scope in get_args(Scope) if f"`{scope}`" not in threats]
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
