"""A relay between a client and a service that loses the first answers: was the call done, or did it never arrive?"""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count


class Relay:
    """Passes connections on to a port of this machine; of the first `lost` ones the answer never arrives."""

    def __init__(self, target: int, lost: int = 1, port: int = 0) -> None:
        self._target, self._lost, self.port = target, lost, port
        self.connections = 0
        self._threads: list[threading.Thread] = []

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Listen on the port, or on any that is free."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)

    def stop(self) -> None:
        """Listen no more, and wait until the clients have hung up."""
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listening:
            for number in count():
                try:
                    near, _ = self._listening.accept()
                except OSError:  # it was shut down
                    return
                self.connections += 1
                self._start(self._relay, near, number < self._lost)

    def _relay(self, near: socket.socket, lost: bool) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far, suppress(OSError):
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data or (lost and source is far):
                        return
                    (far if source is near else near).sendall(data)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
