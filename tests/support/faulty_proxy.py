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
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from support.canned_answers import ANSWERS, Reply
from support.faulty_link import FaultyLink, reset

UPSTREAM_TIMEOUT_S = 120.0

LINK_HEADER = "X-Test-Link"
SENT_HEADER = "X-Test-Sent"
"""Headers of marked requests: the link's name, and the time in seconds of `time.monotonic`."""


class FaultyProxy(FaultyLink):
    """A context manager that forwards requests for `url` to `target`, or to `others` in turn.

    With several targets it is a load balancer: it skips targets that refuse connections. It listens
    on the address `host`. With `marks` the requests get the headers above.
    """

    def __init__(
        self,
        name: str,
        target: str,
        *others: str,
        stall_s: float = 1.0,
        host: str = "127.0.0.1",
        marks: bool = False,
    ) -> None:
        super().__init__(name, stall_s)
        self.answer_bytes = 0
        """Size of the server's last answer with its headers, before a fault shortened it."""
        self.on_answer: Callable[[bytes, int], None] = lambda body, status: None
        """Is called with the body of each request, and the status of the server's answer."""
        self.unready: set[str] = set()
        """Targets that get no requests, like replicas that are not ready in Kubernetes."""
        self._targets = (target, *others)
        self._turns = count()
        self.marks = marks
        self._server = _Server((host, 0), self._handler())
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forward(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Reply:
        """Return the answer of the real server. Raises OSError or HTTPException."""
        upstream = self._connect()
        try:
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.on_answer(body, answer.status)
        forwarded = [
            (name, value) for name, value in answer.getheaders() if name.lower() not in _HOPS
        ]
        if "content-length" not in {name.lower() for name, _ in forwarded}:
            forwarded.append(("Content-Length", str(len(content))))
        return Reply(answer.status, answer.reason, forwarded, content)

    def _connect(self) -> http.client.HTTPConnection:
        """Connect to the next target that accepts the connection. Raises OSError."""
        first = next(self._turns) % len(self._targets)
        for url in (*self._targets[first:], *self._targets[:first]):
            if url in self.unready:
                continue
            target = urlsplit(url)
            upstream = http.client.HTTPConnection(
                target.hostname or "", target.port, timeout=UPSTREAM_TIMEOUT_S
            )
            try:
                upstream.connect()
                return upstream
            except ConnectionRefusedError:
                upstream.close()
        raise ConnectionRefusedError(f"no target of {self.name} accepts connections")

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
        self._cuts_before = self.proxy.cut_count()
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
        if self.proxy.marks:
            headers += [(LINK_HEADER, self.proxy.name), (SENT_HEADER, str(time.monotonic()))]
        if self.proxy.cut_count() > self._cuts_before:
            # The client has lost this connection, and may repeat the request. Forwarded now, this
            # one would look like a call that began after the cut.
            self._reset()
            return
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
        reset(self.connection)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Print nothing."""
