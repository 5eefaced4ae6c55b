"""Broken files: a short run of the fuzzer in benchmarks/."""

from pathlib import Path

from benchmarks.fuzz_import import fuzz

FILES = 200


def test_broken_files_load_whole_or_are_refused(tmp_path: Path) -> None:
    """Whatever happened to a file, its rows are all counted or it is refused with a documented error."""
    outcomes = fuzz(seed=0, count=FILES, import_every=20, folder=tmp_path, tolerated=())

    assert FILES == outcomes.total()
    assert {"loaded", "missing_column", "not_utf8"} <= set(outcomes)
