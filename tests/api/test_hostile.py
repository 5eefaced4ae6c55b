"""Requests that no customer would send, over real HTTP: refused as documented, and nothing else comes of them."""

import csv
import gzip
import io
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.api.requests import MAX_BODY_BYTES, MAX_NAMES
from lucid.workspace import Workspace
from tests.support.hostile import IDS, LONG
from tests.support.service import Api

ITEMS = f"{BASE}/recommended_items"
TEXTS = (
    *("..", "../", "../../../../tmp/x", "..%2f", "a%2fb", "%00", "\0", "a\0b", LONG, "🙂", "\n", '"', "'", ",", "a,b"),
    *("x\r\nSet-Cookie: a=b", "\u2028", "\ud800", "a\udfffb"),
)
HEADERS = set(
    "date server content-length content-type allow www-authenticate x-content-type-options connection".split()
)
"""All that the answer to a refused request may have in its head."""


@pytest.fixture(scope="module")
def home(trained_hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In folders deep enough that a path which leaves the home a few times stays in ours."""
    return Path(shutil.copytree(trained_hostile, tmp_path_factory.mktemp("hostile") / "a" / "b" / "c" / "home"))


@pytest.fixture(scope="module")
def batch(home: Path) -> str:
    """A batch whose bad cells start as formulas do, or hold what CSV must quote."""
    values = ("=1+1", "+1", "-1", "@x", "\t=1", 'a "quote"', "two\nlines", "\r\nSet-Cookie: a=b", "com,ma", "🙂")
    file = home.parent / "bad.csv"
    with file.open("w", encoding="utf-8", newline="") as target:
        rows = [(f"e{number}", "thing", "", value, "") for number, value in enumerate(values)]
        good = ("fine", "thing", "", "", "")
        csv.writer(target).writerows([("id", "type", "name", "metadata", "media_url"), *rows, good])
    (imported,) = Workspace(home).import_files(file)
    assert len(values) == imported.rejected_count
    return imported.batch_id


@pytest.fixture(scope="module")
def api(home: Path, batch: str) -> Iterator[Api]:
    with Api(home).running() as api:
        api.own_client.get(f"{ITEMS}?model_id=board&source_id=u01&target_type=item").raise_for_status()
        yield api


CHOSEN = {
    "pin": ("PUT", "DELETE"),
    "gate": ("GET", "PUT", "DELETE"),
    "compare": ("GET",),
    "versions/1/promote": ("POST",),
    "versions/1/reject": ("POST",),
}
"""What lets people choose the version of a model that answers."""


def files(api: Api) -> set[Path]:
    return set(api.home.parents[2].rglob("*"))


def refused(response: httpx.Response) -> dict[str, Any]:
    """The problem of an answer that repeats nothing in its head."""
    problem: dict[str, Any] = response.json()
    assert "application/problem+json" == response.headers["content-type"]
    assert response.status_code == problem["status"] < 500, problem
    assert set(response.headers) <= HEADERS
    return problem


def escaped(text: str) -> str:
    """For a URL, halves of characters as bytes that are no UTF-8."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def asked(api: Api, method: str, path: str) -> httpx.Response:
    """Ask without the tidying that clients do to paths."""
    return api.own_client.request(method, httpx.URL(api.base).copy_with(raw_path=path.encode()))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/{}"),
        ("DELETE", "/models/{}"),
        ("POST", "/models/{}/rollback"),
        ("POST", "/models/{}/cancel"),
        ("POST", "/models/{}/refresh"),
        ("GET", "/models/{}/refresh"),
        ("GET", "/models/{}/deliveries"),
        ("POST", "/models/board/deliveries/{}/resend"),
        ("GET", "/models/{}/versions/1/lineage"),
        ("GET", "/models/board/versions/{}/lineage"),
        *((method, f"/models/{{}}/{what}") for what, methods in CHOSEN.items() for method in methods),
        ("GET", "/models/board/compare?a={}"),
        ("GET", "/models/board/compare?b={}"),
        ("POST", "/models/board/versions/{}/promote"),
        ("POST", "/models/board/versions/{}/reject"),
        ("GET", "/models/{}/versions/1/report"),
        ("GET", "/models/board/versions/{}/report"),
        ("GET", "/models/{}/versions/1/report/held_out"),
        ("GET", "/models/board/versions/{}/report/held_out"),
        ("GET", "/models/{}/auto_train"),
        ("PUT", "/models/{}/auto_train"),
        ("DELETE", "/models/{}/auto_train"),
        ("GET", "/models/{}/attribution"),
        ("GET", "/models/board/attribution?from={}"),
        ("GET", "/models/board/attribution?by=z{}"),
        ("GET", "/experiments/{}"),
        ("DELETE", "/experiments/{}"),
        ("POST", "/experiments/{}/stop"),
        ("GET", "/data_batch/{}/errors"),
        ("GET", "/status?model_id={}"),
        ("GET", "/recommended_items?model_id={}&source_id=u01&target_type=item"),
        ("GET", "/recommended_items?model_id=board&source_id=z{}&target_type=item&version={}"),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=z{}"),
        ("GET", "/recommended_items?model_id=board&source_type=z{}&target_type=item"),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=item&output_format={}"),
        ("GET", "/recommended_items?model_id=board&target_type=z{}&use=trending"),
        ("GET", "/recommended_items?model_id=board&target_type=item&use=popular&window_days={}"),
        ("GET", "/recommended_items?model_id=board&target_type=item&source_id=u01&fallback={}"),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=item&experiment=z{}"),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=item&recommendation_id=z{}"),
        ("GET", "/data_batch?batch_id=z{}"),
        ("PATCH", "/data_batch?batch_id=z{}"),
        ("DELETE", "/data_batch?batch_id=z{}"),
        ("DELETE", "/entities?id={}&wait_seconds={}"),
        ("GET", "/placements/{}"),
        ("GET", "/placements/{}/versions"),
        ("DELETE", "/placements/{}"),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=item&placement={}"),
    ],
)
def test_text_in_a_url_is_refused(api: Api, method: str, path: str, text: str) -> None:
    """404, 405 or 422, whether it is escaped once more or not; no file comes or goes."""
    before = files(api)
    plain = text if text.isprintable() and text.isascii() and "/" not in text else escaped(text)

    for given in (escaped(text), plain.replace('"', "%22")):
        problem = refused(asked(api, method, BASE + path.replace("{}", given)))
        assert problem["status"] in (404, 405, 422)
    assert before == files(api)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/train", {"model_id": ["{}"]}),
        ("POST", "/train", {"model_id": "a/{}"}),
        ("POST", "/train", {"callback_url": "{}"}),
        ("POST", "/train", {"data_tags": ["{}", ""]}),
        ("POST", "/train", {"{}": 1}),
        ("POST", "/train", {"metadata_rules": {"{}": "{}"}}),
        ("POST", "/train", {"precompute": [{"source_type": "{}"}]}),
        ("POST", "/train", {"data_filters": {"entities": [{"field": "{}", "op": "eq", "value": "{}"}]}}),
        ("POST", "/models/board/rollback", {"version": "{}"}),
        ("PUT", "/models/board/pin", {"version": "{}"}),
        ("PUT", "/models/board/gate", {"min_overlap": "{}"}),
        ("PUT", "/models/board/gate", {"{}": 1}),
        ("POST", "/models/board/versions/1/reject", {"reason": {"{}": "{}"}}),
        ("PUT", "/models/board/auto_train", {"quiet_seconds": "{}"}),
        ("PUT", "/models/board/auto_train", {"{}": 1}),
        ("PATCH", "/data_batch?batch_id=none", {"tags": ["{}"]}),
        ("POST", "/placements", {"name": "/{}"}),
        ("POST", "/placements", {"name": "a", "{}": 1}),
        ("POST", "/placements", {"name": "a", "boost": [{"when": [{"field": "{}", "op": "eq", "value": "x"}]}]}),
        ("POST", "/placements", {"name": "a", "fresh": {"by": "{}", "half_life_days": 1}}),
        ("POST", "/placements?model_id=board", {"name": "a", "quotas": [{"each": "{}", "at_most": 1, "of": 2}]}),
        ("POST", "/placements/preview", {"model_id": "board", "source_id": "u01", "target_type": "item", "a": "/{}"}),
        ("POST", "/placements/preview", {"model_id": "board", "source_id": "z{}", "target_type": "item"}),
        ("POST", "/experiments", {"name": "/{}", "model_id": "board", "variants": []}),
        ("POST", "/experiments", {"name": "x", "model_id": "z{}", "variants": [{"name": "{}", "share": 1}]}),
        ("POST", "/experiments", {"name": "x", "model_id": "board", "variants": [{"{}": "{}"}]}),
        ("POST", "/recommended_items", {"model_id": "/{}", "source_id": "u01", "target_type": "item"}),
        ("POST", "/recommended_items", {"model_id": "board", "source_id": "z{}", "target_type": "item"}),
        ("POST", "/recommended_items", {"model_id": "board", "source_type": "z{}", "target_type": "item"}),
        ("POST", "/recommended_items", {"model_id": "board", "source_id": "u01", "target_type": ["item", "z{}"]}),
        ("POST", "/recommended_items", {"model_id": "board", "target_type": ["item", "z{}"], "use": "trending"}),
        ("POST", "/recommended_items", {"model_id": "board", "target_type": "item", "half_life_days": "{}"}),
    ],
)
def test_text_in_a_body_is_refused(api: Api, method: str, path: str, body: dict[str, Any], text: str) -> None:
    """404 or 422, halves of characters too, which no JSON may hold; no file comes or goes."""
    before = files(api)
    content = json.dumps(body).replace("{}", json.dumps(text)[1:-1])

    response = api.own_client.request(
        method, BASE + path, content=content, headers={"content-type": "application/json"}
    )

    assert refused(response)["status"] in (404, 422)
    assert before == files(api)


