"""A proxy that injects faults between a client and a real HTTP server.

It forwards each request and its answer unchanged, unless one of these faults is chosen:

reset    reset the connection without forwarding the request
lost     forward the request, but reset the connection instead of answering
stall    wait for `stall_s`, then reset the connection without forwarding the request
slow     wait for `stall_s`, then forward the request and the answer
half     forward the request, send half of the answer's body, then close the connection
first N  forward the request, send the first N bytes of the whole answer, then close the connection
NAME     send the answer of this name from canned_answers.py without forwarding the request

Between `cut` and `restore` the server is unreachable, as if it had died.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from support.canned_answers import ANSWERS, Reply

UPSTREAM_TIMEOUT_S = 120.0
# SO_LINGER with a time of 0 s: closing the socket sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

BREAKS = ("reset", "lost", "stall", "half")
"""Faults that do not depend on what a link connects."""


class FaultyProxy:
    """A context manager that forwards requests for `url` to `target`."""

    def __init__(self, name: str, target: str, stall_s: float = 1.0) -> None:
        self.name = name
        self.injected: Counter[str] = Counter()
        self.passed = 0
        self.answer_bytes = 0
        """Size of the server's last answer with its headers, before a fault shortened it."""
        self.stall_s = stall_s
        self._target = urlsplit(target)
        self._lock = threading.Lock()
        self._choose: Callable[[], str] = _nothing
        self._is_cut = False
        self._live: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def break_next(self, *kinds: str) -> None:
        """Inject these faults into the next requests, one fault for each request."""
        script = iter(kinds)
        self._choose = lambda: next(script, "")

    def break_at_random(self, seed: int, rate: float, kinds: Sequence[str]) -> None:
        """Inject one of these faults into each request with the probability `rate`."""
        dice = random.Random(seed)
        self._choose = lambda: dice.choice(kinds) if dice.random() < rate else ""

    def mend(self) -> None:
        self._choose = _nothing
        self.restore()

    def cut(self) -> None:
        """Close all connections, and reset every new one, until `restore`."""
        with self._lock:
            self._is_cut = True
            self.injected["cut"] += 1
            live = list(self._live)
        for connection in live:
            _shut(connection)

    def restore(self) -> None:
        self._is_cut = False

    def enter(self, connection: socket.socket) -> bool:
        """Register a connection, and return whether it may be served."""
        with self._lock:
            self._live.add(connection)
            return not self._is_cut

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.discard(connection)

    def next_fault(self) -> str:
        """Return the fault for the next request; empty for none."""
        with self._lock:
            kind = self._choose()
            if kind:
                self.injected[kind] += 1
            else:
                self.passed += 1
            return kind

    def stall(self) -> None:
        threading.Event().wait(self.stall_s)

    def forward(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Reply:
        """Return the answer of the real server. Raises OSError or HTTPException."""
        host, port = self._target.hostname or "", self._target.port
        upstream = http.client.HTTPConnection(host, port, timeout=UPSTREAM_TIMEOUT_S)
        try:
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        forwarded = [
            (name, value) for name, value in answer.getheaders() if name.lower() not in _HOPS
        ]
        if "content-length" not in {name.lower() for name, _ in forwarded}:
            forwarded.append(("Content-Length", str(len(content))))
        return Reply(answer.status, answer.reason, forwarded, content)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(_Handler):
            def setup(self) -> None:
                super().setup()
                self.proxy = proxy

        return Handler


# Headers that apply to one connection (hop-by-hop), so a proxy must not forward them.
_HOPS = frozenset({"connection", "transfer-encoding", "expect"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Close without `shutdown`, which would send FIN before the reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients that disconnect are expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def handle(self) -> None:
        try:
            if self.proxy.enter(self.connection):
                super().handle()
            else:
                self._reset()
        except OSError:
            self._reset()
        finally:
            self.proxy.leave(self.connection)

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.proxy.next_fault()
        if kind in ANSWERS:
            self._send(ANSWERS[kind])
        if kind in ("stall", "slow"):
            self.proxy.stall()
        if kind in ("reset", "stall"):
            self._reset()
        elif kind not in ANSWERS:
            self._forward(kind, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815

    def _forward(self, kind: str, body: bytes) -> None:
        headers = [(n, v) for n, v in self.headers.items() if n.lower() not in _HOPS]
        try:
            reply = self.proxy.forward(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):
            self._reset()
            return
        raw = reply.raw(has_body=self.command != "HEAD")
        self.proxy.answer_bytes = len(raw)
        if kind == "lost":
            self._reset()
        elif kind == "half" or kind.startswith("first "):
            length = len(raw) - max(1, len(reply.body) // 2)
            if kind != "half":
                length = int(kind.split()[1])
            self.wfile.write(raw[:length])
            self.close_connection = True
        else:
            self.wfile.write(raw)

    def _send(self, reply: Reply) -> None:
        self.wfile.write(reply.raw(has_body=self.command != "HEAD"))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


def _nothing() -> str:
    return ""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client has already closed it
