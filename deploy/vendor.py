"""The files of others that the console's pages load, exactly as npm has them: `make vendor` fetches them anew.

`vendor.json` beside them says of each package its version, its licence, the integrity that npm's registry gives for it,
and which of its files are kept, each with its SHA-256. To take another version: change that there, run `make vendor`,
and it says what the integrity and the checksums are where they are not as they stand.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parent.parent / "api" / "console" / "static" / "vendor"
MANIFEST = VENDOR / "vendor.json"


def main() -> int:
    """Fetch all packages; returns 1 where one is not as the manifest says."""
    wrong = [line for package in read_manifest() for line in fetch(package)]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def read_manifest() -> list[dict[str, Any]]:
    """The packages of the manifest."""
    packages: list[dict[str, Any]] = json.loads(MANIFEST.read_text())
    return packages


def fetch(package: dict[str, Any]) -> Iterator[str]:
    """Fetch a package and keep its files; tells what is not as the manifest says, and keeps nothing of it then."""
    name = f"{package['name']}@{package['version']}"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", name, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}"
        if integrity != package["integrity"]:
            yield f"{name}: its integrity is {integrity}, the manifest says {package['integrity']}"
            return
        with tarfile.open(archive) as held:
            for path, kept in package["files"].items():
                member = held.extractfile(f"package/{path}")
                assert member is not None, path
                content = member.read()
                digest = hashlib.sha256(content).hexdigest()
                if digest == kept["sha256"]:
                    (VENDOR / kept["as"]).write_bytes(content)
                else:
                    yield f"{name}: {path} has the SHA-256 {digest}, the manifest says {kept['sha256']}"


if __name__ == "__main__":
    sys.exit(main())
