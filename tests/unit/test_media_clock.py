"""Seconds of content are counted from time stamps that may start anywhere and may jump."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.media_clock import MAX_STEP_S, MediaClock

FRAME_S = 0.04


def times(*stamps: float | None, start_s: float | None = None) -> list[float]:
    clock = MediaClock(FRAME_S, start_s)
    return [round(clock.advance(stamp), 3) for stamp in stamps]


@pytest.mark.parametrize("first", [-20_000.0, -3.0, 0.0, 3600.0, 1e9])
def test_the_first_frame_is_at_zero(first: float) -> None:
    assert times(first, first + 0.04, first + 2) == [0.0, 0.04, 2.0]


def test_times_count_from_the_containers_start_time() -> None:
    """The first frame that can be decoded may come later than the first packet."""
    assert times(12.0, 12.5, start_s=10.0) == [2.0, 2.5]


@pytest.mark.parametrize("start_s", [-5000.0, 5000.0])
def test_a_start_time_far_from_the_first_frame_is_ignored(start_s: float) -> None:
    assert times(10.0, 10.5, start_s=start_s) == [0.0, 0.5]


@pytest.mark.parametrize("jump_s", [601.0, 3600.0, 20_000.0, -2.0, -3600.0])
def test_a_jump_counts_as_the_duration_of_one_frame(jump_s: float) -> None:
    clock = MediaClock(FRAME_S)
    stamps = [0.0, 0.04, 0.08, 0.12 + jump_s, 0.16 + jump_s]
    assert [round(clock.advance(stamp), 3) for stamp in stamps] == [0.0, 0.04, 0.08, 0.12, 0.16]
    assert clock.jumps == 1


def test_a_picture_that_stands_still_is_not_a_jump() -> None:
    assert times(0.0, MAX_STEP_S, 2 * MAX_STEP_S) == [0.0, MAX_STEP_S, 2 * MAX_STEP_S]


def test_frames_without_usable_stamps_follow_the_frame_rate() -> None:
    assert times(None, None, 5.0) == [0.0, 0.04, 5.0]
    assert times(1.0, 1.0, 0.9, 1.2) == [0.0, 0.04, 0.08, 0.2]


def test_after_a_seek_the_time_follows_from_the_stamp() -> None:
    clock = MediaClock(FRAME_S)
    clock.advance(100.0)
    clock.seek(30.0, 30.0)
    assert clock.advance(128.0) == 28.0
    assert clock.jumps == 0
    assert clock.stamp_s(28.0) == 128.0


def test_a_jump_in_the_skipped_part_adds_nothing() -> None:
    clock = MediaClock(FRAME_S)
    clock.advance(0.0)
    clock.seek(30.0, 30.0)
    assert clock.advance(50_030.0) == 30.0
    assert round(clock.advance(50_031.0), 6) == 31.0


@given(st.lists(st.one_of(st.none(), st.floats(-1e12, 1e12)), min_size=1, max_size=50))
def test_time_never_goes_back_and_never_jumps(stamps: list[float | None]) -> None:
    clock = MediaClock(FRAME_S)
    found = [clock.advance(stamp) for stamp in stamps]
    steps = [after - before for before, after in pairwise(found)]
    assert found[0] == 0.0
    assert all(0 <= step <= MAX_STEP_S + 1e-3 for step in steps)


def test_moving_time_counts_a_still_picture_as_two_seconds() -> None:
    clock = MediaClock(FRAME_S)
    for stamp in (0.0, 0.04, 90.0, 90.04, 5000.0):
        clock.advance(stamp)
    assert round(clock.time_s, 3) == 90.08, "the last step is a jump"
    assert round(clock.moving_s, 3) == 2.12


def test_moving_time_continues_after_a_seek() -> None:
    clock = MediaClock(FRAME_S)
    clock.advance(0.0)
    clock.seek(30.0, 20.0)
    clock.advance(28.0)
    assert clock.moving_s == 18.0
