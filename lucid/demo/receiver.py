"""A small receiver of callbacks, as a customer would write one."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

from lucid.webhooks.callbacks import SIGNATURE_HEADER, verify


class Receiver:
    """Keeps the callbacks whose signature is right; others get 401 and are counted in `refused`."""

    def __init__(self, secret: str) -> None:
        self.events: Queue[dict[str, Any]] = Queue()
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(secret))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def _handler(self, secret: str) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                right = verify(secret, body, self.headers.get(SIGNATURE_HEADER, ""), now=int(time.time()))
                self.send_response(204 if right else 401)
                self.end_headers()
                if right:
                    receiver.events.put(json.loads(body))
                else:
                    receiver.refused += 1

            def log_message(self, *_arguments: object) -> None:
                """Say nothing: what arrives is shown by who asked for it."""

        return Handler

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        """Receive until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
