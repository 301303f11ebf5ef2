"""An HTTP client with hard limits for the size of an answer and for the time of a call.

Common HTTP clients decompress answers, which can turn 3 KB into 4 GB, and their time-outs start
again with each byte that arrives. This client asks for uncompressed answers and refuses compressed
ones. A socket operation may take only the time that is left for the whole call
(docs/decisions/0060 and 0113).
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from rollcall.http_connection import (
    Answer,
    Connection,
    Deadline,
    NoAnswer,
    SocketStream,
    Stream,
    TlsStream,
    TooLong,
)

__all__ = ["Answer", "HttpClient", "NoAnswer", "TooLong", "proxies_for"]

KEEP_IDLE_S = 5.0
"""An idle connection is closed after this time. Gateways close idle connections too, and a request
on a connection that a gateway has just closed would fail."""

NOT_ENCODED = "/%:@!$&'()*+,;=~?"
"""Characters of a path or query that are sent unchanged, besides letters, digits, `-`, `.` and `_`
(RFC 3986, 3.3 and 3.4). `%` is one of them, because it begins characters that are already encoded.
All other characters are percent-encoded."""

_PORTS = {"http": 80, "https": 443}

_PROXY_ANSWER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Server:
    """The server at the other end of a connection. Idle connections are reused by equal servers."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Url:
    """A URL in the parts that a request needs."""

    server: _Server
    host_header: str
    target: str
    login: str
    """The header Authorization; empty without a user in the URL."""


