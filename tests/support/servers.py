"""Run real HTTP servers on free ports, each in a thread of the test."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rollcall.trigger.http_server import IsKnown, listen

Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serve_wsgi(app: Any, is_known: IsKnown = lambda *headers: False) -> Iterator[str]:
    """Serve a WSGI application with the trigger's HTTP server, and yield its URL."""
    server = listen(app, "127.0.0.1", 0, is_known)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        # The server has to be closed in the thread of its event loop, which its `trigger` wakes. If
        # the end of an answer has woken the loop, the `trigger` may be closed already: OSError.
        with suppress(OSError):
            server.trigger.pull_trigger(server.close)
        thread.join(5)
        server.task_dispatcher.shutdown()


@contextmanager
def serve_function(reply: Callable[[dict[str, Any]], Reply | None]) -> Iterator[str]:
    """Serve a gateway that answers each call with `reply(call)`; None closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            raw = self.rfile.read(length)
            headers = dict(self.headers.items())
            answer = reply({**json.loads(raw), "path": self.path, "raw": raw, "headers": headers})
            if answer is None:
                self.connection.close()
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def serve_bytes(answer: bytes) -> Iterator[str]:
    """Send the same bytes to each client, valid HTTP or not, and close the connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def done(status: str = "recognised") -> Reply:
    return 200, {}, json.dumps({"status": status}).encode()


def refused(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    error = {"error": {"code": code, "message": f"says {code}", "retryable": status >= 500}}
    return status, headers or {}, json.dumps(error).encode()
