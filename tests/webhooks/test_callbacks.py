"""Callbacks: signed, retried, and never sent where the settings forbid it."""

import http.server
import threading
from collections.abc import Iterator

import duckdb
import pytest

from lucid.demo.receiver import Receiver
from lucid.errors import CallbackRefused, InvalidRequest
from lucid.schema.fields import utc_now
from lucid.schema.training import ModelStatus
from lucid.service.run import environment
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.webhooks import callbacks
from tests.support.names import names

STATUS = ModelStatus(
    model_id="m", version=3, status="completed", stage="finished", progress=100, start_timestamp=utc_now()
)


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"callback_allow_private": True, "callback_secret": "s3cret"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver("s3cret").running() as running:
        yield running


def deliveries(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(Home(settings.home).catalog), read_only=True) as connection:
        return connection.execute("SELECT event, attempts, delivered FROM deliveries").fetchall()


def test_a_callback_carries_the_status_and_a_signature(open_settings: Settings, receiver: Receiver) -> None:
    """The receiver finds the status object, the event, and a signature that belongs to the body."""
    event = callbacks.make_event(STATUS, receiver.url)

    callbacks.deliver(open_settings, Catalog(open_settings.home), event)

    body = receiver.events.get(timeout=5)
    assert ("m", 3, "completed") == (body["model_id"], body["version"], body["status"])
    assert ("training.completed", event.event_id) == (body["event"], body["event_id"])
    assert [("training.completed", 1, True)] == deliveries(open_settings)


