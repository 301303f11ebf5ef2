"""Send HTTP requests as bytes, because no client library would send such requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


@contextmanager
def connection(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S) as opened:
        yield opened


def exchange(url: str, request: bytes) -> int:
    """Send a request, and return the status of the answer; 0 if the connection ends without one."""
    with connection(url) as opened:
        try:
            opened.sendall(request)
            opened.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server may refuse and answer a request before it is sent completely
        return status_of(opened)


def status_of(opened: socket.socket) -> int:
    """Read the status line of an answer, and return the status; 0 without an answer."""
    answer = b""
    try:
        while b"\r\n" not in answer and (more := opened.recv(65536)):
            answer += more
    except OSError:
        pass
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0
