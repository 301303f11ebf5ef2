"""The proxy for a database injects each fault as described."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.faulty_tcp import Address, FaultyTcp
from support.waiting import wait_until


class EchoServer:
    """Answers each request with the same bytes, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> EchoServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for client in self.clients:
            client.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.clients.append(client)
                threading.Thread(target=self._echo, args=(client,), daemon=True).start()

    def _echo(self, client: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(100):
                self.requests.append(data)
                client.sendall(data)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[FaultyTcp]:
    with FaultyTcp("link", lambda: server.address, stall_s=0.05) as running:
        yield running


def connect(proxy: FaultyTcp) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=10)


def ask(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return client.recv(100)


def test_without_a_fault_requests_and_answers_are_unchanged(proxy: FaultyTcp) -> None:
    with connect(proxy) as client:
        assert [ask(client, b"one"), ask(client, b"two")] == [b"one", b"two"]
    assert (proxy.passed, dict(proxy.injected)) == (2, {})


@pytest.mark.parametrize(("kind", "arrives"), [("reset", False), ("stall", False), ("lost", True)])
def test_a_fault_resets_the_connection_of_one_request(
    proxy: FaultyTcp, server: EchoServer, kind: str, arrives: bool
) -> None:
    with connect(proxy) as client:
        assert ask(client, b"one") == b"one"
        proxy.break_next(kind)
        with pytest.raises(ConnectionResetError):
            ask(client, b"two")
    assert server.requests == ([b"one", b"two"] if arrives else [b"one"])
    with connect(proxy) as client:
        assert ask(client, b"three") == b"three"
    assert dict(proxy.injected) == {kind: 1}


def test_half_of_an_answer_is_followed_by_the_end_of_the_connection(proxy: FaultyTcp) -> None:
    proxy.break_next("half")
    with connect(proxy) as client:
        assert ask(client, b"four") == b"fo"
        assert client.recv(100) == b""


def test_a_slow_answer_arrives_unchanged(proxy: FaultyTcp) -> None:
    proxy.break_next("slow")
    with connect(proxy) as client:
        assert ask(client, b"one") == b"one"


def test_a_cut_link_closes_every_connection_until_it_is_restored(proxy: FaultyTcp) -> None:
    with connect(proxy) as client:
        ask(client, b"one")
        proxy.cut()
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
        # The reset may arrive before `connect` returns.
        with pytest.raises(ConnectionResetError), connect(proxy) as other:
            ask(other, b"two")
        proxy.restore()
        with connect(proxy) as other:
            assert ask(other, b"three") == b"three"


def test_a_client_that_leaves_ends_the_connection_to_the_server(
    proxy: FaultyTcp, server: EchoServer
) -> None:
    with connect(proxy) as client:
        ask(client, b"one")
    wait_until(lambda: not proxy._live, "the end of the connection")


def test_a_server_that_is_gone_resets_new_connections() -> None:
    with (
        FaultyTcp("gone", lambda: ("127.0.0.1", 1)) as gone,
        pytest.raises(ConnectionResetError),
        connect(gone) as client,
    ):
        ask(client, b"one")