def test_a_signature_fits_one_body_one_secret_and_five_minutes() -> None:
    """Changed bodies, other secrets and old calls are told apart."""
    header = callbacks.sign("secret", b"body", 1_000)

    assert callbacks.verify("secret", b"body", header, now=1_300)
    assert not callbacks.verify("secret", b"b0dy", header, now=1_000)
    assert not callbacks.verify("other", b"body", header, now=1_000)
    assert not callbacks.verify("secret", b"body", header, now=1_301)
    for nonsense in ("", "nonsense", "t=,v1=", "t=1000,v1=ü", "t=١٠٠٠,v1=0"):
        assert not callbacks.verify("secret", b"body", nonsense, now=1_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://[::127.0.0.1]/x",
        "http://224.0.0.1/x",
    ],
)
def test_private_targets_are_refused_unless_allowed(url: str) -> None:
    """Loopback, private and link-local addresses are refused however they are written."""
    with pytest.raises(CallbackRefused, match="not a public address"):
        callbacks.check_callback_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "/path",
        "http://",
        "http://user:pass@127.0.0.1/",
        "http://[bad/",
        "http://a..b/",
        "http://127.0.0.1/\x01",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """Only http(s) with a host and without credentials."""
    with pytest.raises(CallbackRefused):
        callbacks.check_callback_url(url, allow_private=True)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["2a00:1450:4001:800::200e", "fe80::1%eth0"],
        ["8.8.8.8", "::ffff:7f00:1"],
    ],
)
def test_a_name_with_one_private_address_is_refused(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All its addresses are checked; with only public ones it is taken, and the first of them is called."""
    names(monkeypatch, {"receiver.test": addresses, "public.test": ["8.8.8.8", "2a00:1450:4001:800::200e"]})

    with pytest.raises(CallbackRefused, match="not a public address"):
        callbacks.check_callback_url("https://receiver.test/", allow_private=False)
    assert addresses[0] == callbacks.check_callback_url("https://receiver.test/", allow_private=True)
    assert "8.8.8.8" == callbacks.check_callback_url("https://public.test/", allow_private=False)


@pytest.mark.parametrize(
    "url", ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1%251]/", "http://a%2eb/"]
)
def test_an_address_with_a_scope_is_refused(url: str) -> None:
    """Even where private ones are allowed: it means something on one machine only."""
    with pytest.raises(CallbackRefused, match="no % may stand"):
        callbacks.check_callback_url(url, allow_private=True)


@pytest.mark.parametrize("port", [1, 22, 25, 79, 81, 442, 444, 1023])
def test_ports_of_other_services_are_refused_unless_listed(port: int) -> None:
    """The sentence names the port, what is allowed and the setting."""
    url = f"http://8.8.8.8:{port}/"

    with pytest.raises(CallbackRefused, match=rf"port {port};.*80, 443 and 1024 to 65535.*LUCID_CALLBACK_ALLOW_PORTS"):
        callbacks.check_callback_url(url, allow_private=False)
    assert "8.8.8.8" == callbacks.check_callback_url(url, allow_private=False, allow_ports=[7, port])


@pytest.mark.parametrize("port", ["", ":80", ":443", ":1024", ":8080", ":65535"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ports_of_web_servers_are_allowed(scheme: str, port: str) -> None:
    """80, 443 and what needs no special rights, with either scheme."""
    assert "8.8.8.8" == callbacks.check_callback_url(f"{scheme}://8.8.8.8{port}/", allow_private=False)


@pytest.mark.parametrize("port", [0, -1, 65536, 65536 + 80])
def test_what_is_no_port_is_always_refused(port: int) -> None:
    """Whatever is listed, and wherever private addresses are allowed."""
    with pytest.raises(CallbackRefused, match=f"port {port};"):
        callbacks.check_callback_url(f"http://127.0.0.1:{port}/", allow_private=True, allow_ports=[0, -1])


def test_a_port_is_checked_again_when_the_training_has_ended(open_settings: Settings) -> None:
    """The settings at that time decide, and nothing is tried again."""
    event = callbacks.make_event(STATUS, "http://127.0.0.1:25/")

    assert not callbacks.deliver_patiently(open_settings, Catalog(open_settings.home), event)
    assert [("training.completed", 1, False)] == deliveries(open_settings)


@pytest.mark.parametrize(
    ("written", "ports"), [("", ()), ("25", (25,)), ("81, 591,", (81, 591)), ("[81, 591]", (81, 591)), (" [] ", ())]
)
def test_listed_ports_reach_every_part_of_the_service(
    written: str, ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are written, what is passed on in the environment is read as the same."""
    monkeypatch.setenv("LUCID_CALLBACK_ALLOW_PORTS", written)
    settings = load_settings()
    monkeypatch.setenv("LUCID_CALLBACK_ALLOW_PORTS", environment(settings)["LUCID_CALLBACK_ALLOW_PORTS"])

    assert ports == settings.callback_allow_ports
    assert settings == load_settings()


@pytest.mark.parametrize("written", ["0", "65536", "ssh", "[25", "[[25]]", '{"25": 1}', "25-30", "-1"])
def test_what_is_no_list_of_ports_is_a_bad_setting(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting."""
    monkeypatch.setenv("LUCID_CALLBACK_ALLOW_PORTS", written)

    with pytest.raises(InvalidRequest, match=r"bad setting \(LUCID_…\) callback_allow_ports"):
        load_settings()


def test_a_failing_receiver_is_tried_again(open_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two 500s the third attempt arrives; the catalog counts all three."""
    monkeypatch.setattr(callbacks, "OWN_PAUSES", [0.01, 0.01, 0.01])
    answers = [500, 503, 204]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        event = callbacks.make_event(STATUS, f"http://127.0.0.1:{server.server_port}/")
        arrived = callbacks.deliver_patiently(open_settings, Catalog(open_settings.home), event)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert arrived
    assert [("training.completed", 3, True)] == deliveries(open_settings)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(settings: Settings) -> None:
    """Without a secret in the settings, one is kept in the home."""
    settings.home.mkdir()

    first, second = callbacks.callback_secret(settings), callbacks.callback_secret(settings)

    assert first == second
    assert 64 == len(first)
    assert 0o600 == Home(settings.home).callback_secret.stat().st_mode & 0o777
