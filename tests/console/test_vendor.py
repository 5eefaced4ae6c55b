"""The files of others that pages load: those that the manifest names, as npm has them, with their licences."""

import hashlib
import json

from deploy.vendor import VENDOR, read_manifest
from lucid.api.console.pages import STATIC


def test_files_are_as_the_manifest_says() -> None:
    """Byte by byte, none more and none less, each well below a megabyte."""
    expected = {kept["as"]: kept["sha256"] for package in read_manifest() for kept in package["files"].values()}
    found = {path.name: path for path in VENDOR.iterdir() if path.name != "vendor.json"}

    assert expected == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    assert max(path.stat().st_size for path in found.values()) < 500_000
    assert VENDOR == STATIC.resolve() / "vendor"


def test_every_package_says_where_it_comes_from() -> None:
    """Its version, its licence with the text, and the integrity that npm gives."""
    for package in read_manifest():
        assert package["integrity"].startswith("sha512-")
        assert package["license"] in ("MIT", "0BSD")
        assert any("LICENSE" in path for path in package["files"]), package["name"]
    assert json.loads((VENDOR / "vendor.json").read_text()) == read_manifest()
