"""The HTTP client limits the size of an answer on the wire and the time of a whole call."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import pytest
from support.memory import watch_peak
from support.servers import serve_bytes
from support.settings import embedded_settings

from devstack.processes import answers
from rollcall import http_connection
from rollcall.core.errors import SettingsError, StoreUnavailable
from rollcall.core.types import VideoRef
from rollcall.core.work import Work
from rollcall.http_client import HttpClient, NoAnswer, TooLong
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.trigger import advertised, sns
from rollcall.trigger.caller import FunctionCaller

MB = 1 << 20
TIMEOUT_S = 1.0


def packed(times: int, size: int = 64 * MB) -> bytes:
    """Zeros, compressed repeatedly."""
    body = gzip.compress(bytes(size))
    for _ in range(times - 1):
        body = gzip.compress(body)
    return body


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient() as opened:
        yield opened


def get(client: HttpClient, url: str, timeout_s: float = 30.0) -> bytes:
    return client.get(url, timeout_s=timeout_s, max_bytes=MB).body


ENCODINGS = ["gzip", "gzip, gzip", "GZIP", "deflate", "br", "zstd", "x-gzip", "identity, gzip"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoded_answer_is_refused_unread(client: HttpClient, encoding: str) -> None:
    body = packed(encoding.count("gzip") or 1)
    peak = watch_peak()
    whole = answer(body, f"Content-Encoding: {encoding}")
    with serve_bytes(whole) as url, pytest.raises(NoAnswer, match="encoded"):
        get(client, url)
    assert peak() < 24 * MB


def test_encodings_in_two_headers_are_refused_too(client: HttpClient) -> None:
    for pair in (("identity", "gzip"), ("gzip", "identity")):
        headers = [f"Content-Encoding: {each}" for each in pair]
        whole = answer(packed(1, MB), *headers)
        with serve_bytes(whole) as url, pytest.raises(NoAnswer, match="encoded"):
            get(client, url)


@pytest.mark.parametrize("headers", [(), ("Content-Encoding: identity",), ("Content-Encoding:",)])
def test_a_plain_answer_is_read(client: HttpClient, headers: tuple[str, ...]) -> None:
    with serve_bytes(answer(b"body", *headers)) as url:
        assert get(client, url) == b"body"


def test_an_answer_above_the_limit_is_refused(client: HttpClient) -> None:
    with serve_bytes(answer(bytes(MB))) as url:
        assert len(get(client, url)) == MB
    with serve_bytes(answer(bytes(MB + 1))) as url, pytest.raises(TooLong, match="1048576"):
        get(client, url)
    chunks = b"10000\r\n" + bytes(65536) + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks * 64
    with serve_bytes(endless) as url, pytest.raises(TooLong):
        get(client, url)


def test_a_request_refuses_encodings_and_redirects_are_not_followed() -> None:
    asked: list[bytes] = []
    moved = answer(b"", "Location: /x", status="302 Found")
    with talking(lambda opened: None, moved, asked) as at, HttpClient() as client:
        assert client.get(at, timeout_s=30, max_bytes=9).status == 302
    (request,) = asked
    assert b"\r\naccept-encoding: identity\r\n" in request.lower()


def test_a_login_in_the_address_is_sent_as_basic_auth() -> None:
    asked: list[bytes] = []
    with talking(lambda opened: None, answer(b"ok"), asked) as at, HttpClient() as client:
        get(client, at.replace("http://", "http://me:p%40ss@") + "/a")
    assert b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:" in asked[0]
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in asked[0]


# --- the time of a whole call


@contextmanager
def talking(
    then: Callable[[socket.socket], None], first: bytes, asked: list[bytes] | None = None
) -> Iterator[str]:
    """A server that reads a request, sends `first`, and then calls `then`."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                opened, _ = server.accept()
                with opened, suppress(OSError):
                    request = opened.recv(65536)
                    if asked is not None:
                        asked.append(request)
                    opened.sendall(first)
                    then(opened)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(60)  # after a failure, a connection may stay open as long as the client exists


def drip(piece: bytes, closed: threading.Event) -> Callable[[socket.socket], None]:
    """Return a function that sends `piece` until the other side closes the connection.

    It then sets `closed`.
    """

    def then(opened: socket.socket) -> None:
        try:
            while True:
                opened.sendall(piece)
                time.sleep(0.02)
        except OSError:
            closed.set()

    return then


