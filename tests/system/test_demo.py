"""The demo, which is the first that a newcomer starts."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.checkerboard import write_checkerboard


def test_the_demo_ends_what_it_started_also_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """As in a script that starts it in the background."""
    for file in write_checkerboard(tmp_path):
        file.with_suffix(".csv.gz").write_bytes(gzip.compress(file.read_bytes()))
    demo = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "lucid", "demo", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert 0 == demo.returncode, demo.stdout + demo.stderr
    assert "signature verified" in demo.stdout
    # In a file too it says where it is, and what it waits for.
    lines = demo.stdout.splitlines()
    waits = ("Starting the service", "Starting Prefect", "Uploading entities.csv.gz and", "Training:", "Stopping the")
    assert sorted(waits, key=lambda wait: [line.startswith(wait) for line in lines].index(True)) == [*waits]
    training = [line for line in lines if line.startswith("Training:")]
    assert 3 <= len(training) <= 20
    assert training[-1].split() == ["Training:", "100%", "finished"]
    assert [] == list(tmp_path.glob("lucid-demo-*"))
    assert [] == [
        process for process in psutil.process_iter(["cmdline", "environ"]) if str(tmp_path) in str(process.info)
    ]
