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
def postgres(user: str = "lucid", password: str | None = None, database: str = "postgres") -> Iterator[str]:
    """The address of a new database, as Prefect takes it, without the password; it is gone afterwards.

    Without a password everybody on this machine may come in.
    """
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
                env={**os.environ, "PGPASSWORD": password or ""},
                **as_whom,  # type: ignore[call-overload]
            )

        asked = ["--auth", "trust"]
        if password:
            asked = ["--auth", "scram-sha-256", "--pwfile", f"{folder}/password"]
            Path(f"{folder}/password").write_text(password)
        run("initdb", "--pgdata", str(data), "--username", user, "--no-sync", *asked)
        options = f"-h 127.0.0.1 -p {port} -k {folder}"
        run("pg_ctl", "start", "--wait", "--pgdata", str(data), "--log", f"{folder}/log", "--options", options)
        try:
            if database != "postgres":
                run("createdb", "--host", "127.0.0.1", "--port", str(port), "--username", user, database)
            yield f"postgresql+asyncpg://{user}@127.0.0.1:{port}/{database}"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", str(data))
