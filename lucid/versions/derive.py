"""A version derived from another without training: a refresh that folds uploads in, an erasure."""

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from lucid.store.files import make_folder
from lucid.versions.files import TRAINED
from lucid.versions.version import Version

Writer = Callable[[Path], object]
"""Writes one file of a version into its folder."""


def derive(parent: Version, child: Version, *, changed: Mapping[str, Writer], kept: Collection[str]) -> None:
    """Give a version every file that a training leaves: those that are kept come from its parent as they are.

    What answers are read from is precomputed afterwards. Every file has to be named as changed or kept, so that one
    which is new is forgotten nowhere.
    """
    assert sorted([*changed, *kept]) == sorted(TRAINED), "each file is either changed or kept"
    make_folder(child.folder)
    for name in kept:
        shutil.copyfile(parent.folder / name, child.folder / name)
    for write in changed.values():
        write(child.folder)
