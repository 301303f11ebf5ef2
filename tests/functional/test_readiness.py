"""/healthz, /readyz and the pages while parts of the system are down, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from support.listings import memory_listings
from support.servers import serve_bytes, serve_wsgi
from support.settings import TOKEN, embedded_settings
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable, StoreUnavailable
from rollcall.core.types import ObjectInfo
from rollcall.function.python3_http import create_app
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.stores.memory import MemoryStore
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.readiness import (
    Check,
    FunctionCheck,
    NotReachable,
    Readiness,
    check_buckets,
)
from rollcall.trigger.trigger_service import Trigger

AUTH = ("any", TOKEN)


class Queue(MemoryQueue):
    """A queue whose database can be down, or can hang."""

    down = False
    hangs: threading.Event | None = None
    asked = 0

    def counts(self) -> dict[str, int]:
        self.asked += 1
        if self.hangs:
            self.hangs.wait(300)
        if self.down:
            raise InboxUnavailable("the database postgresql://db.example/ cannot be used")
        return super().counts()


class Store(MemoryStore):
    down = False

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.down:
            raise StoreUnavailable("no answer of store.example")
        return super().list_objects(bucket, prefix)


class Parts:
    """A running trigger whose parts can be taken down."""

    def __init__(self, url: str, trigger: Trigger, queue: Queue, store: Store) -> None:
        self.url, self.trigger, self.queue, self.store = url, trigger, queue, store

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **options)

    def states(self, path: str = "/readyz", **options: Any) -> dict[str, bool]:
        parts = self.get(path, **options).json()["parts"]
        return {part["name"]: part["ok"] for part in parts}


@contextmanager
def running(gateway: str, wait_s: float = 60.0) -> Iterator[Parts]:
    """A trigger whose checks are repeated for each request, and waited for that long."""
    settings = embedded_settings("http://127.0.0.1:1", OPENFAAS_GATEWAY=gateway)
    queue, store = Queue(), Store()
    caller = FunctionCaller(gateway, "face-recognition", 5, 1)
    trigger = Trigger(settings, queue, memory_listings(), store, caller)
    for call in trigger.readiness._calls.values():
        call._keep_s, call._wait_s = 0.0, wait_s
    trigger.start()
    try:
        with serve_wsgi(trigger.app, trigger.access.is_known) as url:
            yield Parts(url, trigger, queue, store)
    finally:
        trigger.stop()


@pytest.fixture
def function() -> Iterator[tuple[str, list[Any]]]:
    """A server like that of the function's image, and the calls that reached the handler."""
    calls: list[Any] = []

    def handle(event: Any, context: Any) -> dict[str, Any]:
        calls.append(event)
        return {"statusCode": 200}

    with serve_wsgi(create_app(handle, "/function/face-recognition")) as url:
        yield url, calls


def test_a_trigger_whose_parts_all_answer_is_ready(function: tuple[str, list[Any]]) -> None:
    url, calls = function
    with running(url) as parts:
        answer = parts.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["ready"]
        assert answer.json()["accepts_events"]
        assert parts.states() == {"database": True, "store": True, "function": True}
        assert all(part["needed_for"] and not part["error"] for part in answer.json()["parts"])
        assert calls == [], "the function is not called for a probe"


def test_events_are_accepted_while_store_and_function_are_down() -> None:
    with running("http://127.0.0.1:1") as parts:
        parts.store.down = True
        answer = parts.get("/readyz")
        assert answer.status_code == 503
        assert (answer.json()["ready"], answer.json()["accepts_events"]) == (False, True)
        assert parts.states() == {"database": True, "store": False, "function": False}
        events = parts.get("/readyz/events")
        assert (events.status_code, events.json()["accepts_events"]) == (200, True)
        assert parts.states("/readyz/events") == {"database": True}
        assert parts.get("/healthz").status_code == 200


