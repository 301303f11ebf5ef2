"""One HTTP connection: its socket, TLS, and requests with a limit for the time of each call.

Every operation of the socket may take only the time that is left for the call, so a server that
sends a byte every few seconds cannot keep a call running.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import h11

CONNECT_TIMEOUT_S = 5.0
"""Longest wait for a connection, so that a call to an unreachable host fails early."""

MAX_HEAD_BYTES = 100 << 10
"""Longest status line with headers, or length of a chunk, that is read."""

_READ_BYTES = 64 << 10

_MAX_SKIPPED_BYTES = 16384
"""Longest unwanted body that is read, so that the connection can be used again. Reading a longer
body would cost more than a new connection."""


class NoAnswer(Exception):
    """Raised if a call has no usable answer.

    The host name is malformed, the connection failed, the call took too long, or the answer is
    compressed.
    """


class TooLong(NoAnswer):
    """The answer is longer than the caller's limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Values by name. Names are in lower case; the values of a repeated header are joined by
    commas."""
    body: bytes


class Deadline:
    """The time by which a call has to end."""

    def __init__(self, timeout_s: float) -> None:
        self._until_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """The seconds that are left, always more than 0. Raises NoAnswer."""
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise NoAnswer("ReadTimeout: the call took longer than its time-out")
        return left_s


class Stream(Protocol):
    """A connection in both directions. Its methods raise OSError, also for a time-out."""

    def send(self, data: bytes, deadline: Deadline) -> None: ...

    def receive(self, deadline: Deadline) -> bytes:
        """Return the bytes that have arrived, and wait if there are none; empty at the end."""
        ...

    def is_readable(self) -> bool:
        """Whether unrequested bytes, or the end of the stream, have arrived."""
        ...

    def close(self) -> None: ...


class SocketStream:
    """A TCP connection."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        limit_s = min(CONNECT_TIMEOUT_S, deadline.left_s())
        try:
            self._socket = socket.create_connection((host, port), limit_s)
        except TimeoutError as error:
            raise NoAnswer(f"ConnectTimeout: {error}") from error
        except OSError as error:
            raise NoAnswer(f"ConnectError: {error}") from error
        try:
            # Looking up the host has no time limit, and each of its addresses has the whole limit.
            deadline.left_s()
        except NoAnswer:
            self._socket.close()
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # With a time-out, each operation of Python's sockets is two system calls, and setting the
        # time-out is another one. Each of them also gives up the interpreter's lock.
        self._socket.setblocking(False)
        self._input, self._output = select.poll(), select.poll()
        self._input.register(self._socket, select.POLLIN)
        self._output.register(self._socket, select.POLLOUT)

    def send(self, data: bytes, deadline: Deadline) -> None:
        unsent = memoryview(data)
        while unsent:
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                _wait(self._output, deadline)

    def receive(self, deadline: Deadline) -> bytes:
        while True:
            _wait(self._input, deadline)
            try:
                return self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                pass  # poll may report bytes that the kernel then drops, see select(2)

    def is_readable(self) -> bool:
        return bool(self._input.poll(0))

    def close(self) -> None:
        self._socket.close()


def _wait(ready: select.poll, deadline: Deadline) -> None:
    if not ready.poll(math.ceil(deadline.left_s() * 1000)):
        raise TimeoutError("timed out")


