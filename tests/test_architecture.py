"""The direction of imports, and what serving must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(package: str) -> Iterator[tuple[str, str]]:
    for path in (ROOT / package).rglob("*.py"):  # which follows no links
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((str(path), alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield str(path), node.module


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("lucid", {"lucid.api", "lucid.flows", "prefect", "fastapi", "uvicorn", "starlette"}),
        ("flows", {"lucid.api", "fastapi"}),
        ("api", {"lucid.flows", "prefect", "torch", "torch_geometric"}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    """api -> lucid <- flows, and the core knows neither web framework nor orchestrator."""
    assert [] == [(path, name) for path, name in imports(package) if within(name, forbidden)]


@pytest.mark.parametrize("package", ["lucid", "flows", "api", "tests", "benchmarks", "deploy"])
def test_every_module_has_one_name(package: str) -> None:
    """`api` and `flows` are imported as parts of `lucid`, which is where a wheel has them, and not once more."""
    assert [] == [(path, name) for path, name in imports(package) if within(name, {"api", "flows"})]


@pytest.mark.parametrize("package", ["api", "flows"])
def test_a_checkout_has_the_packages_of_a_wheel(package: str) -> None:
    """`lucid.api` and `lucid.flows` are the folders of the repository's top, by links."""
    assert Path("..", package) == (ROOT / "lucid" / package).readlink()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("lucid.api.app", ("torch", "prefect", "torch_geometric", "pandas")),
        ("lucid.flows.import_data", ("torch", "torch_geometric")),
        ("lucid.client", ("torch", "prefect", "fastapi", "pandas", "duckdb")),
    ],
)
def test_what_a_process_does_not_need_is_not_loaded(module: str, forbidden: tuple[str, ...]) -> None:
    """The API starts without torch, Prefect and pandas, an import without torch."""
    program = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "[]" == loaded.stdout.strip()
