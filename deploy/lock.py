"""Lock what an installation needs, with the hashes of all its wheels: `make lock`.

Versions are those of `constraints.txt`. Three files come out, for Python 3.11 on Linux x86_64: `requirements.lock`
holds all but torch, `torch.lock` torch as the package index has it, with the CUDA packages that it asks for, and
`torch-cpu.lock` torch built for the CPU alone. Its wheels lie elsewhere, on a page of its makers: `make lock
TORCH_CPU=page` looks there, or in a folder; without it that file stays as it is.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS, LOCK, TORCH_LOCK, TORCH_CPU_LOCK = (
    ROOT / "constraints.txt",
    ROOT / "deploy" / "requirements.lock",
    ROOT / "deploy" / "torch.lock",
    ROOT / "deploy" / "torch-cpu.lock",
)
CPU_BUILD = "+cpu"
"""What follows the version of torch where it is built for the CPU alone."""
_OPTIONS = (
    "--generate-hashes --no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links "
    "--no-emit-build-options --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28 --quiet"
)
_HEADER = """# Made by `make lock`; install with: pip install --require-hashes -r {name}
# Python 3.11 on Linux x86_64. {holds}
"""


def main(uv: str, cpu_wheels: str = "") -> None:
    """Write all files; raises CalledProcessError where an index does not answer or the versions do not fit."""
    version = pins(CONSTRAINTS.read_text())["torch"]
    with tempfile.TemporaryDirectory() as folder:
        without = Path(folder) / "without.txt"
        without.write_text("torch ; sys_platform == 'none'\n")
        rest = _compile(uv, ROOT / "pyproject.toml", "--override", str(without))
        _write(LOCK, rest, "Everything but torch.")
        only = Path(folder) / "torch.in"
        only.write_text(f"torch=={version}\n")
        _write(TORCH_LOCK, _compile(uv, only), f"Torch with CUDA, several GB; without a GPU: {_name(TORCH_CPU_LOCK)}.")
        if cpu_wheels:
            only.write_text(f"torch=={version}{CPU_BUILD}\n")
            torch = _compile(uv, only, "--find-links", cpu_wheels)
            _write(TORCH_CPU_LOCK, torch, "Torch for the CPU alone, whose wheels are not on PyPI.")


def pins(text: str) -> dict[str, str]:
    """Versions by normalised names, of a file of constraints or a lock."""
    found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in found}


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _compile(uv: str, source: Path, *options: str) -> str:
    command = [uv, "pip", "compile", str(source), "--constraints", str(CONSTRAINTS), *_OPTIONS.split(), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def _write(path: Path, compiled: str, holds: str) -> None:
    entries = re.split(r"\n(?=\S)", compiled.strip())
    lines = [line for entry in entries for line in _with_bare_name(entry)]
    path.write_text(_HEADER.format(name=_name(path), holds=holds) + "\n".join(lines) + "\n")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _with_bare_name(entry: str) -> list[str]:
    """An entry and, if it names extras, the same without: older pips ask for the hashes of both."""
    bare = re.sub(r"^([\w.-]+)\[[^]]*\]", r"\1", entry)
    return [entry] if bare == entry else [bare, entry]


if __name__ == "__main__":
    main(*sys.argv[1:])
