"""No test fails because the machine is busy: none asserts that something took less than some time."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CLOCKS = {"monotonic", "perf_counter", "time"}
TESTS = sorted(Path(__file__).parent.rglob("test_*.py"))


def reads_clock(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression asks a clock of the wall, or a name that was set from one."""
    return any(
        (isinstance(part, ast.Name) and part.id in names)
        or (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr in CLOCKS
            and isinstance(part.func.value, ast.Name)
            and part.func.value.id == "time"
        )
        for part in ast.walk(node)
    )


def upper_limits(source: str) -> Iterator[int]:
    """Lines that assert less than some time; one that is compared with another of the same run is none."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and reads_clock(node.value, names):
                names |= {part.id for one in node.targets for part in ast.walk(one) if isinstance(part, ast.Name)}
        for node in ast.walk(function):
            for compared in ast.walk(node) if isinstance(node, ast.Assert) else ():
                if isinstance(compared, ast.Compare):
                    sides = [reads_clock(side, names) for side in (compared.left, *compared.comparators)]
                    for smaller, operator, larger in zip(sides[:-1], compared.ops, sides[1:], strict=True):
                        less, more = isinstance(operator, ast.Lt | ast.LtE), isinstance(operator, ast.Gt | ast.GtE)
                        if (less and smaller and not larger) or (more and larger and not smaller):
                            yield compared.lineno


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_asserts_that_something_took_less_than_some_time(path: Path) -> None:
    """At least so long may be asserted, and that one thing takes no longer than another of the same run."""
    assert [] == list(upper_limits(path.read_text()))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("assert time.monotonic() - began < 2", 1),
        ("took = time.perf_counter() - began\n    assert took <= 2", 1),
        ("took = time.time() - began\n    seconds = round(took)\n    assert 2 > seconds and ready", 1),
        ("assert 0.1 <= time.monotonic() - began", 0),
        ("one = time.monotonic() - began\n    other = time.monotonic() - began\n    assert one < 3 * other", 0),
        ("assert time.process_time() < 2", 0),
        ("assert len(found) < 2", 0),
    ],
)
def test_an_upper_limit_is_noticed(statement: str, found: int) -> None:
    """However it is written; what a processor spent is not a matter of who else is at work."""
    assert found == len(list(upper_limits(f"def test_it() -> None:\n    began = time.monotonic()\n    {statement}\n")))
