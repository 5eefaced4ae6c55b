"""Lock what an installation needs, with the hashes of all its wheels: `make lock`.

Versions are those of `constraints.txt`. Two files come out, for Python 3.11 on Linux x86_64: `requirements.lock` holds
all but torch, `torch.lock` torch as the package index has it, with the CUDA packages that it asks for. Torch built
for the CPU alone comes from another index and has other hashes, so it is in neither.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS, LOCK, TORCH_LOCK = (
    ROOT / "constraints.txt",
    ROOT / "deploy" / "requirements.lock",
    ROOT / "deploy" / "torch.lock",
)
_OPTIONS = (
    "--generate-hashes --no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links "
    "--no-emit-build-options --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28 --quiet"
)
_HEADER = """# Made by `make lock`; install with: pip install --require-hashes -r {name}
# Python 3.11 on Linux x86_64. {holds}
"""


def main(uv: str) -> None:
    """Write both files; raises CalledProcessError where the index does not answer or the versions do not fit."""
    with tempfile.TemporaryDirectory() as folder:
        without = Path(folder) / "without.txt"
        without.write_text("torch ; sys_platform == 'none'\n")
        rest = _compile(uv, ROOT / "pyproject.toml", "--override", str(without))
        only = Path(folder) / "torch.in"
        only.write_text(f"torch=={pins(CONSTRAINTS.read_text())['torch']}\n")
        torch = _compile(uv, only)
    _write(LOCK, rest, "Everything but torch.")
    _write(TORCH_LOCK, torch, "Torch with CUDA, several GB; on a machine without a GPU install its CPU build instead.")


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
    path.write_text(_HEADER.format(name=path.relative_to(ROOT), holds=holds) + "\n".join(lines) + "\n")


def _with_bare_name(entry: str) -> list[str]:
    """An entry and, if it names extras, the same without: older pips ask for the hashes of both."""
    bare = re.sub(r"^([\w.-]+)\[[^]]*\]", r"\1", entry)
    return [entry] if bare == entry else [bare, entry]


if __name__ == "__main__":
    main(*sys.argv[1:])
