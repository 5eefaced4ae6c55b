"""One connection to a client, as uvicorn serves it, with the patience and the answers of this product.

Start uvicorn with `--http lucid.api.connections:Connection`. By itself it waits for ever for a client that stops in the
middle of a request or of an answer, and each such client keeps a file open until none is left for others.
"""

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lucid.api.problems import NOT_HTTP, problem


class Connection(H11Protocol):
    """HTTP/1.1 with a client; ended where the client stands still, and without other protocols."""

    patience_seconds: ClassVar[float] = 30
    """A client may stand still for this time; after at most twice as long it is given up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._received = self._paused = 0
        self._seen: tuple[object, ...] | None = None
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        self._paused += 1
        super().pause_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, the same for everything
        """Tell a client whose request cannot be read, in the form of all other problems."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # it has its answer, or a part of it
            self.transport.close()
            return
        if self.cycle is not None:  # whoever reads the body learns that there is no client any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        answer = problem(400, NOT_HTTP, "the request is not HTTP that can be read, or its head is over 64 kB")
        headers = [*answer.raw_headers, (b"connection", b"close")]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        events = (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """HTTP allows to answer as if nothing else had been offered."""
        return False

    def _look(self) -> None:
        """Give the client up if it is its turn and nothing has come of it since the last look."""
        turn = self._turn()
        if turn is not None and turn == self._seen:
            self.transport.abort()
            return
        self._seen = turn
        self._next_look = self.loop.call_later(self.patience_seconds, self._look)

    def _turn(self) -> tuple[object, ...] | None:
        """What the client has to do, with how far it has come; None where it waits for us."""
        if unread := self.transport.get_write_buffer_size():
            return "read", self._paused, unread
        if self.cycle is None or self.cycle.response_complete:  # the next head, or the rest of a refused body
            return "ask", self.cycle
        if self.cycle.more_body and not self.flow.read_paused:
            return "send", self._received
        return None