@pytest.mark.parametrize(
    "text",
    [text for text in TEXTS if text not in ("🙂", '"', "'", "..", "../", "..%2f", "a%2fb", "%00", "../../../../tmp/x")],
    ids=ascii,
)
def test_text_that_is_no_tag_is_refused(api: Api, batch: str, text: str) -> None:
    """A batch keeps the tags that it has."""
    tags = json.dumps({"tags": [text]})

    response = api.own_client.patch(
        f"{BASE}/data_batch?batch_id={batch}", content=tags, headers={"content-type": "application/json"}
    )

    assert (422, "invalid_request") == (response.status_code, refused(response)["code"])
    assert [] == api.own_client.get(f"{BASE}/data_batch?batch_id={batch}").json()[0]["tags"]


@pytest.mark.parametrize("source", IDS, ids=lambda text: ascii(text[:20]))
def test_an_entity_with_such_an_id_is_answered(api: Api, source: str) -> None:
    """In JSON and in CSV, asked by body or query, byte for byte, with all of its name."""
    body: dict[str, Any] = {"model_id": "board", "source_id": source, "target_type": ["user", "item"]}
    body["exclude_interacted"] = False

    as_json, as_csv = (
        api.own_client.post(ITEMS, json={**body, "output_format": form}).raise_for_status() for form in ("json", "csv")
    )

    rows = as_json.json()["recommendations"]
    assert {source} == {row["source_id"] for row in rows}
    assert set(IDS) - {source} <= {row["target_id"] for row in rows}
    assert all(row["name"] == f"={row['target_id']}" for row in rows if row["target_id"] in IDS)
    texts = [{name: str(value) for name, value in row.items()} for row in rows]
    assert texts == list(csv.DictReader(io.StringIO(as_csv.content.decode(), newline="")))
    if source == source.strip() and "," not in source:  # the query separates by commas and forgives spaces
        assert as_json.text == api.own_client.get(ITEMS, params=body).text


