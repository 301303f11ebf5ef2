"""The proxy of the fault tests injects each fault as described."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.canned_answers import ANSWERS
from support.faulty_proxy import FaultyProxy
from support.servers import Reply, serve_function
from support.waiting import wait_until

BODY = b'{"status": "recognised"}'


class Server:
    """The server behind the proxy, with the calls that it got."""

    def __init__(self, url: str, calls: list[dict[str, Any]]) -> None:
        self.url, self.calls = url, calls


@pytest.fixture
def server() -> Iterator[Server]:
    calls: list[dict[str, Any]] = []

    def reply(call: dict[str, Any]) -> Reply:
        calls.append(call)
        return 200, {"X-Kept": "yes"}, BODY

    with serve_function(reply) as url:
        yield Server(url, calls)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    with FaultyProxy("link", server.url, stall_s=0.05) as running:
        yield running


def post(proxy: FaultyProxy) -> httpx.Response:
    return httpx.post(proxy.url + "/a?b=c", json={"key": "a.mp4"}, trust_env=False)


def test_without_a_fault_requests_and_answers_are_unchanged(
    proxy: FaultyProxy, server: Server
) -> None:
    answer = post(proxy)
    assert (answer.status_code, answer.content, answer.headers["X-Kept"]) == (200, BODY, "yes")
    (call,) = server.calls
    assert (call["path"], call["raw"]) == ("/a?b=c", b'{"key":"a.mp4"}')
    assert call["headers"]["Content-Type"] == "application/json"
    assert (proxy.passed, dict(proxy.injected)) == (1, {})


@pytest.mark.parametrize(("kind", "calls"), [("reset", 0), ("stall", 0), ("lost", 1), ("half", 1)])
def test_a_fault_breaks_the_connection_of_one_request(
    proxy: FaultyProxy, server: Server, kind: str, calls: int
) -> None:
    proxy.break_next(kind)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        post(proxy)
    assert len(server.calls) == calls
    assert post(proxy).status_code == 200
    assert dict(proxy.injected) == {kind: 1}


def test_a_slow_answer_arrives_unchanged(proxy: FaultyProxy, server: Server) -> None:
    proxy.break_next("slow")
    assert post(proxy).content == BODY
    assert len(server.calls) == 1


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_canned_answer_replaces_the_call(proxy: FaultyProxy, server: Server, kind: str) -> None:
    proxy.break_next(kind)
    answer = post(proxy)
    assert (answer.status_code, answer.content) == (ANSWERS[kind].status, ANSWERS[kind].body)
    assert not server.calls


def test_a_cut_proxy_resets_every_connection_until_it_is_restored(proxy: FaultyProxy) -> None:
    with httpx.Client(trust_env=False) as client:
        assert client.get(proxy.url).status_code == 501
        proxy.cut()
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.get(proxy.url)
        proxy.restore()
        assert client.get(proxy.url).status_code == 501


def test_a_request_is_not_forwarded_after_its_link_was_cut(
    proxy: FaultyProxy, server: Server
) -> None:
    proxy.stall_s = 60.0
    proxy.break_next("slow")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(post, proxy)
        wait_until(lambda: proxy.injected["slow"], "the request")
        proxy.cut()
        proxy.restore()
        proxy.end_stalls()
        assert isinstance(call.exception(), httpx.TransportError)
    wait_until(lambda: not proxy._live, "the end of the connection")
    assert server.calls == []


def test_the_same_seed_injects_the_same_faults(proxy: FaultyProxy) -> None:
    drawn = []
    for _ in range(2):
        proxy.break_at_random(7, 0.5, ("busy", "slow_down"))
        drawn.append([post(proxy).status_code for _ in range(20)])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {200, 429, 503}
