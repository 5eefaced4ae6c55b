"""Memory of this process and what the machine leaves to it; control groups, as containers have them, count."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_VERSION_1, _VERSION_2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
_NO_LIMIT = 1 << 60
"""What version 1 of control groups says where there is none, and more."""


def available_bytes(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """How much more memory this process can have: what the machine has free or could free, or its control groups."""
    return min([psutil.virtual_memory().available, *_left_in_cgroups(cgroups, own)])


def in_words(count: int) -> str:
    """Bytes for people: `3.2 GB`, `450 MB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 999.5e6 else f"{count / 1e6:.0f} MB"


def used_bytes(pid: int | None = None) -> int:
    """Memory that a process holds, by default this one; 0 where there is no such process any more."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class Peak:
    """The most memory that this process has held since it was asked to begin; zero where the system does not tell."""

    def __init__(self) -> None:
        with suppress(OSError):  # without the right to, the peak counts from the start of the process
            Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        except OSError:
            return 0
        return int(found[1]) * 1024 if found else 0


def _left_in_cgroups(root: Path, own: Path) -> Iterator[int]:
    """What each control group above this process still gives; caches that the system can drop count as free."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            base = root / "memory" if controllers else root
            names = _VERSION_1 if controllers else _VERSION_2
            folder = base / path.strip("/")
            for group in (folder, *folder.parents):
                if not group.is_relative_to(base):
                    break
                limit, used = (_number(group / name) for name in names)
                if limit is not None and limit < _NO_LIMIT:
                    yield max(0, limit - max(0, (used or 0) - _droppable(group / "memory.stat")))


def _number(file: Path) -> int | None:
    """The number in a file; None where it is missing or says that there is no limit."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _droppable(stat: Path) -> int:
    try:
        found = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))
