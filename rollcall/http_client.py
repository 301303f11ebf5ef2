"""An HTTP client with hard limits for the size of an answer and for the time of a call.

Common HTTP clients decompress answers, which can turn 3 KB into 4 GB, and their time-outs start
again with each byte that arrives. This client asks for uncompressed answers and refuses compressed
ones. A socket operation may take only the time that is left for the whole call
(docs/decisions/0060).
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore

CONNECT_TIMEOUT_S = 5.0
"""Longest wait for a connection, so that a call to an unreachable host fails early."""

KEEP_IDLE_S = 5.0
"""An idle connection is closed after this time. Gateways close idle connections too, and a request
on a connection that a gateway has just closed would fail."""

NOT_ENCODED = "/%:@!$&'()*+,;=~?"
"""Characters of a path or query that are sent unchanged, besides letters, digits, `-`, `.` and `_`
(RFC 3986, 3.3 and 3.4). `%` is one of them, because it begins characters that are already encoded.
All other characters are percent-encoded."""

_PIECE_BYTES = 16384
"""Largest part of a request that is written to the socket at once."""

_MAX_SKIPPED_BYTES = 16384
"""Longest body that is read although nobody wants it. After a longer one the connection is closed,
which costs less."""


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


class HttpClient:
    """An HTTP client that does not follow redirects. Safe to share between threads."""

    def __init__(
        self,
        *,
        connections: int = 1,
        ca_bundle: str = "",
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        """`connections` is the largest number of open connections for each URL scheme.

        `ca_bundle` is the path of a PEM file that replaces the public CAs. `proxies` maps schemes
        to the URLs of proxies, as `urllib.request.getproxies` returns them.
        """
        self._deadline = _Deadline()
        self._connections = connections
        self._ca_bundle = ca_bundle
        self._proxies = proxies or {}
        self._lock = threading.Lock()
        self._pools: dict[str, httpcore.ConnectionPool] = {}

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def get(self, url: str, *, timeout_s: float, max_bytes: int) -> Answer:
        return self.request("GET", url, {}, b"", timeout_s=timeout_s, max_bytes=max_bytes)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        *,
        timeout_s: float,
        max_bytes: int = 0,
        wants_body: bool = True,
    ) -> Answer:
        """Send a request and read the whole answer.

        Raises TooLong if the body is longer than `max_bytes`, and NoAnswer if there is no usable
        answer within `timeout_s` seconds. Without `wants_body`, the status and the headers alone
        are the answer, and no body is wrong.
        """
        ascii_url, url_headers = _url_and_headers(url)
        all_headers = [*url_headers.items(), ("Accept-Encoding", "identity"), *headers.items()]
        self._deadline.start(timeout_s)
        call = self._pool(ascii_url).stream(
            method, ascii_url, headers=all_headers, content=content or None, extensions=_TIMEOUTS
        )
        try:
            with call as response:
                response_headers = _joined(response.headers)
                if not wants_body:
                    self._skip(response.iter_stream())
                    return Answer(response.status, response_headers, b"")
                _refuse_encoded(response_headers.get("content-encoding", ""))
                body = self._read(response.iter_stream(), max_bytes)
                return Answer(response.status, response_headers, body)
        except _VENDOR_ERRORS as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    def _read(self, chunks: Iterable[bytes], max_bytes: int) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise TooLong(f"the answer is longer than {max_bytes} bytes")
            # A chunk may come from a buffer, without a read of the socket that checks the deadline.
            self._deadline.check()
        return bytes(body)

    def _skip(self, chunks: Iterable[bytes]) -> None:
        """Read a short body, so that the connection can be used again."""
        with suppress(TooLong, *_VENDOR_ERRORS):
            self._read(chunks, _MAX_SKIPPED_BYTES)

    def _pool(self, url: str) -> httpcore.ConnectionPool:
        # One pool for each scheme, because each scheme may have its own proxy.
        scheme = urlsplit(url).scheme
        with self._lock:
            if scheme not in self._pools:
                self._pools[scheme] = self._new_pool(scheme)
            return self._pools[scheme]

    def _new_pool(self, scheme: str) -> httpcore.ConnectionPool:
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        context = self._context() if scheme == "https" else None
        backend = _Backend(self._deadline)
        if proxy:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            return httpcore.HTTPProxy(
                parts.geturl(),
                proxy_auth=_login(parts),
                ssl_context=context,
                max_connections=self._connections,
                keepalive_expiry=KEEP_IDLE_S,
                network_backend=backend,
            )
        return httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=self._connections,
            keepalive_expiry=KEEP_IDLE_S,
            network_backend=backend,
        )

    def _context(self) -> ssl.SSLContext:
        if self._ca_bundle:
            return ssl.create_default_context(cafile=self._ca_bundle)
        return httpcore.default_ssl_context()


def proxies_for(url: str) -> Mapping[str, str]:
    """The machine's proxies, by scheme; empty if its settings exclude the URL's host."""
    return {} if proxy_bypass(urlsplit(url).hostname or "") else getproxies()


_TIMEOUTS = {"timeout": {"connect": CONNECT_TIMEOUT_S}}
"""Only httpcore's connect time-out is set. `_Stream` applies the deadline of the call to the
rest."""

_VENDOR_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _url_and_headers(url: str) -> tuple[str, dict[str, str]]:
    """The URL in ASCII without user and password, and the headers Host and Authorization."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    try:
        # ASCII names are encoded only to check them. The error for an empty or overlong label is
        # clearer here than the one that opening a socket would raise.
        encoded = host.encode("idna").decode()
        host = host if host.isascii() else encoded
    except UnicodeError as error:
        raise NoAnswer(f"{host!r} is not a host name") from error
    headers = {"Host": host}
    if login := _login(parts):
        pair = b":".join(login)
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    path, query = (quote(part, safe=NOT_ENCODED) for part in (parts.path, parts.query))
    return parts._replace(netloc=host, path=path, query=query).geturl(), headers


