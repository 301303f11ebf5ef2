"""A proxy that injects faults between a client and a server that do not speak HTTP.

It is made for a database, whose client sends a request and waits for the answer. What the client
sends at once counts as one request. The request is forwarded unchanged, unless one of these faults
is chosen:

reset  reset the connection without forwarding the request
lost   forward the request, but reset the connection when the answer arrives
stall  wait for `stall_s`, then reset the connection without forwarding the request
slow   wait for `stall_s`, then forward the request
half   forward the request, send half of the answer's first bytes, then close the connection

Between `cut` and `restore` the server is unreachable, as if it had died.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from support.faulty_link import FaultyLink, reset

_CHUNK = 1 << 16
_CONNECT_TIMEOUT_S = 10.0

Address = tuple[str, int]


class FaultyTcp(FaultyLink):
    """A context manager that forwards connections for `address` to `target`.

    `target` is called for each connection, so the server may move to another address.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[], Address],
        *,
        stall_s: float = 1.0,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(name, stall_s)
        self._target = target
        self._listener = socket.create_server((host, 0), backlog=128)
        self.address: Address = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> FaultyTcp:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                if not self.enter(client):
                    raise ConnectionResetError("the link is cut")
                with socket.create_connection(self._target(), _CONNECT_TIMEOUT_S) as server:
                    server.settimeout(None)
                    self._relay(client, server)
            except OSError:
                with suppress(OSError):
                    reset(client)
            finally:
                self.leave(client)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Forward in both directions until one side closes. Raises OSError to reset the client."""
        kind = ""
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while True:
                for event, _ in ready.select():
                    data = event.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                    if not data:
                        return
                    if event.fileobj is client:
                        kind = self.next_fault()
                        self._request(kind, server, data)
                    elif kind == "lost":
                        raise ConnectionResetError("the answer is lost")
                    elif kind == "half":
                        client.sendall(data[: len(data) // 2])
                        return
                    else:
                        client.sendall(data)

    def _request(self, kind: str, server: socket.socket, data: bytes) -> None:
        if kind in ("stall", "slow"):
            self.stall()
        if kind in ("reset", "stall"):
            raise ConnectionResetError("a fault of the test")
        server.sendall(data)