DRIPS = {
    "bytes of a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "100s": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "bytes of a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "a body without length": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "bytes of a chunk's length": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_call_ends_in_time_however_the_answer_drips(client: HttpClient, name: str) -> None:
    """Without a limit for the whole call, such a server could keep the call running for ever."""
    first, piece = DRIPS[name]
    closed, ended = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def call() -> None:
        try:
            get(client, url, TIMEOUT_S)
        except NoAnswer as error:
            errors.append(error)
        ended.set()

    with talking(drip(piece, closed) if piece else idle, first) as url:
        threading.Thread(target=call, daemon=True).start()
        assert ended.wait(60), "the call goes on for ever"
        assert piece == b"" or closed.wait(60), "its connection stays open"
    assert errors


def idle(opened: socket.socket) -> None:
    opened.recv(1)


class LaterClock:
    """Replaces the module `time` in `http_connection`, with a clock that can be put forward."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.later_s


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> LaterClock:
    """The clock of the deadlines. Connections stay idle for as long as a busy machine needs."""
    clock = LaterClock()
    monkeypatch.setattr(http_connection, "time", clock)
    monkeypatch.setattr("rollcall.http_client.KEEP_IDLE_S", 600.0)
    return clock


def test_each_call_on_a_reused_connection_has_its_own_deadline(
    client: HttpClient, deadlines: LaterClock
) -> None:
    accepted: list[int] = []

    def serve(opened: socket.socket) -> None:
        accepted.append(1)
        while opened.recv(65536):
            opened.sendall(answer(b"again"))

    with talking(serve, answer(b"first")) as url:
        assert get(client, url, 30) == b"first"
        deadlines.later_s = 30
        assert [get(client, url) for _ in range(3)] == [b"again"] * 3
        assert accepted == [1]
        client.close()


# --- every caller of the client


@pytest.fixture
def work() -> Work:
    queue = MemoryQueue()
    queue.add([VideoRef("videos", "a.mp4")])
    (claimed,) = queue.claim(1, 60)
    return claimed


def call_function(url: str, work: Work, timeout_s: float) -> str:
    caller = FunctionCaller(url, "face-recognition", timeout_s, 1)
    verdict = caller.call(work)
    caller.close()
    assert (verdict.outcome, verdict.code) == ("retry", "no_answer")
    return verdict.message


def fetch_certificate(url: str, work: Work, timeout_s: float) -> str:
    with patch.object(sns, "FETCH_TIMEOUT_S", timeout_s), pytest.raises(StoreUnavailable) as caught:
        sns.fetch_certificate(url + "/x.pem")
    return str(caught.value)


def probe(url: str, work: Work, timeout_s: float) -> str:
    with (
        patch.multiple(advertised, PROBE_TIMEOUT_S=timeout_s, PROBES=1),
        pytest.raises(SettingsError) as caught,
    ):
        advertised.probe(url + "/events", embedded_settings(url))
    return str(caught.value)


def wait_for_process(url: str, work: Work, timeout_s: float) -> str:
    assert not answers(url)()
    return "encoded"


Caller = Callable[[str, Work, float], str]
"""Asks the URL with a time-out, and returns the message about the failure."""

CALLERS: list[Caller] = [call_function, fetch_certificate, probe, wait_for_process]


@pytest.mark.parametrize("ask", CALLERS, ids=lambda ask: ask.__name__)
def test_no_caller_unpacks_an_answer(ask: Caller, work: Work) -> None:
    body = packed(2, 128 * MB)
    peak = watch_peak()
    with serve_bytes(answer(body, "Content-Encoding: gzip, gzip")) as url:
        assert "encoded" in ask(url, work, 60)
    assert peak() < 24 * MB


@pytest.mark.parametrize("ask", CALLERS, ids=lambda ask: ask.__name__)
def test_no_caller_waits_for_early_hints_for_ever(ask: Caller, work: Work) -> None:
    first, piece = DRIPS["early hints"]
    closed, ended = threading.Event(), threading.Event()

    def call() -> None:
        ask(url, work, TIMEOUT_S)
        ended.set()

    with talking(drip(piece, closed), first) as url:
        threading.Thread(target=call, daemon=True).start()
        assert ended.wait(60), "the call goes on for ever"
        assert closed.wait(60), "its connection stays open"


def test_a_proxy_is_used_with_its_login() -> None:
    asked: list[bytes] = []
    with talking(lambda opened: None, answer(b"pem"), asked) as proxy:
        login = proxy.replace("http://", "http://me:secret@")
        with HttpClient(proxies={"http": login}) as client:
            assert get(client, "http://sns.example/x.pem") == b"pem"
    assert asked[0].startswith(b"GET http://sns.example/x.pem HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked[0]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".org", "\u00fc" * 70])
def test_a_malformed_host_is_no_answer(client: HttpClient, host: str) -> None:
    with pytest.raises(NoAnswer, match="not a host name"):
        get(client, f"http://{host}:9/")


def test_a_path_with_any_characters_can_be_requested(client: HttpClient) -> None:
    with pytest.raises(NoAnswer, match="Connect"):
        get(client, "http://127.0.0.1:9/\u00fc a?q=\u00e9")


def test_a_call_does_not_begin_after_its_time_out(
    monkeypatch: pytest.MonkeyPatch, deadlines: LaterClock
) -> None:
    """Looking up a host may take longer than the whole call may take."""
    look_up = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        deadlines.later_s += 60
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with socket.create_server(("127.0.0.1", 0)) as server, HttpClient() as client:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(NoAnswer, match="time-out"):
            client.request("POST", url, {}, b"x", timeout_s=60, max_bytes=10)
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b""


@pytest.mark.parametrize(
    "url", ["http://admin:secret@gate..way:8080/x", "ftp://admin:secret@gateway/x"]
)
def test_messages_about_malformed_urls_show_no_password(url: str) -> None:
    with HttpClient() as client, pytest.raises(NoAnswer) as raised:
        client.get(url, timeout_s=1, max_bytes=10)
    assert "secret" not in str(raised.value)
