"""The HTTP server around the trigger's app: bounded in memory, time and number of callers.

A caller is known once a header has the token. Ceph's gateway can send its token only inside the
body, so the bodies of unknown callers are read as well, up to 64 KiB: an event of Ceph has a few
KB. All bodies are held in memory, within two budgets, and never in temporary files
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

HTTP_THREADS = 8
"""A request only stores an event; this many may wait for the disk at once."""

CONNECTIONS = 128
"""Connections at once. For each one more, the one that has been waiting longest is closed."""

SPARE_FILES = 16
"""Listening sockets, and connections that are about to be closed."""

HEADER_BYTES = 16384
MAX_HEADERS = 100
"""Header fields of a request: a short one takes a hundred times its bytes in memory."""

REQUEST_TIMEOUT_S = 30
"""For a whole request to arrive, for its answer to be read, and for a connection without either."""

UNKNOWN_BODY_BYTES = 64 << 10
UNKNOWN_TOTAL_BYTES = CONNECTIONS * UNKNOWN_BODY_BYTES
"""All bodies of unknown callers together: 8 MiB, enough for every connection to have one."""

KNOWN_TOTAL_BYTES = 16 << 20
"""All bodies of known callers together, a budget of their own that unknown ones cannot use up."""

RETRY_AFTER_S = 5

Known = Callable[[str, str], bool]
"""Whether the caller is known, by the headers X-Trigger-Token and Authorization."""


def listen(app: Flask, host: str, port: int, known: Known) -> Any:
    """A waitress server that listens; `run` serves. Raises OSError when the address is taken."""
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
        inbuf_overflow=2 * MAX_BODY_BYTES,  # no body gets there, so there are no temporary files
        max_request_body_size=MAX_BODY_BYTES + 1,  # the first size that is refused
        max_request_header_size=HEADER_BYTES,
        asyncore_use_poll=True,  # select() knows no more than 1024 files
        ident="rollcall",
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each queued request
    limits = BodyLimits(known)
    for each in servers.values():  # one per address of the host
        each.channel_class = partial(_Channel, limits=limits)
    return server


class Budget:
    """Bytes that may be taken at once. Safe for threads."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self.taken_bytes = 0

    def take(self, count: int) -> bool:
        """Takes all of it, or nothing and returns False."""
        with self._lock:
            if self.taken_bytes + count > self._total_bytes:
                return False
            self.taken_bytes += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self.taken_bytes -= count


class BodyLimits:
    """How long a body may be, and out of which budget it is held, by what its headers say."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.unknown = Budget(UNKNOWN_TOTAL_BYTES)
        self.known = Budget(KNOWN_TOTAL_BYTES)

    def of(self, headers: Mapping[str, str]) -> tuple[int, Budget]:
        token, login = headers.get("X_TRIGGER_TOKEN", ""), headers.get("AUTHORIZATION", "")
        if (token or login) and self._known(token, login):
            return MAX_BODY_BYTES, self.known
        return UNKNOWN_BODY_BYTES, self.unknown


class _TooManyBodies(Error):  # type: ignore[misc]
    code = 503
    reason = "Service Unavailable"


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """Refuses a body at the first byte beyond its limit or its budget."""

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
            # It came together with the next request. Senders of events wait for their answer; a
            # client that does not has to repeat the rest on a new connection (RFC 9112, 9.3.2).
            self.headers["CONNECTION"] = "close"
            return len(data)
        return consumed

    def close(self) -> None:
        """Nothing is held any more, even if bytes of a closed connection are still to be parsed."""
        super().close()
        self._closed = True
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0

    def _check(self, in_body: bool) -> None:
        if not in_body and self.headers_finished:
            self._max_bytes, self._budget = self._limits.of(self.headers)
            if len(self.headers) > MAX_HEADERS:
                self.error = RequestHeaderFieldsTooLarge(f"more than {MAX_HEADERS} fields")
        size = max(self.content_length, self.body_bytes_received)
        if self.error is None and size > self._max_bytes:
            self.error = RequestEntityTooLarge(_too_large(self._max_bytes))
        if self.error is None and not self._hold(self.body_bytes_received - self._held_bytes):
            self.error = _TooManyBodies(f"too many bodies at once; try again in {RETRY_AFTER_S} s")

    def _hold(self, more_bytes: int) -> bool:
        if self._closed:
            return False
        taken = self._budget.take(more_bytes)
        self._held_bytes += more_bytes if taken else 0
        return taken


def _too_large(max_bytes: int) -> str:
    hint = "" if max_bytes == MAX_BODY_BYTES else "; with the token in a header it may have 1 MiB"
    return f"a body may have {max_bytes} bytes{hint}"


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that counts as idle since its request began, or since its answer was written.
    waitress' own channel takes each byte for activity, so a peer that sends or reads a byte a
    minute would never be cut off."""

    last_activity: float
    request: Any

    def __init__(self, *args: Any, limits: BodyLimits, map: dict[int, Any]) -> None:  # noqa: A002
        self.parser_class = partial(_Request, limits=limits)
        super().__init__(*args, map=map)
        _make_room(map)

    def handle_read(self) -> None:
        began: float = time.time() if self.request is None else self.last_activity
        super().handle_read()
        if self.request is not None:
            self.last_activity = began

    def handle_write(self) -> None:
        written: float = self.last_activity
        super().handle_write()
        if self.total_outbufs_len:
            self.last_activity = written

    def handle_close(self) -> None:
        super().handle_close()
        if self.request is not None:
            self.request.close()


def _make_room(servers: Mapping[int, Any]) -> None:
    """Closes the connection that has waited longest for its sender, so that those who hold many
    connections open shut nobody out."""
    channels = [each for each in servers.values() if isinstance(each, _Channel)]
    waiting = [each for each in channels if not each.requests and not each.will_close]
    if len(channels) > CONNECTIONS and waiting:
        min(waiting, key=lambda each: each.last_activity).will_close = True
