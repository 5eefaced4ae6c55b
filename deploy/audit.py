"""What is installed: does anybody know of a vulnerability in it, and under which licences is it? `make audit`

Exit codes: 0 all of it was checked and nothing is known against it, 1 a vulnerability is known, 2 not all of it could
be checked. Licences are listed in each case and change no exit code; those that ask for more than naming the authors
come first.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

CLEAN, VULNERABLE, UNCHECKED = 0, 1, 2
_SHOWN = 5
_PERMISSIVE = re.compile(
    r"(apache|mit\b|mit-0|bsd|0bsd|isc|psf|python software foundation|zlib|bsl-1\.0|cc0|unlicense|cnri-python"
    r"|public domain|hpnd)",
    re.IGNORECASE,
)
_ALTERNATIVE, _TOGETHER = re.compile(r"\s+OR\s+"), re.compile(r"\s+AND\s+|;\s*")


class Licence(NamedTuple):
    """A package and the licence that it says it has."""

    package: str
    version: str
    text: str


def main(tools: str) -> int:
    """Print what is known of the packages of this interpreter's environment; `tools` is where the programs lie."""
    found = check(Path(tools))
    licences = read_licences(Path(tools))
    asking = [licence for licence in licences if not is_permissive(licence.text)]
    print(f"\n{len(licences)} licences; these {len(asking)} ask for more than naming the authors, or are unknown:")
    print("\n".join(f"  ! {licence.package} {licence.version}: {licence.text}" for licence in asking))
    print("and these do not:")
    print("\n".join(f"    {one.package} {one.version}: {one.text}" for one in licences if one not in asking))
    return found


def check(tools: Path) -> int:
    """Ask for known vulnerabilities and say what came of it; returns the exit code."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(installed()))
        file.flush()
        command = [
            "pip-audit",
            "-r",
            file.name,
            "--no-deps",
            "--disable-pip",
            "--format=json",
            "--progress-spinner=off",
        ]
        ended = subprocess.run([tools / command[0], *command[1:]], capture_output=True, text=True)
    try:
        packages = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (ended.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"NOT CHECKED for vulnerabilities: the service that knows them did not answer ({last[:200]})")
        return UNCHECKED
    return tell(packages)


def installed() -> list[str]:
    """Pins of what is installed besides Lucid; reports speak of releases, so the label of a local build is left out."""
    pins = {f"{one.metadata['Name']}=={one.version.partition('+')[0]}" for one in distributions()}
    return sorted((pin for pin in pins if not pin.startswith("lucid-recommender==")), key=str.lower)


def tell(packages: Sequence[dict[str, Any]]) -> int:
    """Print what is known of packages, as pip-audit reports them; returns the exit code."""
    known = [(package, one) for package in packages for one in package.get("vulns", ())]
    for package, one in known:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"VULNERABLE: {package['name']} {package['version']}, {one['id']}; fixed in {fixed}")
    unchecked = [package["name"] for package in packages if "skip_reason" in package]
    checked = len(packages) - len(unchecked)
    if unchecked:
        names = ", ".join(unchecked[:_SHOWN]) + (" and others" if len(unchecked) > _SHOWN else "")
        print(
            f"NOT CHECKED for vulnerabilities: {len(unchecked)} of {len(packages)} packages ({names}); nothing answered"
        )
    if checked:
        print(f"{checked} packages checked, {len(known)} known vulnerabilities")
    return VULNERABLE if known else UNCHECKED if unchecked or not checked else CLEAN


def read_licences(tools: Path) -> list[Licence]:
    """The licences of what is installed, by package."""
    command = [
        str(tools / "pip-licenses"),
        "--python",
        sys.executable,
        "--from=mixed",
        "--format=json",
        "--with-system",
    ]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return sorted(Licence(row["Name"], row["Version"], row["License"]) for row in rows)


def is_permissive(text: str) -> bool:
    """Whether a licence asks for no more than to name its authors; of alternatives one is enough."""
    parts = _TOGETHER.split(text.replace("(", " ").replace(")", " "))
    return all(any(_PERMISSIVE.match(choice.strip()) for choice in _ALTERNATIVE.split(part)) for part in parts)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
