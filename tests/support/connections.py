"""Which addresses this process connects to, or asks a name server for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def watched() -> Iterator[set[str]]:
    """What was asked for inside.

    No audit hook: it could never be taken back, and a hook written in Python lets a second thread
    come between while coverage sets its tracer, which CPython 3.11 answers with an error.
    """
    seen: set[str] = set()
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def connecting(self: socket.socket, address: Any) -> None:
        seen.add(str(address))
        connect(self, address)

    def connecting_ex(self: socket.socket, address: Any) -> int:
        seen.add(str(address))
        return connect_ex(self, address)

    def looking_up(host: Any, port: Any, *args: Any, **others: Any) -> Any:
        seen.add(f"{host}:{port}")
        return look_up(host, port, *args, **others)

    with (
        patch.object(socket.socket, "connect", connecting),
        patch.object(socket.socket, "connect_ex", connecting_ex),
        patch.object(socket, "getaddrinfo", looking_up),
    ):
        yield seen
