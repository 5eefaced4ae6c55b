"""Uploads over real HTTP, with the API alone: what is refused while it comes in needs no flow."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import Api

LIMIT = 50_000_000
HEADER = b"id,type,name,metadata,media_url\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("uploads") / "home", LUCID_MAX_FILE_BYTES=str(LIMIT)).running() as api:
        yield api


def send(
    api: Api, body: bytes | Iterator[bytes], content_type: str = "multipart/form-data; boundary=b"
) -> httpx.Response:
    return api.own_client.post("/v1/recommender/data_batch", content=body, headers={"content-type": content_type})


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    file = f'; filename="{file_name}"' if file_name else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


def left(api: Api) -> list[Path]:
    return list((api.home / "uploads").glob("*"))


def test_a_file_over_the_limit_is_refused_and_never_in_memory(api: Api) -> None:
    """Ten times the limit is read in vain, with little memory; nothing of it stays."""
    row = b"u1,user,A,,\n" * 80_000

    def body() -> Iterator[bytes]:
        yield part("files", HEADER, "big.csv")[:-2]
        for _ in range(95):
            yield row
        yield b"\r\n--b--\r\n"

    before = api.process.memory_info().rss
    refused = send(api, body())

    assert (413, "too_big") == (refused.status_code, refused.json()["code"])
    assert "big.csv: larger than the limit of 50,000,000 bytes" in refused.json()["detail"]
    assert api.process.memory_info().rss - before < LIMIT
    assert [] == left(api)


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"id,type\n", "text/csv", "not multipart/form-data"),
        (b"--b--\r\n", "multipart/form-data", "not multipart/form-data with a boundary"),
        (b"nothing like a form", "multipart/form-data; boundary=b", "found: "),
        (part("files", HEADER, "a.csv"), "multipart/form-data; boundary=b", "ends before"),
        (part("tags", b"x") + b"--b--\r\n", "multipart/form-data; boundary=b", "send one or more"),
        (part("files", HEADER) + b"--b--\r\n", "multipart/form-data; boundary=b", "send files, not text"),
        (part("tags", b"x" * 200_000) + b"--b--\r\n", "multipart/form-data; boundary=b", "longer than"),
        (part("tags", b"\xff") + b"--b--\r\n", "multipart/form-data; boundary=b", "not UTF-8"),
        (part("files", b"", "a.csv") * 101 + b"--b--\r\n", "multipart/form-data; boundary=b", "more than 100"),
        (
            part("files", HEADER, "a.csv") + part("colour", b"red") + b"--b--\r\n",
            "multipart/form-data; boundary=b",
            "colour",
        ),
    ],
)
def test_what_is_no_upload_is_refused_with_a_sentence(api: Api, body: bytes, content_type: str, said: str) -> None:
    """Every body that is no form with files is a 422 that says what was found; nothing stays."""
    refused = send(api, body, content_type)

    assert (422, "invalid_request") == (refused.status_code, refused.json()["code"])
    assert said in refused.json()["detail"]
    assert [] == left(api)


def test_a_file_name_cannot_leave_its_folder(api: Api) -> None:
    """Of a path only the last part is used; the file is refused for its header under that name."""
    body = part("files", b"x,y\n1,2\n", "../../../etc/pass\\wd.csv") + b"--b--\r\n"

    refused = send(api, body)

    assert (422, "missing_column") == (refused.status_code, refused.json()["code"])
    assert refused.json()["detail"].startswith("wd.csv:")
    assert [] == left(api)
