"""The HTTP server around the trigger's app: bounded in size, time and number of callers."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server

from rollcall.core.events import MAX_BODY_BYTES

HTTP_THREADS = 8
"""A request only stores an event; this many may wait for the disk at once."""

CONNECTIONS = 1000
"""Open at once. Senders keep theirs, and slow ones cost a connection each, not a thread."""

HEADER_BYTES = 32768
REQUEST_TIMEOUT_S = 30
"""For a whole request to arrive, from its first byte, and for a connection without one."""


def listen(app: Flask, host: str, port: int) -> Any:
    """A waitress server that listens; `run` serves. Raises OSError when the address is taken."""
    servers: dict[int, Any] = {}
    server = create_server(
        app,
        map=servers,
        host=host,
        port=port,
        threads=HTTP_THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=REQUEST_TIMEOUT_S,
        cleanup_interval=max(1, REQUEST_TIMEOUT_S // 6),
        max_request_body_size=MAX_BODY_BYTES + 1,  # the first size that is refused
        max_request_header_size=HEADER_BYTES,
        asyncore_use_poll=True,  # select() knows no more than 1024 files
        ident="rollcall",
    )
    for each in servers.values():  # one per address of the host
        each.channel_class = _PromptChannel
    return server


class _PromptChannel(HTTPChannel):  # type: ignore[misc]
    """Counts a request that has begun as idle since then: waitress' own channel takes each byte for
    activity, so a sender of a byte a minute would never be cut off."""

    last_activity: float

    def handle_read(self) -> None:
        began: float = time.time() if self.request is None else self.last_activity
        super().handle_read()
        if self.request is not None:
            self.last_activity = began
