"""Time by stage."""

from __future__ import annotations

import time

import pytest

from rollcall.core.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the next looks at the clock will show."""
    shown: list[float] = [0]  # for the making of the watch
    monkeypatch.setattr(time, "perf_counter", lambda: shown.pop(0))
    return shown


def test_stages_add_up_in_order_of_their_first_run(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [0, 1, 1, 3, 3, 3.5]
    for name in ("open", "faces", "open"):
        with watch.stage(name):
            pass
    assert list(watch.ms().items()) == [("open", 1500.0), ("faces", 2000.0)]


def test_a_stage_that_raises_counts(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [1, 1.25]
    with pytest.raises(KeyError), watch.stage("open"):
        raise KeyError
    assert watch.ms() == {"open": 250.0}


def test_nothing_was_measured() -> None:
    assert Stopwatch().ms() == {}


def test_tenths_of_a_millisecond(clock: list[float]) -> None:
    watch = Stopwatch()
    clock += [0, 0.00123456]
    with watch.stage("match"):
        pass
    assert watch.ms() == {"match": 1.2}


def test_elapsed_counts_from_the_making(clock: list[float]) -> None:
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