def test_without_its_database_the_trigger_is_alive_but_accepts_nothing(
    function: tuple[str, list[Any]],
) -> None:
    with running(function[0]) as parts:
        parts.queue.down = True
        for path in ("/readyz", "/readyz/events"):
            answer = parts.get(path)
            assert (answer.status_code, answer.json()["accepts_events"]) == (503, False)
        assert parts.get("/healthz").status_code == 200
        metrics = parts.get("/metrics")
        assert metrics.status_code == 200
        assert "rollcall_database_up 0.0" in metrics.text
        assert "rollcall_work{" not in metrics.text
        page = parts.get("/", auth=AUTH)
        assert page.status_code == 503
        assert "The database cannot be reached (needed for accepting events" in page.text
        assert "Unknown." in page.text
        parts.queue.down = False
        assert parts.get("/readyz/events").status_code == 200
        assert "rollcall_database_up 1.0" in parts.get("/metrics").text


def test_only_callers_with_the_token_see_hosts_and_buckets() -> None:
    with running("http://user:secret@127.0.0.1:1") as parts:
        parts.queue.down = parts.store.down = True
        anybody, known = parts.get("/readyz").text, parts.get("/readyz", auth=AUTH).text
        for secret in ("db.example", "store.example", "127.0.0.1"):
            assert secret not in anybody
            assert secret in known
        assert "send the token to see the reason" in anybody
        assert "user:secret" not in known


def test_a_database_that_hangs_does_not_hold_up_probes_and_pages(
    function: tuple[str, list[Any]],
) -> None:
    with running(function[0], wait_s=0.2) as parts:
        parts.queue.hangs = threading.Event()
        try:
            assert parts.get("/readyz/events").status_code == 503
            assert parts.get("/healthz").status_code == 200
            answers = [parts.get("/readyz/events").status_code for _ in range(50)]
            assert set(answers) == {503}
            assert parts.queue.asked == 1, "probes begin no further check while one hangs"
            reason = parts.get("/readyz/events", auth=AUTH).json()["parts"][0]["error"]
            assert reason == "no answer within 0.2 s"
        finally:
            parts.queue.hangs.set()
        wait_until(lambda: parts.get("/readyz/events").status_code == 200, "the database")


def test_a_trigger_that_has_not_started_is_not_alive() -> None:
    settings = embedded_settings("http://127.0.0.1:1", OPENFAAS_GATEWAY="http://127.0.0.1:1")
    caller = FunctionCaller("http://127.0.0.1:1", "face-recognition", 5, 1)
    trigger = Trigger(settings, Queue(), memory_listings(), Store(), caller)
    with serve_wsgi(trigger.app) as url:
        answer = httpx.get(url + "/healthz")
    assert answer.status_code == 503
    assert answer.json()["threads"]["dispatcher"] is False
    trigger.stop()


def test_many_probes_cost_one_check() -> None:
    calls: list[int] = []
    check = Check("database", "all", lambda: calls.append(1))
    readiness = Readiness([check], keep_s=3600.0, wait_s=60.0)
    assert all(readiness.states()[0].ok for _ in range(500))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("404 Not Found", "OPENFAAS_FUNCTION"),
        ("502 Bad Gateway", "ready replica"),
        ("503 Service Unavailable", "ready replica"),
    ],
)
def test_a_function_that_is_not_there_is_named(status: str, reason: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with serve_bytes(answer) as url, pytest.raises(NotReachable, match=reason) as error:
        FunctionCheck(url.replace("//", "//user:secret@"), "face-recognition")()
    assert "secret" not in str(error.value)
    assert f"/function/face-recognition/_/health answers {status[:3]}" in str(error.value)


def test_a_gateway_that_does_not_answer_is_named() -> None:
    with pytest.raises(NotReachable, match="check OPENFAAS_GATEWAY"):
        FunctionCheck("http://127.0.0.1:1", "face-recognition")()
    with serve_bytes(b"no HTTP\r\n\r\n") as url, pytest.raises(NotReachable):
        FunctionCheck(url, "face-recognition")()


def test_both_buckets_are_checked() -> None:
    store = Store()
    store.write("in", "a.mp4", b"1", "video/mp4", {})
    check_buckets(store, ["in", "out"])
    store.down = True
    with pytest.raises(StoreUnavailable):
        check_buckets(store, ["in", "out"])
