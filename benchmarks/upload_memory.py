"""Upload one file of nearly a gigabyte to the real service and watch the memory of the API's process.

Prints the most memory that the API held more than before, next to the size of the file, and the speed of the whole call
(upload and import) next to a plain copy of the same bytes in the same run.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.service import Service

SIZE = 990_000_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write_file(Path(folder) / "interactions.csv")
        began = time.perf_counter()
        shutil.copyfile(file, file.with_suffix(".copy"))
        copying = time.perf_counter() - began
        service = Service(Path(folder) / "home")
        service.start()
        try:
            api = find_api(service.process.pid)
            before = api.memory_info().rss
            with watching(api) as most, service.client(service.first_key()) as client, file.open("rb") as content:
                began = time.perf_counter()
                form = {"files": (file.name, content)}
                answer = client.post("/data_batch", files=form, data={"wait_seconds": "300"}, timeout=300)
                seconds = time.perf_counter() - began
        finally:
            service.stop()
    (batch,) = answer.raise_for_status().json()
    more = most[0] - before
    print(f"{batch['interaction_count']:,} rows, {SIZE / 1e6:,.0f} MB: uploaded and imported in {seconds:.1f} s")
    print(f"a copy of the same file: {copying:.1f} s, ratio {seconds / copying:.1f}")
    print(f"the API held at most {more / 1e6:,.0f} MB more than before, {more / SIZE:.1%} of the file")


def write_file(path: Path) -> Path:
    """About nine million rows."""
    metadata = '"{""device"": ""a phone"", ""list"": ""home page"", ""place"": 7, ""campaign"": ""spring""}"'
    block = "".join(f"watch,user_{row % 9973},video_{row % 4999},1767225600,{metadata}\n" for row in range(100_000))
    with path.open("w") as file:
        file.write("type,source_id,target_id,timestamp,metadata\n")
        while file.tell() + len(block) < SIZE:
            file.write(block)
    return path


def find_api(service: int) -> psutil.Process:
    children = psutil.Process(service).children(recursive=True)
    (api,) = [child for child in children if any("lucid.api.app" in part for part in child.cmdline())]
    return api


@contextmanager
def watching(process: psutil.Process) -> Iterator[list[int]]:
    """The most memory that a process held, in bytes, as the only entry of the list."""
    most, ended = [process.memory_info().rss], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    yield most
    ended.set()
    thread.join()


if __name__ == "__main__":
    main()
