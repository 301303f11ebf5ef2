"""The HTTP server of the trigger, with limits on memory, time and number of connections.

A caller is known if one of its headers has the token. Ceph's gateway can send its token only inside
the body, so the bodies of unknown callers are read as well, up to 64 KiB; an event from Ceph is a
few KB long. Bodies are held in memory, within two budgets, and never in temporary files
(docs/decisions/0061).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.utilities import Error, RequestEntityTooLarge, RequestHeaderFieldsTooLarge

from rollcall.core.events import MAX_BODY_BYTES

HTTP_THREADS = 36
"""Requests that are handled at the same time. Most store an event, and wait for the disk: the more
of them wait, the more are committed together. With fewer threads than busy connections, waitress
also uses more CPU time, because its loop looks at waiting requests again and again."""

CONNECTIONS = 128
"""Limit on open connections. For each further one, the one that has waited longest is closed."""

SPARE_FILES = 16
"""File descriptors on top of CONNECTIONS, for listening sockets and connections being closed."""

HEADER_BYTES = 16384
MAX_HEADERS = 100
"""Limit on the header fields of a request. A short field takes up a hundred times its size in
memory, so HEADER_BYTES alone does not limit the memory."""

REQUEST_TIMEOUT_S = 30
"""Limit for a request to arrive, for its answer to be read, and for an idle connection."""

UNKNOWN_BODY_BYTES = 64 << 10
UNKNOWN_TOTAL_BYTES = CONNECTIONS * UNKNOWN_BODY_BYTES
"""Budget for all bodies of unknown callers: 8 MiB, enough for the longest on each connection."""

KNOWN_TOTAL_BYTES = 16 << 20
"""Budget for all bodies of known callers. It is separate, so unknown callers cannot use it up."""

RETRY_AFTER_S = 5

IsKnown = Callable[[str, str], bool]
"""Whether a caller is known. The arguments are the headers X-Trigger-Token and Authorization."""


def listen(app: Flask, host: str, port: int, is_known: IsKnown) -> Any:
    """Create a waitress server that listens; its method `run` handles requests.

    Raises OSError if the address is in use.
    """
    servers: dict[int, Any] = {}
    server = create_server(
        app,
        map=servers,
        host=host,
        port=port,
        threads=HTTP_THREADS,
        connection_limit=CONNECTIONS + SPARE_FILES,
        channel_timeout=REQUEST_TIMEOUT_S,
        cleanup_interval=max(1, REQUEST_TIMEOUT_S // 6),
        # A longer body would be kept in a temporary file, but no body may be that long.
        inbuf_overflow=2 * MAX_BODY_BYTES,
        max_request_body_size=MAX_BODY_BYTES + 1,  # waitress refuses this size and more
        max_request_header_size=HEADER_BYTES,
        asyncore_use_poll=True,  # select() fails for file descriptors above 1023
        ident="rollcall",
    )
    # waitress warns about each request that has to wait for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    limits = BodyLimits(is_known)
    for each in servers.values():  # one server for each address of the host
        each.channel_class = partial(_Channel, limits=limits)
    return server


class Budget:
    """A number of bytes that may be in use at the same time. Safe for threads."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self.taken_bytes = 0

    def take(self, count: int) -> bool:
        """Take `count` bytes, or return False if fewer are left."""
        with self._lock:
            if self.taken_bytes + count > self._total_bytes:
                return False
            self.taken_bytes += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self.taken_bytes -= count


class BodyLimits:
    """Chooses the size limit and the budget of a body by the headers of its request."""

    def __init__(self, is_known: IsKnown) -> None:
        self._is_known = is_known
        self.unknown = Budget(UNKNOWN_TOTAL_BYTES)
        self.known = Budget(KNOWN_TOTAL_BYTES)

    def limits_for(self, headers: Mapping[str, str]) -> tuple[int, Budget]:
        """The largest size of the body in bytes, and the budget that its bytes are taken from."""
        token, login = headers.get("X_TRIGGER_TOKEN", ""), headers.get("AUTHORIZATION", "")
        if (token or login) and self._is_known(token, login):
            return MAX_BODY_BYTES, self.known
        return UNKNOWN_BODY_BYTES, self.unknown