def _login(parts: SplitResult) -> tuple[bytes, bytes] | None:
    """User and password of a URL."""
    if parts.username is None:
        return None
    return unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _refuse_encoded(content_encoding: str) -> None:
    if {coding.strip().lower() for coding in content_encoding.split(",")} - {"", "identity"}:
        raise NoAnswer(
            f"the answer is encoded (Content-Encoding: {content_encoding:.40}), although the"
            " request forbids that; if a proxy compresses answers, turn that off"
        )


class _Deadline:
    """The time by which the current thread's call has to end."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def start(self, timeout_s: float) -> None:
        self._of_thread.until_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """The seconds that are left, always more than 0. Raises httpcore.ReadTimeout."""
        left_s: float = self._of_thread.until_s - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the call took longer than its time-out")
        return left_s

    def check(self) -> None:
        """Raise httpcore.ReadTimeout if the deadline has passed."""
        self.left_s()


class _Backend(httpcore.NetworkBackend):
    """Opens connections that apply the deadline of the call to every operation."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        limit_s = _shorter(timeout, self._deadline)
        opened = self._sockets.connect_tcp(host, port, limit_s, local_address, socket_options)
        return _Stream(opened, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _shorter(timeout, self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # httpcore's time-out starts again whenever the peer accepts some bytes. Therefore the
        # request is written in small pieces, each with only the time that is left.
        for start in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[start : start + _PIECE_BYTES]
            self._stream.write(piece, _shorter(timeout, self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit_s = _shorter(timeout, self._deadline)
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, limit_s), self._deadline
        )

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _shorter(timeout: float | None, deadline: _Deadline) -> float:
    """httpcore's time-out or the time that is left for the call, whichever is shorter."""
    left_s = deadline.left_s()
    return left_s if timeout is None else min(timeout, left_s)
