"""What became of each callback is told, a callback is sent once more, and any library of Standard Webhooks takes it."""

import queue
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.demo.receiver import Receiver
from lucid.errors import CallbackFailed, UnknownDelivery, UnknownModel
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run
from lucid.webhooks import callbacks
from lucid.workspace import Workspace
from tests.support.says import Says
from tests.support.service import Api, wait_until

SECRET = "s3cret"
Received = tuple[dict[str, str], bytes]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", callback_allow_private=True, callback_secret=SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET).running() as running:
        yield running


@pytest.fixture
def inbox() -> Iterator[tuple[str, "queue.Queue[Received]"]]:
    """The address of a receiver that keeps headers and bodies as they came."""
    received: queue.Queue[Received] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    server.server_close()
    thread.join()


def leave_dead(settings: Settings, model_id: str, url: str) -> None:
    """A training that a sweep has ended, and whose customer waits at a URL."""
    run.enter(settings, TrainingRequest(model_id=model_id, callback_url=url), "fit")
    run.sweep(settings, is_lost=lambda _run, _entered: False)


def test_libraries_of_standard_webhooks_take_a_callback(
    settings: Settings, inbox: tuple[str, "queue.Queue[Received]"]
) -> None:
    """With the secret as the pages say; one byte more is refused, and both signatures are of the same time."""
    url, received = inbox
    status = run.enter(settings, TrainingRequest(model_id="m"), "fit")
    event = callbacks.make_event(status, url)
    callbacks.deliver(settings, Catalog(settings.home), event)

    headers, body = received.get(timeout=5)
    webhook = Webhook(callbacks.standard_secret(settings))

    assert "m" == webhook.verify(body, headers)["model_id"]
    with pytest.raises(WebhookVerificationError):
        webhook.verify(body + b" ", headers)
    assert event.event_id == headers["webhook-id"]
    stamp = headers["webhook-timestamp"]
    assert callbacks.verify(SECRET, body, headers["Lucid-Signature"], now=int(stamp))
    assert headers["Lucid-Signature"].startswith(f"t={stamp},")


def test_an_event_is_tried_over_ten_minutes() -> None:
    """A receiver that is restarted or deployed meanwhile misses nothing."""
    assert 600 <= sum(callbacks.PAUSES)
    assert list(callbacks.PAUSES) == sorted(callbacks.PAUSES)


def test_what_a_training_could_not_deliver_the_service_goes_on_with(settings: Settings, says: Says) -> None:
    """The process that ends tries for itself first; while it does, and where it dies, the event is owed."""
    says.answers = [(503, {}, b"")] * 9
    status = run.enter(settings, TrainingRequest(model_id="m"), "fit")
    event = callbacks.make_event(status, f"http://127.0.0.1:{says.server.server_port}/")
    catalog, waits = Catalog(settings.home), []

    for _ in range(len(callbacks.OWN_PAUSES) + 2):
        with pytest.raises(CallbackFailed, match="answered 503"):
            callbacks.deliver(settings, catalog, event, callbacks.OWN_PAUSES)
        due = catalog.deliveries.next_due()
        assert due
        waits.append((due - utc_now()).total_seconds())

    own, others = waits[: len(callbacks.OWN_PAUSES)], waits[len(callbacks.OWN_PAUSES) :]
    assert all(wait > 60 for wait in own)
    assert [32, 64] == [round(wait) for wait in others]


def test_a_callback_is_told_and_sent_once_more(settings: Settings, receiver: Receiver, says: Says) -> None:
    """What failed is told with its reason; sent again, the same id and content arrive, and that is told too."""
    says.answers = [(503, {}, b"")]
    workspace = Workspace(settings=settings)
    leave_dead(settings, "m", f"http://127.0.0.1:{says.server.server_port}/")
    workspace.status("m")
    wait_until(lambda: workspace.deliveries("m")[0].attempts == 1, 30, "the first attempt")
    (failed,) = workspace.deliveries("m")
    assert ("training.error", 1, False) == (failed.event, failed.version, failed.delivered)
    assert "answered 503, expected 2xx" in failed.message
    assert failed.next_attempt
    assert failed.next_attempt > failed.updated >= failed.created

    says.answers = [(200, {}, b"")] * 2
    workspace.resend("m", failed.event_id)
    wait_until(lambda: workspace.deliveries("m")[0].delivered, 30, "the event to arrive")
    workspace.resend("m", failed.event_id)
    wait_until(lambda: not says.answers and workspace.deliveries("m")[0].delivered, 30, "it to arrive again")

    (arrived,) = workspace.deliveries("m")
    assert (failed.event_id, failed.created, 1, "", None) == (
        *(arrived.event_id, arrived.created, arrived.attempts, arrived.message),
        arrived.next_attempt,
    )


def test_what_is_sent_once_more_is_the_same(settings: Settings, inbox: tuple[str, "queue.Queue[Received]"]) -> None:
    """To the byte: a receiver that knows the id has nothing to compare."""
    url, received = inbox
    workspace = Workspace(settings=settings)
    leave_dead(settings, "m", url)
    workspace.status("m")
    _, first = received.get(timeout=30)

    workspace.resend("m", workspace.deliveries("m")[0].event_id)

    assert first == received.get(timeout=30)[1]


def test_nothing_else_is_sent(settings: Settings) -> None:
    """Models and events that nobody knows, and those of other models, are named."""
    workspace = Workspace(settings=settings)
    for model_id in "ab":
        leave_dead(settings, model_id, "http://127.0.0.1:1/")

    with pytest.raises(UnknownModel):
        workspace.deliveries("c")
    with pytest.raises(UnknownDelivery, match="no delivery of this model"):
        workspace.resend("a", workspace.deliveries("b")[0].event_id)


def test_the_api_tells_of_callbacks_and_sends_them_again(tmp_path: Path, receiver: Receiver) -> None:
    """As the pages show it; with no callback asked for, there is nothing to tell."""
    api = Api(tmp_path / "home", LUCID_CALLBACK_ALLOW_PRIVATE="true", LUCID_CALLBACK_SECRET=SECRET)
    with api.running(), Client(api.base, apikey=api.secret) as client:
        own = Settings(home=api.home, callback_allow_private=True, callback_secret=SECRET)
        run.enter(own, TrainingRequest(model_id="silent"), "fit")
        leave_dead(own, "m", receiver.url)
        event = receiver.events.get(timeout=30)
        (told,) = client.deliveries("m")

        assert [] == client.deliveries("silent")
        assert event["event_id"] == told.event_id == client.resend("m", told.event_id).event_id
        assert event == receiver.events.get(timeout=30)
        answer = api.own_client.post(f"{BASE}/models/m/deliveries/none/resend")
        assert (404, "unknown_delivery") == (answer.status_code, answer.json()["code"])
