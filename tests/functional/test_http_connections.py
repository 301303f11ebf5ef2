"""The HTTP client's connections: TLS, proxies, and when a connection is used again."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.servers import serve_bytes

from rollcall.http_client import HttpClient, NoAnswer
from rollcall.http_connection import MAX_HEAD_BYTES, SocketStream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
LIMITS: Any = {"timeout_s": 30.0, "max_bytes": 1 << 20}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, seconds may pass between two requests of a test."""
    monkeypatch.setattr("rollcall.http_client.KEEP_IDLE_S", 600.0)


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call `serve` for each connection, in a thread of its own. Yields the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def handle(opened: socket.socket) -> None:
        with suppress(OSError), opened:
            serve(opened)

    def accept() -> None:
        with suppress(OSError):
            while True:
                opened, _ = server.accept()
                threading.Thread(target=handle, args=[opened], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=server"
    names = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*line.split(), *names], check=True, capture_output=True)
    return certificate, key


class Tls:
    """A server of TLS connections, in which `serve` is called."""

    def __init__(
        self, certificate: tuple[Path, Path], serve: Callable[[socket.socket], None]
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._serve = serve
        self.handshakes = 0

    def __call__(self, opened: socket.socket) -> None:
        with self._context.wrap_socket(opened, server_side=True) as secured:
            self.handshakes += 1
            self._serve(secured)


def answer_all(opened: socket.socket) -> None:
    while opened.recv(65536):
        opened.sendall(ANSWER)


class Proxy:
    """A proxy that opens a tunnel to the port that a CONNECT asks for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, opened: socket.socket) -> None:
        self.asked.append(opened.recv(65536))
        port = int(self.asked[-1].split(b" ")[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as server:
            opened.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pass_on, args=[server, opened], daemon=True).start()
            pass_on(opened, server)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_answers_are_read_through_tls(certificate: tuple[Path, Path]) -> None:
    tls = Tls(certificate, answer_all)
    with serving(tls) as port, HttpClient(ca_bundle=str(certificate[0])) as client:
        for _ in range(3):
            assert client.get(f"https://127.0.0.1:{port}/", **LIMITS).body == b"body"
    assert tls.handshakes == 1, "the connection is used again"


def test_a_large_request_and_a_large_answer_pass_through_tls(
    certificate: tuple[Path, Path],
) -> None:
    size = 700_000

    def echo(opened: socket.socket) -> None:
        whole = b""
        while not whole.partition(b"\r\n\r\n")[2].endswith(b"end"):
            whole += opened.recv(65536)
        body = whole.partition(b"\r\n\r\n")[2]
        opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    sent = bytes(size) + b"end"
    with (
        serving(Tls(certificate, echo)) as port,
        HttpClient(ca_bundle=str(certificate[0])) as client,
    ):
        answer = client.request("POST", f"https://127.0.0.1:{port}/", {}, sent, **LIMITS)
    assert answer.body == sent


def test_an_answer_that_ends_with_the_tls_connection_is_read(
    certificate: tuple[Path, Path],
) -> None:
    def once(opened: socket.socket) -> None:
        opened.recv(65536)
        opened.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    with (
        serving(Tls(certificate, once)) as port,
        HttpClient(ca_bundle=str(certificate[0])) as client,
    ):
        assert client.get(f"https://127.0.0.1:{port}/", **LIMITS).body == b"until the end"


def test_a_certificate_of_an_unknown_ca_is_refused(certificate: tuple[Path, Path]) -> None:
    with (
        serving(Tls(certificate, answer_all)) as port,
        HttpClient() as client,
        pytest.raises(NoAnswer, match=r"ConnectError.*CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(f"https://127.0.0.1:{port}/", **LIMITS)


def test_a_certificate_of_another_host_is_refused(certificate: tuple[Path, Path]) -> None:
    with (
        serving(Tls(certificate, answer_all)) as port,
        HttpClient(ca_bundle=str(certificate[0])) as client,
        pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(f"https://localhost:{port}/", **LIMITS)


def drip(opened: socket.socket) -> None:
    while True:
        opened.sendall(b"\x16")
        time.sleep(0.02)


def say_nothing(opened: socket.socket) -> None:
    while opened.recv(65536):
        pass


@pytest.mark.parametrize("serve", [drip, say_nothing])
def test_a_handshake_ends_in_time(serve: Callable[[socket.socket], None]) -> None:
    """Both servers go on until the client closes the connection."""
    ended: list[NoAnswer] = []

    def call() -> None:
        with HttpClient() as client, pytest.raises(NoAnswer) as raised:
            client.get(f"https://127.0.0.1:{port}/", timeout_s=0.5, max_bytes=9)
        ended.append(raised.value)

    with serving(serve) as port:
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(60)
    assert ended, "the handshake goes on for ever"


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
def test_tls_passes_through_the_tunnel_of_a_proxy(
    certificate: tuple[Path, Path], secured: bool
) -> None:
    server, proxy = Tls(certificate, answer_all), Proxy()
    scheme = "https" if secured else "http"
    with (
        serving(server) as port,
        serving(Tls(certificate, proxy) if secured else proxy) as at,
        HttpClient(
            ca_bundle=str(certificate[0]),
            proxies={"https": f"{scheme}://me:secret@127.0.0.1:{at}"},
        ) as client,
    ):
        for _ in range(2):
            assert client.get(f"https://127.0.0.1:{port}/", **LIMITS).body == b"body"
        (asked,) = proxy.asked
        assert asked.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % port)
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked
        assert server.handshakes == 1


def test_a_proxy_that_refuses_a_tunnel_is_named() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with (
        serve_bytes(refusal) as proxy,
        HttpClient(proxies={"https": proxy}) as client,
        pytest.raises(NoAnswer, match="ProxyError: the proxy answered 403"),
    ):
        client.get("https://sns.example/x.pem", **LIMITS)


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    opened_at: list[float] = []

    def once(opened: socket.socket) -> None:
        opened_at.append(time.monotonic())
        opened.recv(65536)
        opened.sendall(ANSWER)

    with serving(once) as port, HttpClient() as client:
        for number in range(3):
            assert client.get(f"http://127.0.0.1:{port}/", **LIMITS).body == b"body"
            for _, connection, _ in client._idle:
                assert isinstance(connection.stream, SocketStream)
                select.select([connection.stream._socket], [], [], 30)  # until its end arrives
            assert len(opened_at) == number + 1


def test_a_connection_is_not_kept_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[int] = []

    def serve(opened: socket.socket) -> None:
        accepted.append(1)
        answer_all(opened)

    with serving(serve) as port, HttpClient() as client:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(2):
            client.get(url, **LIMITS)
        assert len(accepted) == 1
        monkeypatch.setattr("rollcall.http_client.KEEP_IDLE_S", 0.0)
        client.get(url, **LIMITS)
        assert len(accepted) == 2


def test_more_threads_than_kept_connections_get_their_own_answers() -> None:
    def echo(opened: socket.socket) -> None:
        while asked := opened.recv(65536):
            path = asked.split(b" ")[1]
            opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    wrong: list[str] = []
    with serving(echo) as port, HttpClient(connections=2) as client:

        def ask(name: str) -> None:
            for number in range(50):
                path = f"/{name}/{number}"
                answer = client.get(f"http://127.0.0.1:{port}{path}", **LIMITS)
                if answer.body != path.encode():
                    wrong.append(path)

        threads = [threading.Thread(target=ask, args=[f"t{n}"]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(client._idle) <= 2
    assert wrong == []


def test_bytes_after_an_answer_are_not_the_next_answer() -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

    def serve(opened: socket.socket) -> None:
        while opened.recv(65536):
            opened.sendall(ANSWER + forged)

    with serving(serve) as port, HttpClient() as client:
        for _ in range(3):
            assert client.get(f"http://127.0.0.1:{port}/", **LIMITS).body == b"body"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "RemoteProtocolError: Server disconnected without sending a response"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "RemoteProtocolError: illegal status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "RemoteProtocolError: peer closed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD_BYTES + 70_000), "Receive buffer too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "conflicting"),
    ],
)
def test_a_broken_answer_is_no_answer(answer: bytes, message: str) -> None:
    with (
        serve_bytes(answer) as url,
        HttpClient() as client,
        pytest.raises(NoAnswer, match=message),
    ):
        client.get(url, **LIMITS)


def test_a_port_where_nobody_listens_is_no_answer() -> None:
    # The port stays bound during the call, so that no other process can listen there.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with HttpClient() as client, pytest.raises(NoAnswer, match=r"ConnectError: .*refused"):
            client.get(f"http://127.0.0.1:{port}/", **LIMITS)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:port/", "http://[::1/"])
def test_a_url_that_cannot_be_used_is_no_answer(url: str) -> None:
    with HttpClient() as client, pytest.raises(NoAnswer):
        client.get(url, **LIMITS)


def test_a_header_cannot_contain_a_line_break() -> None:
    with (
        serve_bytes(ANSWER) as url,
        HttpClient() as client,
        pytest.raises(NoAnswer, match="LocalProtocolError"),
    ):
        client.request("GET", url, {"X": "a\r\nY: b"}, b"", **LIMITS)
