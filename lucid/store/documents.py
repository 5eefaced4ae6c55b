"""Small files of the home as they are read again, whatever a disk, a copy or a person did to them meanwhile.

Everything is written whole or not at all (`lucid.store.files`). What cannot be read all the same is one kind of error,
whether it is empty, cut off, not UTF-8, of another shape, a folder, or closed to us.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from lucid.errors import Damaged
from lucid.store.home import MODELS

Found = TypeVar("Found")

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What comes of reading a file that is no file, no UTF-8, no JSON, too deep, or of another shape than expected."""


def read_text(path: Path, understand: Callable[[str], Found], remedy: str) -> Found:
    """What a text file of the home says, as `understand` reads it.

    Raises FileNotFoundError where there is none, Damaged where it cannot be read or means nothing; its message ends
    with the remedy.
    """
    try:
        return understand(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"no file {below_home(path)}") from error
    except _UNREADABLE as error:
        raise damaged(path, _reason(error), remedy) from error


def read_json(path: Path, understand: Callable[[Any], Found], remedy: str) -> Found:
    """What a JSON file of the home says, in the same way."""
    return read_text(path, lambda text: understand(json.loads(text)), remedy)


def sealed(content: Mapping[str, Any]) -> str:
    """A list of files as text, with a checksum of itself: it vouches for everything else."""
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=1)


def unsealed(text: str) -> dict[str, Any]:
    """What was sealed; raises ValueError, or another error of wrong shape, where the text is not as it was written."""
    content: dict[str, Any] = json.loads(text)
    content.pop("seal")
    if text != sealed(content):
        raise ValueError("other bytes than were sealed")
    return content


def damaged(path: Path, reason: str, remedy: str) -> Damaged:
    """The error that tells of a damaged file; it names no folder above the home, as clients see it too."""
    return Damaged(f"{below_home(path)} cannot be read ({reason}): {remedy}")


def below_home(path: Path) -> str:
    """The end of a path that tells its owner where it is in the home."""
    of_model = [depth for depth in (4, 3) if path.parts[-depth : -depth + 1] == (MODELS,)]
    return "/".join(path.parts[-(of_model[0] if of_model else 2) :])


def set_aside(path: Path) -> Path:
    """Rename what cannot be read, so that it stands in nobody's way and is not lost; returns its new path."""
    names = (path.with_name(f"{path.name}.unreadable{number or ''}") for number in count())
    new = next(name for name in names if not os.path.lexists(name))
    path.rename(new)
    return new


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return "not JSON"
    return "not what Lucid writes there"
