"""The time of each stage of a piece of work."""

from __future__ import annotations

import time

import pytest

from rollcall.core.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The values that the clock will return next, in seconds."""
    shown: list[float] = [0]  # for the constructor
    monkeypatch.setattr(time, "perf_counter", lambda: shown.pop(0))
    return shown


def test_stages_add_up_in_order_of_their_first_run(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [0, 1, 1, 3, 3, 3.5]
    for name in ("open", "faces", "open"):
        with watch.stage(name):
            pass
    assert list(watch.ms().items()) == [("open", 1500.0), ("faces", 2000.0)]


def test_the_time_of_a_stage_that_raises_is_counted(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [1, 1.25]
    with pytest.raises(KeyError), watch.stage("open"):
        raise KeyError
    assert watch.ms() == {"open": 250.0}


def test_without_stages_there_are_no_times() -> None:
    assert Stopwatch().ms() == {}


def test_milliseconds_have_one_decimal(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [0, 0.00123456]
    with watch.stage("match"):
        pass
    assert watch.ms() == {"match": 1.2}


def test_elapsed_counts_from_the_constructor(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [2.5]
    assert watch.elapsed_s() == 2.5


def test_an_inner_stage_does_not_count_for_the_outer(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [0, 1, 3, 3, 3.5, 5]
    with watch.stage("open"):
        for _ in range(2):
            with watch.stage("download"):
                pass
    assert watch.ms() == {"download": 2500.0, "open": 2500.0}