def test_set_aside_cells_are_given_as_they_were(api: Api, home: Path, batch: str) -> None:
    """Exact, quoted as CSV needs, as a file to save: what a spreadsheet makes of it is up to whoever opens it there."""
    answer = api.own_client.get(f"{BASE}/data_batch/{batch}/errors").raise_for_status()

    expected = [row.value for block in Workspace(home).rejected_rows(batch) for row in block]
    assert expected == [row["value"] for row in csv.DictReader(io.StringIO(answer.content.decode(), newline=""))]
    assert "text/csv; charset=utf-8" == answer.headers["content-type"]
    assert f'attachment; filename="rejected-{batch}.csv"' == answer.headers["content-disposition"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "set-cookie" not in answer.headers


def test_an_empty_list_of_batches_names_none(api: Api, batch: str) -> None:
    """A forgotten value does not make a call mean all that carry the tag."""
    api.own_client.patch(f"{BASE}/data_batch?batch_id={batch}", json={"tags": ["kept"]}).raise_for_status()

    for empty in ("", ",", "%20"):
        for method in ("DELETE", "PATCH"):
            response = api.own_client.request(
                method, f"{BASE}/data_batch?tags=kept&batch_id={empty}", json={"tags": ["changed"]}
            )
            assert [] == response.raise_for_status().json()
    assert batch == api.own_client.get(f"{BASE}/data_batch?tags=kept").json()[0]["batch_id"]
    api.own_client.patch(f"{BASE}/data_batch?batch_id={batch}", json={"tags": []}).raise_for_status()


KNOWN = b'{"model_id": "board", "source_id": "u01", "target_type": "item"'


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"[" * 100_000, {}, 422, "not JSON"),
        (b'{"a":' * 100_000, {}, 422, "not JSON"),
        (KNOWN + b', "threshold": NaN}', {}, 422, "not JSON at position "),
        (KNOWN + b', "threshold": 1e999}', {}, 422, "not JSON"),
        (KNOWN + b', "threshold": -1e308}', {}, 422, "threshold: "),
        (KNOWN + b', "version": ' + b"9" * 5000 + b"}", {}, 422, "not JSON"),
        (KNOWN + b', "version": ' + b"9" * 300 + b"}", {}, 422, "version: "),
        (KNOWN + b', "max_recommendations": 2147483648}', {}, 422, "max_recommendations: "),
        (KNOWN + b', "\\ud800": 1}', {}, 422, "not JSON"),
        (KNOWN + b"}", {"content-type": "text/plain"}, 422, "as JSON with the content type"),
        (KNOWN + b"}", {"content-type": "application/x-www-form-urlencoded"}, 422, "as JSON with the content type"),
        (KNOWN + b"}", {"content-type": "\x7f;;=\xff"}, 422, "as JSON with the content type"),
        (gzip.compress(KNOWN + b"}", mtime=0), {"content-encoding": "gzip"}, 422, "not JSON"),
        ((KNOWN + b"}").decode().encode("utf-16"), {}, 422, "not JSON"),
        (b'{"a": "\xed\xa0\x80"}', {}, 422, "not JSON"),
        (b"", {}, 422, "missing"),
        (b"null", {}, 422, "missing"),
        (KNOWN + b"} {}", {}, 422, "not JSON"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_body_that_is_not_what_it_should_be_is_refused(
    api: Api, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    """One problem that says what was found, whatever the body is made of."""
    sent = {"content-type": "application/json", **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]

    problem = refused(api.own_client.post(ITEMS, content=body, headers=raw))

    assert (status, "invalid_request") == (problem["status"], problem["code"])
    assert said in problem["detail"]


def test_of_a_name_that_stands_twice_the_last_value_counts(api: Api) -> None:
    """As in most readers of JSON; and a byte order mark, which some writers put first, does no harm."""
    body = b"\xef\xbb\xbf" + KNOWN + b', "source_id": "u02"}'

    answer = api.own_client.post(ITEMS, content=body, headers={"content-type": "application/json"}).json()

    assert {"u02"} == {row["source_id"] for row in answer["recommendations"]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/recommended_items", KNOWN + b', "source_id": [' + b"{}," * 2_000_000 + b"{}]}"),
        ("POST", "/recommended_items", b"{" + b",".join(b'"%x":0' % name for name in range(500_000)) + b"}"),
        ("POST", "/train", b'{"metadata_rules": {' + b",".join(b'"%x":0' % name for name in range(500_000)) + b"}}"),
        ("POST", "/train", b'{"data_filters": {"entities": [' + b"{}," * 2_000_000 + b"{}]}}"),
        ("POST", "/train", b'{"precompute": [' + b"0," * 2_000_000 + b"0]}"),
        ("PATCH", "/data_batch?tags=x", b'{"tags": [' + b"0," * 2_000_000 + b"0]}"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_millions_of_mistakes_cost_no_more_than_some(api: Api, method: str, path: str, body: bytes) -> None:
    """A refusal names a few of them, is short, and comes soon; with a cost for each the client would give up."""
    response = api.own_client.request(method, BASE + path, content=body, headers={"content-type": "application/json"})

    assert (422, "invalid_request") == (response.status_code, refused(response)["code"])
    assert len(response.content) < 10_000


def test_the_mistakes_that_are_not_named_are_counted(api: Api) -> None:
    """Twenty are named; far more names than any call has are refused as a whole, in a query too."""
    body = {"model_id": "board", "source_id": "u01", "target_type": "item"}
    some = refused(api.own_client.post(ITEMS, json={**body, **{f"k{name}": 0 for name in range(50)}}))
    many = refused(api.own_client.post(ITEMS, json={f"k{name}": 0 for name in range(MAX_NAMES + 1)}))
    asked = refused(api.own_client.get(f"{ITEMS}?" + "&".join(f"k{name}=0" for name in range(5000))))

    assert 20 == len(some["errors"])
    assert some["detail"].endswith("; and 30 more")
    assert "the body has more than 20,000 names of values" == many["detail"]
    assert "the query has more than 100 names of parameters" == asked["detail"]


def spoken(api: Api, line: str, *headers: str, body: bytes = b"") -> tuple[bytes, bytes]:
    """Head and body of what comes back, until the service ends the connection."""
    with api.connect(api.head(line, *headers, "Connection: close") + body) as connection:
        return answered(connection)


def answered(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of what comes until the service ends the connection."""
    received = b""
    with suppress(ConnectionError):  # what is still on its way to a service that has answered is lost
        while piece := connection.recv(100_000):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def test_a_large_body_is_refused_before_it_is_sent(api: Api) -> None:
    """By what it says of its length at once, and without that as soon as it is over the limit."""
    json_type = "Content-Type: application/json"
    announced, _ = spoken(api, f"POST {ITEMS}", json_type, f"Content-Length: {MAX_BODY_BYTES + 1}")
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    chunked, body = spoken(api, f"POST {ITEMS}", json_type, "Transfer-Encoding: chunked", body=piece * 10)

    assert announced.startswith(b"HTTP/1.1 413")
    assert chunked.startswith(b"HTTP/1.1 413")
    assert "too_big" == json.loads(body)["code"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 65_600,
        b"GET /" + b"x" * 65_600,
        b"GET /health HTTP/1.1\r\nHost: test\r\n" + b"X: x\r\n" * 11_000,
        b"GET /health HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: test\r\n\r\n".encode(),
        b"POST /health HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
    ids=lambda sent: ascii(sent[:60]),
)
def test_what_is_no_http_is_a_problem_too(api: Api, sent: bytes) -> None:
    """400 and the end of the connection."""
    with api.connect(sent) as connection:
        head, body = answered(connection)

    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"connection: close" in head
    assert ("not_http", 400) == (json.loads(body)["code"], json.loads(body)["status"])


def test_a_body_that_breaks_after_the_answer_ends_the_connection(api: Api) -> None:
    """There is no second answer, and no fault of ours in the log."""
    with api.connect(api.head(f"POST {BASE}/nowhere", "Transfer-Encoding: chunked")) as connection:
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(10_000)
        connection.sendall(b"nonsense\r\n")
        assert b"" == connection.recv(10_000)

    chunked = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    broken, _ = spoken(api, f"POST {ITEMS}", *chunked, body=b"zz\r\n")
    assert broken.startswith(b"HTTP/1.1 400")
    assert "Traceback" not in api.log.read_text()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "BREW", "A" * 5000])
def test_other_methods_are_told_the_right_ones(api: Api, method: str) -> None:
    """405 with the methods that there are, and to HEAD no body."""
    response = api.own_client.request(method, ITEMS)

    assert (405, "POST, GET") == (response.status_code, response.headers["allow"])
    assert b"" == response.content if method == "HEAD" else "method_not_allowed" == refused(response)["code"]


@pytest.mark.parametrize("target", ["*", "http://elsewhere/health", "elsewhere:443", "//elsewhere/health", "health"])
def test_other_forms_of_a_target_are_not_found(api: Api, target: str) -> None:
    """This service stands for no other."""
    head, body = spoken(api, f"OPTIONS {target}")

    assert head.startswith(b"HTTP/1.1 404")
    assert "not_found" == json.loads(body)["code"]


def test_another_protocol_is_not_spoken(api: Api) -> None:
    """What offers one is answered as if it had not."""
    offer = ("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", "Sec-WebSocket-Version: 13")

    head, body = spoken(api, "GET /health", *offer, "Connection: upgrade")

    assert head.startswith(b"HTTP/1.1 200")
    assert b'{"status":"ok"}' == body


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=" + "b" * 5000,
        "multipart/form-data; boundary=\xff",
        "multipart/form-data; boundary=",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_a_strange_boundary_is_refused(api: Api, content_type: str) -> None:
    """As any other upload that is no form; nothing of it stays."""
    headers = [(b"content-type", content_type.encode("latin-1"))]

    problem = refused(api.own_client.post(f"{BASE}/data_batch", content=b"--b--", headers=headers))

    assert (422, "invalid_request") == (problem["status"], problem["code"])
    assert [] == list((api.home / "uploads").iterdir())


def test_a_key_may_be_any_bytes(api: Api) -> None:
    """It is unknown, and no more."""
    for key in (b"\xff\xfe", b"x" * 10_000, b"'; --", b"%00"):
        response = httpx.get(f"{api.base}{BASE}/models", headers={b"apikey": key}, trust_env=False)
        assert (401, "unauthorized") == (response.status_code, refused(response)["code"])
