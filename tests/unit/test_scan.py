"""Which frames each scan searches, and when the search may stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise, takewhile

import pytest

from rollcall.core.sampling import (
    LAST_LOOK_S,
    SCANS,
    SHORT_S,
    WALK_STEP_S,
    spread_times,
    unknown_length_times,
    walk_times,
)
from rollcall.core.types import Frame


class RecordingVideo:
    """A Video without frames that records the requests for them."""

    duration_s = moving_s = 0.0
    track = tracks = 1
    damaged = divisible = False

    def __init__(self) -> None:
        self.times: list[float] = []
        self.step_s = 0.0

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        self.times = list(islice(times_s, 30))
        return iter(())

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        self.step_s = step_s
        return iter(())

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        return None

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        return None


def requests_of(scan: str, length_s: float) -> RecordingVideo:
    video = RecordingVideo()
    SCANS[scan].frames(video, length_s)
    return video


@pytest.mark.parametrize("length_s", [0.5, 2.0, SHORT_S])
def test_auto_treats_a_short_video_as_identify_does(length_s: float) -> None:
    assert requests_of("auto", length_s).times == requests_of("identify", length_s).times
    assert SCANS["auto"].may_stop(length_s)
    assert SCANS["identify"].may_stop(length_s)


def test_auto_does_not_stop_after_the_length_in_the_header() -> None:
    assert SCANS["auto"].may_stop(5.0, 4.5)
    assert not SCANS["auto"].may_stop(5.0, 5.5)
    assert SCANS["identify"].may_stop(5.0, 5.5)
    times = list(islice(spread_times(5.0, SCANS["auto"].max_step_s), 200))
    assert max(after - before for before, after in pairwise(times)) <= SHORT_S


@pytest.mark.parametrize("length_s", [SHORT_S + 0.1, 60.0, 14_400.0])
def test_auto_searches_a_long_video_to_its_end(length_s: float) -> None:
    assert requests_of("auto", length_s).step_s == SHORT_S
    assert not SCANS["auto"].may_stop(length_s)
    assert SCANS["identify"].may_stop(length_s)


def test_if_the_length_is_unknown_auto_starts_with_dense_looks() -> None:
    assert not SCANS["auto"].may_stop(0.0)
    times = requests_of("auto", 0.0).times
    steps = [after - before for before, after in pairwise(times)]
    assert steps[:20] == [0.5] * 20
    assert set(steps[20:]) == {SHORT_S}
    assert next(unknown_length_times()) == 0.0


@pytest.mark.parametrize("length_s", [0.0, 2.0, 100.0])
def test_timeline_never_stops_early(length_s: float) -> None:
    assert not SCANS["timeline"].may_stop(length_s)


@pytest.mark.parametrize(("start_s", "length_s"), [(0.0, 20.4), (7.3, 12.0), (0.0, 3.0)])
def test_a_walk_looks_every_second_and_shortly_before_the_end(
    start_s: float, length_s: float
) -> None:
    times = list(takewhile(lambda time_s: time_s < length_s, walk_times(start_s, length_s)))
    assert times[0] == start_s
    assert times[-1] == pytest.approx(length_s - LAST_LOOK_S)
    assert max(after - before for before, after in pairwise(times)) <= WALK_STEP_S + 1e-9


def test_a_walk_continues_if_the_length_in_the_header_is_too_small() -> None:
    assert list(islice(walk_times(0.0, 0.0), 4)) == [0.0, 1.0, 2.0, 3.0]
    times = list(islice(walk_times(0.0, 2.0), 6))
    assert times == pytest.approx([0.0, 1.0, 2.0 - LAST_LOOK_S, 3.0, 4.0, 5.0])


def test_looks_are_spread_over_the_whole_video() -> None:
    times = list(islice(spread_times(48.0), 25))
    assert times[:3] == [0.0, 2.0, 4.0]
    assert times[24] == 48.0


@pytest.mark.parametrize(
    ("scan", "planned_s", "true_s", "again"),
    [
        ("identify", 100.0, 49.0, True),
        ("identify", 100.0, 51.0, False),
        ("auto", 3600.0, 9.0, True),
        ("auto", 3600.0, 11.0, False),
        ("auto", 8.0, 3.0, True),
        ("timeline", 3600.0, 3.0, False),
    ],
)
def test_a_video_much_shorter_than_its_header_says_is_searched_again(
    scan: str, planned_s: float, true_s: float, again: bool
) -> None:
    assert SCANS[scan].must_search_again(planned_s, true_s) is again