class _TooManyBodies(Error):  # type: ignore[misc]
    code = 503
    reason = "Service Unavailable"


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request whose body is refused at the first byte beyond its limit or its budget."""

    completed: bool
    body_rcv: Any
    error: Error | None

    def __init__(self, adjustments: Any, limits: BodyLimits) -> None:
        super().__init__(adjustments)
        self._limits = limits
        self._budget = limits.unknown
        self._max_bytes = UNKNOWN_BODY_BYTES
        self._held_bytes = 0
        self._closed = False

    def received(self, data: bytes) -> int:
        in_body = self.body_rcv is not None
        consumed: int = super().received(data)
        if self.error is None:
            self._check(in_body)
        if self.error is not None:
            self.completed, self.expect_continue = True, False
            self.close()
            self.body_rcv = None
        if self.completed and not self.empty and consumed < len(data):
            # The client sent its next request before it got this answer (pipelining). Senders of
            # events do not do that. Other clients have to send the next request again, on a new
            # connection (RFC 9112, 9.3.2).
            self.headers["CONNECTION"] = "close"
            return len(data)
        return consumed

    def close(self) -> None:
        """Give the body's bytes back to the budget, and take no further ones."""
        super().close()
        self._closed = True  # waitress may still parse bytes of a closed connection
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0

    def _check(self, in_body: bool) -> None:
        if not in_body and self.headers_finished:
            self._max_bytes, self._budget = self._limits.limits_for(self.headers)
            if len(self.headers) > MAX_HEADERS:
                self.error = RequestHeaderFieldsTooLarge(f"more than {MAX_HEADERS} fields")
        size = max(self.content_length, self.body_bytes_received)
        if self.error is None and size > self._max_bytes:
            self.error = RequestEntityTooLarge(_too_large(self._max_bytes))
        if self.error is None and not self._hold(self.body_bytes_received - self._held_bytes):
            self.error = _TooManyBodies(
                f"too many request bodies at once; try again in {RETRY_AFTER_S} s"
            )

    def _hold(self, more_bytes: int) -> bool:
        if self._closed:
            return False
        taken = self._budget.take(more_bytes)
        self._held_bytes += more_bytes if taken else 0
        return taken


def _too_large(max_bytes: int) -> str:
    hint = "" if max_bytes == MAX_BODY_BYTES else "; up to 1 MiB with the token in a header"
    return f"a body may be up to {max_bytes} bytes long{hint}"


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that counts as idle since its request began, or since its answer was written.

    In waitress' own channel each byte counts as activity. A client that sends or reads a byte every
    few seconds would never be disconnected.
    """

    last_activity: float
    request: Any

    def __init__(self, *args: Any, limits: BodyLimits, map: dict[int, Any]) -> None:  # noqa: A002
        self.parser_class = partial(_Request, limits=limits)
        super().__init__(*args, map=map)
        _close_longest_waiting(map)

    def handle_read(self) -> None:
        request_began_s: float = time.time() if self.request is None else self.last_activity
        super().handle_read()
        if self.request is not None:
            self.last_activity = request_began_s

    def handle_write(self) -> None:
        before_s: float = self.last_activity
        super().handle_write()
        if self.total_outbufs_len:  # the answer is not written completely
            self.last_activity = before_s

    def handle_close(self) -> None:
        super().handle_close()
        if self.request is not None:
            self.request.close()


def _close_longest_waiting(sockets: Mapping[int, Any]) -> None:
    """If there are too many connections, close the one that has waited longest for its client.

    Otherwise clients that keep many connections open could lock out all other clients.
    """
    channels = [each for each in sockets.values() if isinstance(each, _Channel)]
    waiting = [each for each in channels if not each.requests and not each.will_close]
    if len(channels) > CONNECTIONS and waiting:
        min(waiting, key=lambda each: each.last_activity).will_close = True
