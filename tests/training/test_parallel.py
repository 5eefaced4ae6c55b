"""Many processes on one home at once: nobody fails for a lock that another holds."""

import os
import subprocess
import sys
from pathlib import Path

from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard

IMPORTS, READS = 8, 5


def test_imports_trainings_and_a_reader_run_side_by_side(tmp_path: Path) -> None:
    """Eight imports, two trainings and a reader in parallel all succeed, and every batch is there afterwards."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    files = [tmp_path / f"more-{number}.csv" for number in range(IMPORTS)]
    for number, file in enumerate(files):
        rows = "".join(f"x{number}-{row},extra,,,\n" for row in range(2000))
        file.write_text("id,type,name,metadata,media_url\n" + rows)
    commands = [
        *(["import", str(file)] for file in files),
        ["train", "--model-id", "one"],
        ["train", "--model-id", "two"],
        *[["recommend", "--model-id", "board", "--source-type", "user", "--target-type", "item"]] * READS,
    ]

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "lucid", *command],
            env={**os.environ, "LUCID_HOME": str(workspace.settings.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    ended = [(process.communicate()[1], process.returncode) for process in running]

    assert [("", 0)] * len(commands) == ended
    assert [2000] * IMPORTS == [batch.entity_count for batch in workspace.batches()[2:]]
    assert ["completed"] * 2 == [workspace.status(model).status for model in ("one", "two")]
