"""Import broken files by the thousand: each loads with counts that add up, or is refused with a documented error.

Run `python benchmarks/fuzz_import.py --seed 0 --count 20000`. Files are small CSV files to which up to four things
happened: bytes flipped, parts cut, quotes removed, columns swapped, encodings mixed, gzip truncated, and more. The
first violation is printed, its bytes are saved, and the exit code is 1. Which rows are good is not judged here.
"""

import argparse
import gzip
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import duckdb

from lucid.data.csv_load import REJECTS, ROWS, SHOWN_ERRORS, load_file, read_file_type
from lucid.errors import LucidError
from lucid.schema.batches import LoadedFile
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.workspace import Workspace

SECONDS_TO_HANG = 20.0
HUGE_CELL = 5_000_000
HUGE_EVERY = 400
"""One file in so many has a cell over the limit for a row: it takes a hundred times as long as the others."""

ENTITIES = '''id,type,name,metadata,media_url
u1,user,Ann,,
"v,1",video,"two
lines","{""genre"": [""Drama"", ""Crime""], ""year"": 1990}",https://example.org/a
v2,video,"say ""hi""","{""seen"": true}",
,user,no id,,
v4,video,,,
v3,video,名前,[1],ftp://example.org
'''
INTERACTIONS = """timestamp,type,source_id,extra,target_id,metadata
2024-03-01T12:00:00Z,saw,u1,x,v2,
1709287200.5,saw,u1,,v3,"{""stars"": 3}"
2024-03-01 10:00+02:00,liked,"u
2",,"v,1",
yesterday,saw,u1,,v2,
,saw,,,v2,
,saw,u1,,v4,
"""
PIECES = [
    *[b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\\", b"\t", b";", b"#", b"'", b"{", b"}", b"\x1a"],
    *[b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc3", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\x1f\x8b", b"1e400", b"{}"],
]


class Violation(Exception):
    """The import did something that the contract does not allow."""


# Mutations


def base_file(random: Random) -> bytes:
    """An entity or interaction file in one of the forms that are accepted."""
    text = random.choice([ENTITIES, INTERACTIONS])
    if random.random() < 0.3:
        text = text.replace("\n", "\r\n")
    return text.encode(random.choice(["utf-8", "utf-8", "utf-8-sig"]))


def flip_bytes(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut_part(random: Random, content: bytes) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return content[:start] + (content[end:] if random.random() < 0.7 else b"")


def remove_quotes(random: Random, content: bytes) -> bytes:
    return b"".join(b"" if sign == ord('"') and random.random() < 0.4 else bytes([sign]) for sign in content)


def insert_piece(random: Random, content: bytes) -> bytes:
    place = random.randint(0, len(content))
    return content[:place] + random.choice(PIECES) * random.choice([1, 1, 1, 2, 50]) + content[place:]


def replace_piece(random: Random, content: bytes) -> bytes:
    return content.replace(random.choice(PIECES), random.choice(PIECES), random.choice([1, 3, -1]))


def swap_columns(random: Random, content: bytes) -> bytes:
    """Two cells change places: in every line, or in the header alone."""
    lines = content.split(b"\n")
    first, second = random.randrange(5), random.randrange(5)
    for place in range(len(lines) if random.random() < 0.5 else 1):
        cells = lines[place].split(b",")
        if max(first, second) < len(cells):
            cells[first], cells[second] = cells[second], cells[first]
            lines[place] = b",".join(cells)
    return b"\n".join(lines)


def move_lines(random: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join(
        random.choices(lines, k=len(lines)) if random.random() < 0.5 else random.sample(lines, len(lines))
    )


def mix_encodings(random: Random, content: bytes) -> bytes:
    """The file from some place on, or as a whole, in another encoding."""
    start = random.choice([0, random.randint(0, len(content))])
    encoding = random.choice(["latin-1", "utf-16", "utf-16-be", "utf-7", "cp037"])
    return content[:start] + content[start:].decode("utf-8", "ignore").encode(encoding, "replace")


def pack(random: Random, content: bytes) -> bytes:
    """Gzip, at times truncated, damaged, or with something after its end."""
    packed = gzip.compress(content, mtime=0)
    cut = packed[: random.randint(0, len(packed))]
    return random.choice([packed, cut, flip_bytes(random, packed), packed + content, packed + packed])


MUTATIONS: list[Callable[[Random, bytes], bytes]] = [
    *[flip_bytes, cut_part, remove_quotes, insert_piece, replace_piece, swap_columns, move_lines, mix_encodings, pack],
]


def mutated_file(seed: int, number: int) -> bytes:
    """The bytes of one case, always the same for a seed and a number."""
    random = Random(f"{seed}/{number}")
    content = base_file(random)
    if number % HUGE_EVERY == HUGE_EVERY - 1:
        place = random.randint(0, len(content))
        content = content[:place] + random.choice([b"x", b'"', b"\n", b","]) * HUGE_CELL + content[place:]
        return content if random.random() < 0.5 else gzip.compress(content, mtime=0)
    for _ in range(random.randint(0, 4)):
        content = random.choice(MUTATIONS)(random, content)
    return content


# Checks


def check_load(settings: Settings, path: Path, folder: Path, tolerated: Collection[str] = ()) -> str:
    """Load one file alone; returns `loaded` or the code of its refusal, raises Violation for anything else.

    `tolerated` names exceptions that are known to come out and are counted for now.
    """
    try:
        loaded = load_file(settings, path, folder, "set_aside")
    except LucidError as error:
        return error.code
    except Exception as error:
        return _escaped("load_file", error, tolerated)
    check_stored(folder, loaded)
    return "loaded"


def _escaped(where: str, error: Exception, tolerated: Collection[str]) -> str:
    if type(error).__name__ not in tolerated:
        raise Violation(f"{where} raised {type(error).__name__}: {error}") from error
    return f"tolerated {type(error).__name__}"


def check_stored(folder: Path, loaded: LoadedFile) -> None:
    """The Parquet files hold what was counted, and nothing else lies in the folder."""
    required = ("id", "type") if loaded.file_type == "entities" else ("type", "source_id", "target_id")
    empty = " OR ".join(f"coalesce({name}, '') = '' OR contains({name}, chr(0))" for name in required)
    with duckdb.connect() as connection:
        rows, bad, reasons = connection.execute(
            f"SELECT count(*), count(*) FILTER ({empty}), count(reason) FROM read_parquet(?)", [str(folder / ROWS)]
        ).fetchone() or (0, 0, 0)
        rejects = connection.execute(
            'SELECT line, "column", code, message, value FROM read_parquet(?)', [str(folder / REJECTS)]
        ).fetchall()
    shown = [(error.line, error.column, error.code, error.message, error.value) for error in loaded.errors]
    if (loaded.loaded, loaded.rejected) != (rows, len(rejects)):
        raise Violation(f"counted {loaded.loaded} + {loaded.rejected}, stored {rows} + {len(rejects)}")
    if rows + len(rejects) == 0 or bad or reasons:
        raise Violation(f"of {rows} rows {bad} lack an id or type, {reasons} carry a reason; {len(rejects)} rejects")
    if shown != rejects[:SHOWN_ERRORS] or rejects != sorted(rejects, key=lambda reject: int(reject[0])):
        raise Violation(f"shown are {shown}, set aside are {rejects}")
    if any(line < 2 or not code or not message for line, _, code, message, _ in rejects):
        raise Violation(f"a reject without a line after the header, code or message: {rejects}")
    if {file.name for file in folder.iterdir()} != {ROWS, REJECTS}:
        raise Violation(f"left in the folder: {sorted(file.name for file in folder.iterdir())}")


def check_import(workspace: Workspace, path: Path, tolerated: Collection[str] = ()) -> str:
    """Import one file through the workspace and delete its batch: whole or not at all, and nothing stays behind."""
    home = workspace.settings.home
    try:
        (batch,) = workspace.import_files([path])
    except LucidError as error:
        check_empty(workspace)
        return error.code
    except Exception as error:
        check_empty(workspace)
        return _escaped("import_files", error, tolerated)
    if batch.status != "completed" or workspace.batches() != [batch]:
        raise Violation(f"returned {batch}, entered {workspace.batches()}")
    file_type = read_file_type(path, workspace.settings)
    count = batch.entity_count + batch.interaction_count
    check_stored(Home(home).batch(batch.batch_id), LoadedFile(file_type, count, batch.rejected_count, batch.errors))
    workspace.delete_batches([batch.batch_id])
    check_empty(workspace)
    return "loaded"


def check_empty(workspace: Workspace) -> None:
    """No batch is entered and no file but the catalog, and the mark of its last change, lies in the home."""
    home = Home(workspace.settings.home)
    kept = {home.catalog, home.batches_changed}
    left = [str(file) for file in home.path.rglob("*") if file.is_file() and file not in kept]
    if left or workspace.batches():
        raise Violation(f"left behind: {left}, {workspace.batches()}")


# The run


@contextmanager
def no_hang(path: Path) -> Iterator[None]:
    """End the process where one case takes too long; DuckDB cannot be interrupted from here in another way."""

    def end() -> None:
        print(f"violation: still busy after {SECONDS_TO_HANG:.0f} s; the file is {path}", flush=True)
        os._exit(1)

    timer = threading.Timer(SECONDS_TO_HANG, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def fuzz(seed: int, count: int, import_every: int, folder: Path, tolerated: Collection[str] = ()) -> Counter[str]:
    """Try `count` files; returns how many ended in which way. The file of a Violation is `folder / "case.csv"`."""
    settings = Settings(home=folder / "home")
    workspace, path, outcomes = Workspace(settings=settings), folder / "case.csv", Counter[str]()
    for number in range(count):
        path.write_bytes(mutated_file(seed, number))
        with no_hang(path):
            outcome = check_load(settings, path, folder / "loaded", tolerated)
            imported = check_import(workspace, path, tolerated) if number % import_every == 0 else outcome
        if imported != outcome:
            raise Violation(f"load_file: {outcome}, import_files: {imported}")
        outcomes[outcome] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--import-every", type=int, default=50, help="import every so many through a workspace too")
    parser.add_argument("--tolerate", nargs="*", default=[], help="exceptions to count for now, by name")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.count:,} files", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-import-"))
    try:
        outcomes = fuzz(arguments.seed, arguments.count, arguments.import_every, folder, arguments.tolerate)
    except Violation as violation:
        print(f"violation: {violation}\nthe file is {folder / 'case.csv'}")
        return 1
    for outcome, files in outcomes.most_common():
        print(f"{files:>8,} {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
