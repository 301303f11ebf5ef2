"""Hostile requests to the trigger's server and to the function's server."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.memory import watch_peak
from support.needs import REPOSITORY, need
from support.raw_http import connection, exchange, status_of
from support.servers import done, serve_wsgi
from support.settings import TOKEN
from support.waiting import DEADLINE_S, wait_until

from devstack.processes import Process, Processes, answers, free_port
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.trigger import http_server
from tests.functional.test_trigger import Running, event, running

SLOW_SENDERS = 3 * http_server.HTTP_THREADS


@pytest.fixture
def trigger() -> Iterator[Running]:
    with running(lambda call: done()) as started:
        yield started


def request(
    head: bytes = b"", body: bytes = b"", method: bytes = b"POST", path: bytes = b"/events"
) -> bytes:
    start = b"%b %b HTTP/1.1\r\nHost: x\r\nX-Trigger-Token: %b\r\n" % (method, path, TOKEN.encode())
    return start + head + b"\r\n" + body


def length(size: int) -> bytes:
    return b"Content-Length: %d\r\n" % size


CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"
MB_AND_ONE = MAX_BODY_BYTES + 1

REFUSED: dict[str, tuple[Callable[[], bytes], int]] = {
    "one byte too many": (lambda: request(length(MB_AND_ONE), b"x" * MB_AND_ONE), 413),
    "chunks without end": (lambda: request(CHUNKED, CHUNK * 20), 413),
    "a length beyond numbers": (lambda: request(b"Content-Length: " + b"9" * 30 + b"\r\n"), 413),
    "two lengths": (lambda: request(length(2) + length(3), b"{}x"), 400),
    "one length twice": (lambda: request(length(2) + length(2), b"{}"), 400),
    "a negative length": (lambda: request(b"Content-Length: -1\r\n"), 400),
    "a signed length": (lambda: request(b"Content-Length: +2\r\n", b"{}"), 400),
    "broken chunks": (lambda: request(CHUNKED, b"zz\r\nx\r\n0\r\n\r\n"), 400),
    "an unknown coding": (lambda: request(b"Transfer-Encoding: gzip, chunked\r\n"), 501),
    "a space in a name": (lambda: request(b"Content-Length : 2\r\n", b"{}"), 400),
    "NUL in a header": (lambda: request(b"X: a\0b\r\n" + length(0)), 400),
    "a huge header": (lambda: request(b"X: " + b"a" * 300_000 + b"\r\n" + length(0)), 431),
    "many headers": (lambda: request(b"X: y\r\n" * 20_000 + length(0)), 431),
    "TLS": (lambda: b"\x16\x03\x01\x02\x00" + bytes(200) + b"\r\n\r\n", 400),
    "a path that is no UTF-8": (lambda: request(length(0), path=b"/\xff"), 400),
    "another path": (lambda: request(length(0), path=b"/event"), 404),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_requests_are_refused_and_nothing_is_stored(trigger: Running, name: str) -> None:
    make, status = REFUSED[name]
    assert exchange(trigger.url, make()) == status
    assert sum(trigger.inbox.counts().values()) == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "HEAD", "FOO"])
def test_other_methods_than_post_are_answered_405(trigger: Running, method: str) -> None:
    assert exchange(trigger.url, request(length(0), method=method.encode())) == 405


def test_a_body_of_the_largest_allowed_size_is_accepted(trigger: Running) -> None:
    body = event().ljust(MAX_BODY_BYTES)
    assert trigger.post(body, **{"X-Trigger-Token": TOKEN}).json()["queued"] == 1


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"Content-Type: multipart/form-data; boundary=x\r\n",
        b"Content-Type: \xff\r\n",
        b"Content-Type: application/json; charset=utf-16\r\n",
        b"Expect: something\r\n",
        b"X: \xff\xfe\r\n",
        b"Cookie: " + b"a=b;" * 1000 + b"\r\n",
    ],
    ids=repr,
)
def test_events_with_odd_headers_are_accepted(trigger: Running, head: bytes) -> None:
    body = event()
    assert exchange(trigger.url, request(head + length(len(body)), body)) == 200
    trigger.settled()
    assert len(trigger.calls) == 1


def test_a_sender_that_expects_100_continue_gets_it(trigger: Running) -> None:
    body = event()
    with connection(trigger.url) as opened:
        opened.sendall(request(b"Expect: 100-continue\r\n" + length(len(body))))
        assert status_of(opened) == 100
        opened.sendall(body)
        assert status_of(opened) == 200


def test_an_event_in_chunks_is_accepted(trigger: Running) -> None:
    body = event()
    middle = len(body) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:middle], body[middle:], b""))
    assert exchange(trigger.url, request(CHUNKED, parts)) == 200
    trigger.settled()
    assert len(trigger.calls) == 1


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 900_000, b'{"a":' * 150_000, b"\x00", b""])
def test_a_body_that_is_not_json_is_a_bad_event(trigger: Running, body: bytes) -> None:
    answer = trigger.post(body, **{"X-Trigger-Token": TOKEN})
    assert (answer.status_code, answer.json()["bad"]) == (200, 1)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 60_000, b"", b"{}", b'{"Records": []}'])
def test_a_body_without_the_token_is_not_stored(trigger: Running, body: bytes) -> None:
    assert trigger.post(body).status_code == 401
    assert sum(trigger.inbox.counts().values()) == 0


def cut_off(opened: socket.socket) -> bool:
    """Return whether the server has closed the connection, ignoring earlier bytes."""
    try:
        while opened.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def drip(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the server cuts it off
        opened.send(b"x")


def test_slow_senders_delay_nobody_and_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are three slow connections for each thread; half of them are still sending headers."""
    # Long enough for the requests of the test itself if the machine stands still for a moment.
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 4)
    with running(lambda call: done()) as trigger:
        slow = [socket.create_connection(address(trigger.url)) for _ in range(SLOW_SENDERS)]
        for number, opened in enumerate(slow):
            whole = request(length(1_000_000), b"{")
            opened.sendall(whole if number % 2 else whole[:60])
            opened.setblocking(False)
        until, left = time.monotonic() + DEADLINE_S, slow
        while left:
            assert time.monotonic() < until, f"{len(left)} are still connected"
            assert trigger.post(event()).status_code == 200
            for opened in left:
                drip(opened)
            left = [opened for opened in left if not cut_off(opened)]
            time.sleep(0.05)
        for opened in slow:
            opened.close()
        trigger.settled()
        assert trigger.inbox.counts()["bad"] == 0


