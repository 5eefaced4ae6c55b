"""A PostgreSQL of one's own, from Debian's package: made in an empty folder, listening on this machine alone."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.service import free_port

_SYSTEM_USER = "nobody"
"""Who runs it where we are root, whom it refuses."""


def find_postgres() -> Path | None:
    """The folder of its programs; None where the package is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a new database, as Prefect takes it; it is gone afterwards."""
    programs = find_postgres()
    assert programs, "PostgreSQL is not installed; on Debian: apt-get install postgresql"
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        as_whom = {}
        if os.geteuid() == 0:
            as_whom = {"user": _SYSTEM_USER}
            shutil.chown(folder, _SYSTEM_USER)
        data, port = Path(folder) / "data", free_port()

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [programs / program, *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=folder,
                **as_whom,  # type: ignore[call-overload]
            )

        run("initdb", "--pgdata", str(data), "--username", "lucid", "--auth", "trust", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k {folder}"
        run("pg_ctl", "start", "--wait", "--pgdata", str(data), "--log", f"{folder}/log", "--options", options)
        try:
            yield f"postgresql+asyncpg://lucid@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", str(data))
