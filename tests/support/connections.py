"""Record the addresses to which this process connects, and the host names that it resolves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def watched() -> Iterator[set[str]]:
    """Yield a set that collects the addresses and host names used within the block."""
    # An audit hook would be simpler, but it cannot be removed. Also, a hook written in Python lets
    # another thread run while coverage.py sets its tracer, and CPython 3.11 then raises an error.
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
