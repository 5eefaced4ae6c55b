"""A small server that says what it was told to say: a service, or Prefect, that is busy, far away or broken."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], bytes]


class Says:
    """A server that gives prepared answers, one to each request."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[float] = []
        self.heard: list[bytes] = []
        """Bodies of what was posted."""
        says = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                says.asked.append(time.monotonic())
                status, headers, body = says.answers.pop(0)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                says.heard.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
