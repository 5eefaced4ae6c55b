"""The direction of imports, and what serving must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(package: str) -> Iterator[tuple[str, str]]:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((str(path), alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield str(path), node.module


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("lucid", {"api", "flows", "prefect", "fastapi", "uvicorn", "starlette"}),
        ("flows", {"api", "fastapi"}),
        ("api", {"flows", "prefect", "torch", "torch_geometric"}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    """api -> lucid <- flows, and the core knows neither web framework nor orchestrator."""
    assert [] == [(path, name) for path, name in imports(package) if name.split(".")[0] in forbidden]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("api.app", ("torch", "prefect", "torch_geometric", "pandas")),
        ("flows.import_data", ("torch", "torch_geometric")),
        ("lucid.client", ("torch", "prefect", "fastapi", "pandas", "duckdb")),
    ],
)
def test_what_a_process_does_not_need_is_not_loaded(module: str, forbidden: tuple[str, ...]) -> None:
    """The API starts without torch, Prefect and pandas, an import without torch."""
    program = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "[]" == loaded.stdout.strip()
