"""Uploads over real HTTP, with the API alone: what is refused while it comes in needs no flow."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service import Api

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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"../../../etc/pass\\wd.csv", "wd.csv"),
        (b"..", "upload.csv"),
        (b"../", "upload.csv"),
        (b"...csv", "csv"),
        (b"..%2f..%2fx.csv", "%2f..%2fx.csv"),
        (b"%00.csv", "%00.csv"),
        (b"C:\\x.csv", "x.csv"),
        (b"\xff\xfe.csv", "\ufffd\ufffd.csv"),
        (b"\xed\xa0\x80.csv", "\ufffd\ufffd\ufffd.csv"),
        ("🙂 'a' = *?[b].csv".encode(), "🙂 'a' = *?[b].csv"),
        (b"a\tb.csv", "a_b.csv"),
        ("\u202ecsv.exe\u2028".encode(), "_csv.exe_"),
        (b"x" * 3000 + b".csv", "x" * 196 + ".csv"),
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_a_file_name_cannot_leave_its_folder(api: Api, given: bytes, kept: str) -> None:
    """Of a path only the last part is used, and of that what shows; under that name the file is refused."""
    body = part("files", b"x,y\n1,2\n", "NAME").replace(b"NAME", given) + b"--b--\r\n"

    refused = send(api, body)

    assert (422, "missing_column") == (refused.status_code, refused.json()["code"])
    assert f"{kept}: " == refused.json()["detail"][: len(kept) + 2]
    assert [] == left(api)
    assert {api.home, api.log} == set(api.home.parent.iterdir())


@pytest.mark.parametrize(
    "header",
    [
        b'Content-Disposition: form-data; name="files"; filename="a\0.csv"',
        b'Content-Disposition: form-data; name="files"; filename="a\rX: y"',
        b"Content-Disposition: form-data; name=\"files\"; filename*=UTF-8''..%2f..%2fx",
        b'Content-Disposition: form-data; name="fi\xff"',
        b"Content-Disposition: " + b"x" * 100_000,
        b"X: y\r\n" * 10_000,
        b"",
    ],
    ids=lambda header: ascii(header)[:70],
)
def test_a_strange_head_of_a_part_is_refused(api: Api, header: bytes) -> None:
    """As a form that is none, or one without files; nothing of it stays."""
    refused = send(api, b"--b\r\n" + header + b"\r\n\r\nx,y\n1,2\n\r\n--b--\r\n")

    assert 422 == refused.status_code, refused.text
    assert refused.json()["code"] in ("invalid_request", "missing_column")
    assert [] == left(api)
