"""A proxy in front of a real HTTP server that breaks what passes through it, on purpose.

It takes one request at a time from each connection, hands it on unchanged, and hands back the
answer, unless its script says otherwise:

reset   the connection is reset, and the server never hears of the request
lost    the server does as it is told, and the connection is reset in place of its answer
stall   nothing comes for a while, then the connection is reset; the server hears nothing
slow    all goes well, after a while
half    half of the answer, then the connection ends
first N the first N bytes of the answer, headers and all, then the connection ends
NAME    an answer of our own, one of those in canned_answers.py; the server hears nothing

`cut` makes the whole server unreachable, as its death would, until `restore`.
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
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


BREAKS = ("reset", "lost", "stall", "half")
"""What may happen to any connection."""


class FaultyProxy:
    """A context manager. `url` is where clients connect instead of `target`."""

    def __init__(self, name: str, target: str, stall_s: float = 1.0) -> None:
        self.name = name
        self.injected: Counter[str] = Counter()
        self.passed = 0
        self.answer_bytes = 0
        """Of the last answer that came, headers and all, before anything was cut off."""
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
        """The next requests, one for each kind; then all is well again."""
        script = iter(kinds)
        self._choose = lambda: next(script, "")

    def break_at_random(self, seed: int, rate: float, kinds: Sequence[str]) -> None:
        """Every request with probability `rate`, by one of the kinds."""
        dice = random.Random(seed)
        self._choose = lambda: dice.choice(kinds) if dice.random() < rate else ""

    def mend(self) -> None:
        self._choose = _nothing
        self.restore()

    def cut(self) -> None:
        """Ends every connection, and each new one at once."""
        with self._lock:
            self._is_cut = True
            self.injected["cut"] += 1
            live = list(self._live)
        for connection in live:
            _shut(connection)

    def restore(self) -> None:
        self._is_cut = False

    def enter(self, connection: socket.socket) -> bool:
        """Whether it may speak."""
        with self._lock:
            self._live.add(connection)
            return not self._is_cut

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.discard(connection)

    def next_fault(self) -> str:
        """For one request; empty: none."""
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
        """The real server's answer. Raises OSError and HTTPException."""
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
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOPS]
        if "content-length" not in {name.lower() for name, _ in kept}:
            kept.append(("Content-Length", str(len(content))))
        return Reply(answer.status, answer.reason, kept, content)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(_Handler):
            def setup(self) -> None:
                super().setup()
                self.proxy = proxy

        return Handler


_HOPS = frozenset({"connection", "transfer-encoding", "expect"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Without a polite shutdown first, so that a reset is one."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what happens here."""


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
            half = len(raw) - max(1, len(reply.body) // 2)
            self.wfile.write(raw[: half if kind == "half" else int(kind.split()[1])])
            self.close_connection = True
        else:
            self.wfile.write(raw)

    def _send(self, reply: Reply) -> None:
        self.wfile.write(reply.raw(has_body=self.command != "HEAD"))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def _nothing() -> str:
    return ""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
