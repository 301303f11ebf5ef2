"""Calls that may hang, for callers that may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.waiting import wait_until

from rollcall.core.errors import StoreUnavailable
from rollcall.trigger.shared_call import NotKnown, SharedCall, TooSlow


class Slow:
    """Counts its calls. Each of them returns when `go_on` is set."""

    def __init__(self) -> None:
        self.calls, self.go_on = 0, threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        assert self.go_on.wait(60)
        return self.calls


def test_a_result_serves_all_callers_until_it_is_too_old() -> None:
    now, calls = [0.0], []
    shared = SharedCall(
        lambda: calls.append(1) or len(calls), keep_s=5, wait_s=60, clock=lambda: now[0]
    )
    assert [shared.result() for _ in range(3)] == [1, 1, 1]
    now[0] = 4.9
    assert shared.result() == 1
    now[0] = 5.0
    assert shared.result() == 2


def test_a_thousand_callers_of_a_call_in_progress_cost_one_call() -> None:
    slow = Slow()
    shared = SharedCall(slow, keep_s=60, wait_s=60)
    with ThreadPoolExecutor(32) as pool:
        results = [pool.submit(shared.result) for _ in range(1000)]
        wait_until(lambda: slow.calls, "the call")
        slow.go_on.set()
        assert {each.result() for each in results} == {1}


def test_while_a_call_hangs_later_callers_do_not_wait() -> None:
    now, slow = [0.0], Slow()
    shared = SharedCall(slow, keep_s=0, wait_s=0.05, clock=lambda: now[0])
    with pytest.raises(TooSlow, match=r"no answer within 0\.05 s"):
        shared.result()
    now[0] = 100.0
    for _ in range(1000):
        with pytest.raises(TooSlow):
            shared.result()
    assert slow.calls == 1, "a call that hangs is not repeated"
    slow.go_on.set()
    wait_until(lambda: _is(shared.result, 2), "the next call")


def _is(ask: Callable[[], Any], wanted: Any) -> bool:
    try:
        return bool(ask() == wanted)
    except TooSlow:
        return False


def test_an_exception_is_kept_like_a_result() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise StoreUnavailable("down")

    shared = SharedCall(fail, keep_s=60, wait_s=60)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="down"):
            shared.result()
    assert len(calls) == 1


def test_a_time_out_of_the_function_itself_is_not_taken_for_ours() -> None:
    def fail() -> None:
        raise TimeoutError("of the store")

    with pytest.raises(TimeoutError, match="of the store"):
        SharedCall(fail, keep_s=60, wait_s=60).result()


def test_the_last_result_is_there_without_waiting() -> None:
    now, slow = [0.0], Slow()
    shared = SharedCall(slow, keep_s=5, wait_s=1e6, clock=lambda: now[0])
    with pytest.raises(NotKnown):
        shared.last(60)
    slow.go_on.set()
    assert shared.result() == 1
    slow.go_on.clear()
    now[0] = 10.0
    assert shared.last(60) == 1
    wait_until(lambda: slow.calls == 2, "the new call, which has begun")
    now[0] = 100.0
    with pytest.raises(NotKnown):
        shared.last(60)
    slow.go_on.set()
    wait_until(lambda: shared.result() == 2, "the new result")


def test_without_keeping_each_caller_gets_a_new_result() -> None:
    shared = SharedCall(time.perf_counter_ns, keep_s=0, wait_s=60)
    results = [shared.result() for _ in range(200)]
    assert len(set(results)) == 200
