"""HTTP calls with hard limits: bytes of an answer as they come over the wire, and total time.

A client that unpacks `Content-Encoding` turns 3 KB into 4 GB, and a time-out per read starts again
with each byte. So answers are asked for without encoding, encoded ones are refused, and each read
from the socket ends at the call's own deadline, whatever arrives until then (docs/decisions/0060).
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

import httpcore

CONNECT_TIMEOUT_S = 5.0

KEEP_IDLE_S = 5.0
"""An idle connection is closed after this time, before a gateway on the way forgets it."""


SAFE_IN_PATH = "/%:@!$&'()*+,;=~?"
"""Left as it is; everything else that an address may not hold is encoded (RFC 3986, 3.3)."""


class NoAnswer(Exception):
    """There is no usable answer: no connection, a broken one, too slow, too long, or encoded."""


class TooLong(NoAnswer):
    """The answer is longer than the caller takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Follows no redirection, and opens no address but the one it is given.

    Safe for threads. `proxies` are addresses by scheme, as `urllib.request.getproxies` gives them.
    """

    def __init__(
        self,
        *,
        connections: int = 1,
        ca_bundle: str = "",
        proxies: Mapping[str, str] | None = None,
    ) -> None:
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
        max_bytes: int,
    ) -> Answer:
        """Raises NoAnswer. The connection of a call that took `timeout_s` is closed."""
        address, given = _address(url)
        sent = [*given.items(), ("Accept-Encoding", "identity"), *headers.items()]
        self._deadline.start(timeout_s)
        call = self._pool(address).stream(
            method, address, headers=sent, content=content or None, extensions=_TIMEOUTS
        )
        try:
            with call as response:
                found = _joined(response.headers)
                _refuse_encoded(found.get("content-encoding", ""))
                body = self._read(response.iter_stream(), max_bytes)
                return Answer(response.status, found, body)
        except _VENDOR_ERRORS as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    def _read(self, chunks: Iterable[bytes], max_bytes: int) -> bytes:
        """Checks the time here too: a chunk may come out of a buffer, without another read."""
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise TooLong(f"the answer is longer than {max_bytes} bytes")
            self._deadline.left_s()
        return bytes(body)

    def _pool(self, url: str) -> httpcore.ConnectionPool:
        """One for each scheme, because a proxy is chosen by it."""
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


_TIMEOUTS = {"timeout": {"connect": CONNECT_TIMEOUT_S}}
"""All others follow from the deadline."""

_VENDOR_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _address(url: str) -> tuple[str, dict[str, str]]:
    """The address in ASCII and without a login, and the headers that follow from it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    try:
        host.encode("idna")  # also says when an ASCII name is malformed, before a socket does
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise NoAnswer(f"{host!r} is not a host name") from error
    headers = {"Host": host}
    if login := _login(parts):
        pair = b":".join(login)
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    path, query = (quote(each, safe=SAFE_IN_PATH) for each in (parts.path, parts.query))
    return parts._replace(netloc=host, path=path, query=query).geturl(), headers


def _login(parts: SplitResult) -> tuple[bytes, bytes] | None:
    if parts.username is None:
        return None
    return unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _refuse_encoded(content_encoding: str) -> None:
    if {each.strip().lower() for each in content_encoding.split(",")} - {"", "identity"}:
        raise NoAnswer(f"the answer is encoded ({content_encoding:.40}) although we asked for none")


class _Deadline:
    """The end of the call that a thread is in."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def start(self, timeout_s: float) -> None:
        self._of_thread.until_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """More than 0. Raises httpcore.ReadTimeout when the time is over."""
        left_s: float = self._of_thread.until_s - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the time of the whole call is over")
        return left_s


class _Backend(httpcore.NetworkBackend):
    """Opens connections whose every operation ends at the deadline of the call."""

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
        limit_s = _least(timeout, self._deadline)
        opened = self._sockets.connect_tcp(host, port, limit_s, local_address, socket_options)
        return _Stream(opened, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _least(timeout, self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """In pieces, because the time-out of the stream is one for each piece that the peer
        takes."""
        for start in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[start : start + _PIECE_BYTES]
            self._stream.write(piece, _least(timeout, self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit_s = _least(timeout, self._deadline)
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, limit_s), self._deadline
        )

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


_PIECE_BYTES = 16384


def _least(timeout: float | None, deadline: _Deadline) -> float:
    left_s = deadline.left_s()
    return left_s if timeout is None else min(timeout, left_s)