class TlsStream:
    """TLS on top of another stream, which may be a tunnel through a proxy."""

    def __init__(
        self, inner: Stream, context: ssl.SSLContext, host: str, deadline: Deadline
    ) -> None:
        self._inner = inner
        self._received, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._unsent, server_hostname=host)
        try:
            while not self._shakes_hands():
                self._flush(deadline)
                self._fetch(deadline)
            self._flush(deadline)
        except TimeoutError as error:
            raise NoAnswer(f"ConnectTimeout: {error}") from error
        except OSError as error:
            raise NoAnswer(f"ConnectError: {error}") from error

    def send(self, data: bytes, deadline: Deadline) -> None:
        while data:
            data = data[self._tls.write(data) :]
        self._flush(deadline)

    def receive(self, deadline: Deadline) -> bytes:
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fetch(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def is_readable(self) -> bool:
        unread = self._received.pending or self._tls.pending()
        return bool(unread) or self._inner.is_readable()

    def close(self) -> None:
        self._inner.close()

    def _shakes_hands(self) -> bool:
        """Continue the handshake, and return whether it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _flush(self, deadline: Deadline) -> None:
        if data := self._unsent.read():
            self._inner.send(data, deadline)

    def _fetch(self, deadline: Deadline) -> None:
        if data := self._inner.receive(deadline):
            self._received.write(data)
        else:
            self._received.write_eof()


class Connection:
    """A connection to a server or proxy, for one request after the other. Not safe for threads."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    def close(self) -> None:
        self.stream.close()

    def is_idle(self) -> bool:
        """Whether the last answer was read completely, and the server keeps the connection."""
        return self._http.our_state is h11.IDLE

    def is_reusable(self) -> bool:
        """Whether another request may be sent. The server may have closed the connection since."""
        return self.is_idle() and not self.stream.is_readable()

    def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        content: bytes,
        deadline: Deadline,
        max_bytes: int | None,
    ) -> Answer:
        """Send a request, and read the whole answer. Raises NoAnswer and TooLong.

        With None as `max_bytes` the body is not wanted. The answer is then complete without it.
        """
        try:
            self._send(
                h11.Request(method=method, target=target, headers=headers), content, deadline
            )
            head = self._read_head(deadline)
            found = _joined(head)
            if max_bytes is None:
                with suppress(NoAnswer, h11.ProtocolError):
                    self._read_body(deadline, _MAX_SKIPPED_BYTES)
                body = b""
            else:
                _refuse_encoded(found.get("content-encoding", ""))
                body = self._read_body(deadline, max_bytes)
            answer = Answer(head.status_code, found, body)
            # Bytes after the answer would be taken for the answer to the next request.
            if self._http.their_state is h11.DONE and not self._http.trailing_data[0]:
                self._http.start_next_cycle()
        except h11.ProtocolError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        return answer

    def _send(self, request: h11.Request, content: bytes, deadline: Deadline) -> None:
        data = self._http.send(request) or b""
        if content:
            data += self._http.send(h11.Data(data=content)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        try:
            self.stream.send(data, deadline)
        except TimeoutError as error:
            raise NoAnswer(f"WriteTimeout: {error}") from error
        except OSError:
            pass  # a server may refuse and answer a request before it has read all of it

    def _read_head(self, deadline: Deadline) -> h11.Response:
        while True:
            event = self._next_event(deadline)
            if isinstance(event, h11.Response):
                return event

    def _read_body(self, deadline: Deadline, max_bytes: int) -> bytes:
        body = bytearray()
        # After CONNECT there is no body. The connection then belongs to the tunnel: PAUSED.
        while isinstance(event := self._next_event(deadline), h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise TooLong(f"the answer is longer than {max_bytes} bytes")
        return bytes(body)

    def _next_event(self, deadline: Deadline) -> object:
        # One received piece may contain several events, so each event has to check the deadline.
        deadline.left_s()
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                data = self.stream.receive(deadline)
            except TimeoutError as error:
                raise NoAnswer(f"ReadTimeout: {error}") from error
            except OSError as error:
                raise NoAnswer(f"ReadError: {error}") from error
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise NoAnswer(
                    "RemoteProtocolError: Server disconnected without sending a response."
                )
            self._http.receive_data(data)
        return event


def _joined(head: h11.Response) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in head.headers:  # h11 has made the names lower case
        key, text = name.decode("latin-1"), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _refuse_encoded(content_encoding: str) -> None:
    if not content_encoding:
        return
    if {coding.strip().lower() for coding in content_encoding.split(",")} - {"", "identity"}:
        raise NoAnswer(
            f"the answer is encoded (Content-Encoding: {content_encoding:.40}), although the"
            " request forbids that; if a proxy compresses answers, turn that off"
        )