class HttpClient:
    """An HTTP client that does not follow redirects. Safe to share between threads."""

    def __init__(
        self,
        *,
        connections: int = 1,
        ca_bundle: str = "",
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        """`connections` is the largest number of idle connections that are kept.

        `ca_bundle` is the path of a PEM file that replaces the public CAs. `proxies` maps schemes
        to the URLs of proxies, as `urllib.request.getproxies` returns them.
        """
        self._connections = connections
        self._ca_bundle = ca_bundle
        self._proxies = proxies or {}
        self._lock = threading.Lock()
        self._idle: list[tuple[_Server, Connection, float]] = []
        """Server, connection, and since when the connection is idle; the newest comes last."""
        self._tls_context: ssl.SSLContext | None = None

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection, _ in idle:
            connection.close()

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
        answer within `timeout_s` seconds. If `wants_body` is false, the answer has only the status
        and the headers, and no body is an error.
        """
        parts = _parsed(url)
        sent = [("Host", parts.host_header), ("Accept-Encoding", "identity"), *headers.items()]
        if parts.login:
            sent.append(("Authorization", parts.login))
        if content:
            sent.append(("Content-Length", str(len(content))))
        target, proxy = parts.target, self._proxy(parts.server.scheme)
        if proxy and parts.server.scheme == "http":
            target = f"http://{parts.host_header}{target}"
            if proxy.login:
                sent.append(("Proxy-Authorization", proxy.login))
        limit_bytes = max_bytes if wants_body else None
        deadline = Deadline(timeout_s)
        connection = self._idle_connection(parts.server) or self._open(parts, proxy, deadline)
        try:
            return connection.request(method, target, sent, content, deadline, limit_bytes)
        finally:
            self._keep_or_close(parts.server, connection)

    def _idle_connection(self, server: _Server) -> Connection | None:
        """Take an idle connection, unless the server has closed it."""
        while True:
            with self._lock:
                found = [at for at, (to, _, _) in enumerate(self._idle) if to == server]
                if not found:
                    return None
                _, connection, since_s = self._idle.pop(found[-1])
            if time.monotonic() < since_s + KEEP_IDLE_S and connection.is_reusable():
                return connection
            connection.close()

    def _keep_or_close(self, server: _Server, connection: Connection) -> None:
        ended = [] if connection.is_idle() else [connection]
        now_s = time.monotonic()
        with self._lock:
            if not ended:
                self._idle.append((server, connection, now_s))
            # The first ones have been idle longest.
            while len(self._idle) > self._connections:
                ended.append(self._idle.pop(0)[1])
            while self._idle and self._idle[0][2] + KEEP_IDLE_S <= now_s:
                ended.append(self._idle.pop(0)[1])
        for each in ended:
            each.close()

    def _open(self, url: _Url, proxy: _Url | None, deadline: Deadline) -> Connection:
        stream = self._connect((proxy or url).server, deadline)
        try:
            if proxy and url.server.scheme == "https":
                _open_tunnel(stream, url.server, proxy, deadline)
                stream = self._secured(stream, url.server.host, deadline)
        except BaseException:
            stream.close()
            raise
        return Connection(stream)

    def _connect(self, server: _Server, deadline: Deadline) -> Stream:
        stream = SocketStream(server.host, server.port, deadline)
        if server.scheme == "http":
            return stream
        try:
            return self._secured(stream, server.host, deadline)
        except BaseException:
            stream.close()
            raise

    def _secured(self, stream: Stream, host: str, deadline: Deadline) -> TlsStream:
        with self._lock:
            self._tls_context = self._tls_context or self._new_context()
        return TlsStream(stream, self._tls_context, host, deadline)

    def _new_context(self) -> ssl.SSLContext:
        if self._ca_bundle:
            context = ssl.create_default_context(cafile=self._ca_bundle)
        else:
            context = ssl.create_default_context()
            context.load_verify_locations(certifi.where())
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _proxy(self, scheme: str) -> _Url | None:
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        if not proxy:
            return None
        return _parsed(proxy if "://" in proxy else f"http://{proxy}")


def proxies_for(url: str) -> Mapping[str, str]:
    """The machine's proxies, by scheme; empty if its settings exclude the URL's host."""
    return {} if proxy_bypass(urlsplit(url).hostname or "") else getproxies()


def _open_tunnel(stream: Stream, server: _Server, proxy: _Url, deadline: Deadline) -> None:
    """Ask a proxy to pass everything on to the server. Raises NoAnswer."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    headers = [("Host", f"{host}:{server.port}"), ("Accept", "*/*")]
    if proxy.login:
        headers.append(("Proxy-Authorization", proxy.login))
    target = f"{host}:{server.port}"
    answer = Connection(stream).request(
        "CONNECT", target, headers, b"", deadline, _PROXY_ANSWER_BYTES
    )
    if not 200 <= answer.status < 300:
        raise NoAnswer(f"ProxyError: the proxy answered {answer.status}")


@lru_cache(maxsize=64)
def _parsed(url: str) -> _Url:
    """The parts of a URL in ASCII. Raises NoAnswer."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        # ASCII names are encoded only to check them. The error for an empty or overlong label is
        # clearer here than the one that opening a socket would raise.
        encoded = host.encode("idna").decode()
        host = host if host.isascii() else encoded
        name, port = urlsplit(f"//{host}").hostname or "", parts.port
    except ValueError as error:  # UnicodeError is one
        raise NoAnswer(f"{_host_in(url)!r:.80} is not a host name") from error
    if parts.scheme not in _PORTS:
        raise NoAnswer(f"UnsupportedProtocol: {parts.scheme!r:.20} is not http or https")
    server = _Server(parts.scheme, name, port or _PORTS[parts.scheme])
    path, query = (quote(part, safe=NOT_ENCODED) for part in (parts.path, parts.query))
    target = (path or "/") + (f"?{query}" if query else "")
    return _Url(server, host, target, _login(parts))


def _host_in(url: str) -> str:
    """The host and port of a malformed URL, without a login or path, which may be secret."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _login(parts: SplitResult) -> str:
    """Basic authentication with the user and password of a URL; empty without a user."""
    if parts.username is None:
        return ""
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return "Basic " + base64.b64encode(pair).decode()
