"""The intervals in which a person was in the video."""

from __future__ import annotations

import pytest

from rollcall.core.presence import EXACT_STEP_S, MAX_BRIDGED_S, Intervals, intervals_of

EVERY_SECOND = tuple(float(second) for second in range(11))


@pytest.mark.parametrize(
    ("seen_s", "looks_s", "end_s", "expected"),
    [
        # Looks far apart: nothing is known about the time between them.
        ({0.0}, (0.0,), 9.0, ((0.0, 0.0),)),
        ({0.0, 10.0}, (0.0, 10.0, 20.0), 25.0, ((0.0, 10.0),)),
        ({0.0, 20.0}, (0.0, 10.0, 20.0), 25.0, ((0.0, 0.0), (20.0, 20.0))),
        # Refined looks: the interval ends at the first look without the person.
        ({2.0, 2.5, 2.6}, (0.0, 1.9, 2.0, 2.5, 2.6, 2.7, 3.0), 3.0, ((2.0, 2.7),)),
        ({2.0}, (1.9, 2.0, 2.1), 9.0, ((2.0, 2.1),)),
        # The end of the video also ends an interval if it follows closely.
        ({9.0, 9.9}, (9.0, 9.9), 10.0, ((9.0, 10.0),)),
        ({9.0}, (9.0,), 9.0 + EXACT_STEP_S + 0.01, ((9.0, 9.0),)),
        ({9.9}, (9.9,), 9.5, ((9.9, 9.9),)),
        (set(), EVERY_SECOND, 10.0, ()),
        (set(EVERY_SECOND), EVERY_SECOND, 10.0, ((0.0, 10.0),)),
    ],
)
def test_intervals(
    seen_s: set[float], looks_s: tuple[float, ...], end_s: float, expected: Intervals
) -> None:
    assert intervals_of(seen_s, looks_s, end_s) == expected


def test_a_blink_does_not_end_an_interval() -> None:
    looks = (0.0, 1.0, 1.1, 1.5, 1.9, 2.0, 3.0)
    seen = {0.0, 1.0, 1.9, 2.0, 3.0}
    assert intervals_of(seen, looks, 3.0) == ((0.0, 3.0),)


def test_somebody_who_is_away_for_longer_has_two_intervals() -> None:
    looks = (0.0, 0.1, MAX_BRIDGED_S, MAX_BRIDGED_S + 0.1, 3.0)
    assert intervals_of({0.0, MAX_BRIDGED_S + 0.1, 3.0}, looks, 3.0) == (
        (0.0, 0.1),
        (MAX_BRIDGED_S + 0.1, 3.0),
    )


def test_a_cut_between_two_looks_is_the_moment_of_the_change() -> None:
    cuts = (1.4, 3.0)
    assert intervals_of({0.0, 1.0}, (0.0, 1.0, 2.0, 3.0), 3.0, cuts) == ((0.0, 1.4),)
    assert intervals_of({2.0}, (0.0, 1.0, 2.0, 3.0), 3.0, cuts) == ((1.4, 3.0),)
    assert intervals_of({3.0}, (0.0, 1.0, 2.0, 3.0), 3.0, cuts) == ((3.0, 3.0),)


def test_a_cut_does_not_end_the_interval_of_somebody_on_both_sides() -> None:
    assert intervals_of({0.0, 1.0, 2.0}, (0.0, 1.0, 2.0), 2.0, (0.5, 1.5)) == ((0.0, 2.0),)