def address(url: str) -> tuple[str, int]:
    parts = httpx.URL(url)
    assert parts.port
    return parts.host, parts.port


def test_a_connection_is_not_cut_off_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out applies to each request and to each pause, not to the whole connection."""
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 2)
    with running(lambda call: done()) as trigger, httpx.Client(timeout=60) as client:
        for _ in range(4):
            time.sleep(0.8)
            answer = client.post(
                trigger.url + "/events", content=event(), headers={"Connection": "keep-alive"}
            )
            assert answer.status_code == 200


def no_one(*headers: str) -> bool:
    return False


def test_the_limits_apply_to_every_address_of_a_host() -> None:
    server = http_server.listen(lambda *_: [], "localhost", free_port(), no_one)  # type: ignore[arg-type]
    try:
        parts = [each for each in server._map.values() if hasattr(each, "channel_class")]
        assert parts
        assert {each.channel_class.func for each in parts} == {http_server._Channel}
    finally:
        server.close()


# --- memory and files


UNKNOWN = http_server.UNKNOWN_BODY_BYTES


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[http_server.BodyLimits]:
    """The limits of every server that is started during the test."""
    made: list[http_server.BodyLimits] = []

    class Kept(http_server.BodyLimits):
        def __init__(self, is_known: http_server.IsKnown) -> None:
            super().__init__(is_known)
            made.append(self)

    monkeypatch.setattr(http_server, "BodyLimits", Kept)
    return made


def without_token(head: bytes, body: bytes = b"") -> bytes:
    return b"POST /events HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body


@pytest.mark.parametrize(
    "whole",
    [
        without_token(length(UNKNOWN + 1), b"x" * (UNKNOWN + 1)),
        without_token(length(UNKNOWN + 1) + b"Expect: 100-continue\r\n"),
        without_token(CHUNKED, CHUNK * 2),
        without_token(CHUNKED + b"Expect: 100-continue\r\n", CHUNK * 2),
        without_token(b"X-Trigger-Token: wrong\r\n" + length(UNKNOWN + 1)),
        without_token(b"Authorization: Bearer wrong\r\n" + length(UNKNOWN + 1)),
        without_token(b"Authorization: Basic !!!\r\n" + length(UNKNOWN + 1)),
    ],
    ids=[
        "length",
        "length, asks first",
        "chunks",
        "chunks, asks first",
        "token",
        "bearer",
        "basic",
    ],
)
def test_more_than_64_kib_without_a_known_token_are_refused(trigger: Running, whole: bytes) -> None:
    assert exchange(trigger.url, whole) in (413, 100)
    assert sum(trigger.inbox.counts().values()) == 0


def test_an_event_from_ceph_may_be_64_kib_long(trigger: Running) -> None:
    assert trigger.post(event().ljust(UNKNOWN)).json()["queued"] == 1
    answer = trigger.post(event().ljust(UNKNOWN + 1))
    assert answer.status_code == 413
    assert "with the token in a header" in answer.text


def temporary_files() -> list[str]:
    """Return the open files of this process that are deleted."""
    names = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread may close the file
            names.append(os.readlink(each))
    return [name for name in names if name.startswith("/") and name.endswith("(deleted)")]


class Held(list[socket.socket]):
    """Connections that are kept open after they sent something."""

    def open(self, url: str, sent: bytes) -> None:
        opened = socket.create_connection(address(url), timeout=60)
        self.append(opened)
        with contextlib.suppress(OSError):  # the server may refuse it while we send
            opened.sendall(sent)
        opened.setblocking(False)

    def close(self) -> None:
        for each in self:
            each.close()


@pytest.fixture
def held() -> Iterator[Held]:
    opened = Held()
    yield opened
    opened.close()


HELD = {
    "bodies as large as allowed": without_token(length(UNKNOWN), b"x" * (UNKNOWN - 1)),
    "bodies that are too large": without_token(length(MB_AND_ONE - 1), b"x" * 600_000),
    "chunks": without_token(CHUNKED, CHUNK * 9),
    "headers": b"POST /events HTTP/1.1\r\nX: " + b"x" * (http_server.HEADER_BYTES - 200),
    "small headers": b"POST / HTTP/1.1\r\n" + b"".join(b"%x:\r\n" % n for n in range(2500)),
    "answers that nobody reads": b"GET /metrics HTTP/1.1\r\n\r\n" * 250,
    "nothing": b"",
}


@pytest.mark.parametrize("name", HELD)
def test_many_connections_without_a_token_use_little_memory(
    limits: list[http_server.BodyLimits], held: Held, name: str
) -> None:
    """Open more connections than allowed; a sender with the token must still get through."""
    need(Path("/proc/self/fd").exists(), "no /proc/self/fd, which only Linux has")
    with running(lambda call: done()) as trigger:
        assert trigger.post(event()).status_code == 200
        files, peak = temporary_files(), watch_peak()
        for _ in range(400):
            held.open(trigger.url, HELD[name])
        wait_until(lambda: is_taken(trigger), "a sender with the token to get through")
        assert not {*temporary_files()} - {*files}
        assert peak() < 48 << 20
        assert limits[0].unknown.taken_bytes <= http_server.UNKNOWN_TOTAL_BYTES
        # A connection whose request is just answered is closed a moment later.
        wait_until(
            lambda: sum(not cut_off(each) for each in held) <= http_server.CONNECTIONS + 1,
            "the connections above the limit to be closed",
        )
        held.close()
        wait_until(lambda: limits[0].unknown.taken_bytes == 0, "the bodies to be dropped")


def is_taken(trigger: Running) -> bool:
    """Send an event, and return whether it was accepted.

    During a flood the connection may be cut off. A store would then send the event again.
    """
    try:
        return trigger.post(event()).status_code == 200
    except httpx.TransportError:
        return False


def test_bodies_of_known_callers_have_a_budget_too(
    limits: list[http_server.BodyLimits], held: Held
) -> None:
    part = request(length(MAX_BODY_BYTES), b"x" * (MAX_BODY_BYTES - 1))
    with running(lambda call: done()) as trigger:
        peak = watch_peak()
        for _ in range(40):
            held.open(trigger.url, part)
        fit = http_server.KNOWN_TOTAL_BYTES // (MAX_BODY_BYTES - 1)
        wait_until(lambda: sum(map(is_refused, held)) >= 40 - fit, "the answers 503")
        assert peak() < 64 << 20
        assert trigger.post(event()).status_code == 200, "unknown callers have their own budget"
        held.close()
        wait_until(lambda: limits[0].known.taken_bytes == 0, "the bodies to be dropped")
        whole = event().ljust(MAX_BODY_BYTES)
        assert trigger.post(whole, **{"X-Trigger-Token": TOKEN}).status_code == 200


def is_refused(opened: socket.socket) -> bool:
    """Whether an answer 503 has arrived. It stays unread."""
    try:
        return opened.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 503"
    except OSError:
        return False


@pytest.mark.parametrize(
    "ends",
    [
        request(length(5), b"{}"),
        request(length(2), b"{}"),
        request(length(2), b"{}") * 2,
        request(CHUNKED, b"zz\r\nx\r\n0\r\n\r\n"),
        request(CHUNKED, CHUNK * 20),
        without_token(length(UNKNOWN), b"x" * UNKNOWN),
        without_token(CHUNKED + b"Expect: 100-continue\r\n", CHUNK[:90]),
    ],
    ids=["cut off", "whole", "two at once", "broken", "too long", "refused", "asks first"],
)
def test_a_budget_is_given_back_however_a_request_ends(
    limits: list[http_server.BodyLimits], ends: bytes
) -> None:
    with running(lambda call: done()) as trigger:
        for _ in range(5):
            exchange(trigger.url, ends)
        (one,) = limits
        wait_until(lambda: one.known.taken_bytes == one.unknown.taken_bytes == 0, "the budgets")


def test_of_pipelined_requests_only_the_first_is_answered(trigger: Running) -> None:
    """Then the connection is closed, so the sender knows that it has to send the others again."""
    body = event()
    whole = without_token(length(len(body)), body)
    with connection(trigger.url) as opened:
        opened.sendall(whole * 3)
        said = b""
        with contextlib.suppress(OSError):
            while more := opened.recv(65536):
                said += more
    assert said.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in said


def test_a_client_that_reads_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    channels: list[Any] = []

    class Noted(http_server._Channel):
        def __init__(self, *args: Any, **others: Any) -> None:
            super().__init__(*args, **others)
            channels.append(self)

    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 2)
    monkeypatch.setattr(http_server, "_Channel", Noted)
    with serve_wsgi(long_answer) as url, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(address(url))
        slow.settimeout(60)
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        read = 0
        # The server closes the connection when it would send the next bytes.
        while not any(channel.will_close for channel in channels):
            assert read < LONG // 4, "the server goes on sending"
            read += len(slow.recv(1024))
            time.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            while more := slow.recv(1 << 20):  # connections that only the kernel holds
                read += len(more)
        assert read < LONG


LONG = 15 << 20


def long_answer(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(LONG))])
    return [bytes(LONG)]


# --- the function's server, as the image runs it


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """gunicorn with two workers; the function's pipeline cannot be built."""
    folder, port = tmp_path_factory.mktemp("function"), free_port()
    (folder / "echo.py").write_text(
        "from rollcall.function.python3_http import create_app\n"
        "from rollcall.function.function_service import FunctionService\n"
        "def nothing(): raise OSError('no pipeline here')\n"
        "service = FunctionService(nothing)\n"
        "def handle(event, context):\n"
        "    answer = service.answer(event.body, dict(event.headers))\n"
        "    return {'statusCode': answer.status, 'body': answer.body(),"
        " 'headers': answer.headers()}\n"
        "app = create_app(handle)\n"
    )
    argv = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{port}"]
    argv += ["--no-control-socket", "echo:app"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
    url = f"http://127.0.0.1:{port}"
    with Processes() as processes:
        process = Process("function", argv, env, folder)
        processes.add(process).wait_ready(answers(url + "/healthz"))
        yield url


def post(body: bytes, head: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + head + length(len(body)) + b"\r\n" + body


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - {"a path that is no UTF-8"}))
def test_the_function_refuses_hostile_requests_and_keeps_running(function: str, name: str) -> None:
    """Errors of the server itself are not JSON documents. Only the watchdog in front of the server
    would get them, not a caller."""
    make, _ = REFUSED[name]
    assert exchange(function, make().replace(b"POST /events", b"POST /", 1)) >= 400
    assert httpx.post(function, content=b"{}", timeout=60).status_code == 400


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 900_000, b"\x00", b"", b"{}", b"3"])
def test_the_function_answers_400_to_a_body_that_is_not_an_event(
    function: str, body: bytes
) -> None:
    answer = httpx.post(function, content=body, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_event")


def test_the_function_answers_400_to_a_body_that_is_too_large(function: str) -> None:
    answer = httpx.post(function, content=b"x" * MB_AND_ONE, timeout=60)
    document: dict[str, Any] = json.loads(answer.content)
    assert (answer.status_code, document["error"]["code"]) == (400, "bad_event")


def test_a_slow_caller_occupies_only_one_worker_of_the_function(function: str) -> None:
    with connection(function) as slow:
        slow.sendall(post(b"x" * 1000)[:-900])
        for _ in range(5):
            assert httpx.post(function, content=b"{}", timeout=60).status_code == 400


def test_serve_wsgi_uses_the_triggers_server() -> None:
    with serve_wsgi(lambda environ, start: (start("200 OK", []), [b""])[1]) as url:
        assert httpx.get(url, timeout=60).headers["Server"] == "rollcall"
