"""Lanes, the time axis, captions and boxes of a video."""

from __future__ import annotations

import math

import pytest
from support.index_samples import appearance, indexed

from rollcall.core.coverages import limits_in
from rollcall.web import lanes, video_boxes
from rollcall.web.lanes import joined, length_s, ticks
from rollcall.web.video_boxes import boxes_of
from rollcall.web.video_texts import after_upload, looks_text, web_vtt


def test_unknown_people_are_last_and_numbered() -> None:
    video = indexed("a.mp4", appearance(0, ""), appearance(1, "Ada"), appearance(2, ""))
    assert [(lane.label, lane.seen.number) for lane in lanes.lanes(video)] == [
        ("Ada", 1),
        ("unknown 1", 0),
        ("unknown 2", 2),
    ]
    (only,) = lanes.lanes(indexed("a.mp4", appearance(0, "")))
    assert (only.label, only.colour) == ("unknown", "x")


def test_a_bar_is_placed_in_percent_and_says_everything() -> None:
    video = indexed("a.mp4", appearance(0, "Ada", (10.0, 40.0)), duration_s=80.0)
    (bar,) = lanes.lanes(video)[0].bars
    assert (bar.x, bar.width) == ("12.500%", "37.500%")
    assert bar.text == "Ada, 0:10 to 0:40, clear"


def test_intervals_after_the_end_make_the_lane_longer() -> None:
    assert length_s(indexed("a.mp4", appearance(0, "Ada", (0, 90)), duration_s=60.0)) == 90
    assert length_s(indexed("a.mp4", duration_s=0.0)) == 1


def test_too_many_intervals_are_joined_over_the_shortest_gaps() -> None:
    intervals = [(0.0, 1.0), (1.5, 2.0), (9.0, 9.5), (10.0, 11.0), (30.0, 31.0)]
    assert joined(intervals, 5) == intervals
    assert joined(intervals, 3) == [(0.0, 2.0), (9.0, 11.0), (30.0, 31.0)]
    assert joined(intervals, 1) == [(0.0, 31.0)]


def test_many_people_have_fewer_bars_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_ALL_BARS", 10)
    times = [(float(n), n + 0.5) for n in range(9)]
    people = [appearance(number, f"Person {number}", *times) for number in range(5)]
    assert [len(lane.bars) for lane in lanes.lanes(indexed("a.mp4", *people))] == [2] * 5


@pytest.mark.parametrize("whole_s", [1.0, 7.3, 59, 60, 61, 599, 3120, 7200, 90_000, 1e7])
def test_the_axis_has_few_labels_at_round_times(whole_s: float) -> None:
    shown = ticks(whole_s)
    assert shown[0].time_s == 0
    assert len(shown) <= lanes.MAX_TICKS + 1
    assert all(tick.time_s <= whole_s for tick in shown)
    assert whole_s < 2 or len(shown) > 1


def test_captions_have_a_length_are_sorted_and_escaped() -> None:
    video = indexed(
        "a.mp4", appearance(0, "<b>&", (3723.5, 3723.5)), appearance(1, "Ada", (0.0, 1.0))
    )
    assert web_vtt(video) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nAda\n\n"
        "01:02:03.500 --> 01:02:03.600\n&lt;b&gt;&amp;\n"
    )


def test_a_name_cannot_end_its_caption() -> None:
    name = "Ada\n\n00:00:05.000 --> 00:00:06.000\nEve"
    captions = web_vtt(indexed("a.mp4", appearance(0, name, (0.0, 1.0))))
    assert captions.count("\n\n") == 1
    assert "\nEve" not in captions


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.2 s"), (12.6, "13 s"), (61, "1:01"), (0, ""), (-1, ""), (4000, "")],
)
def test_how_long_the_result_took(seconds: float, text: str) -> None:
    video = indexed("a.mp4", uploaded_s=1000.0, finished_s=1000 + seconds)
    assert after_upload(video) == (f"{text} after the upload" if text else "")


def test_coverage_in_words() -> None:
    assert looks_text({"looks": 7, "longest_gap_s": 10.0}) == "at 7 moments, at most 10 s apart"
    assert looks_text({"looks": 1}) == "at 1 moment"
    assert looks_text({}) == ""
    assert limits_in({"not_judged": {"turned": 1}, "stopped_at_s": 2.0}) == [
        "stopped after the first clear frame at 2 s",
        "1 face turned too far away was not judged",
    ]


def test_boxes_are_limited_and_have_finite_times(monkeypatch: pytest.MonkeyPatch) -> None:
    box = {"left": 1, "top": 2, "right": 4, "bottom": 6}
    faces = [{"time_s": time_s, "box_px": box, "person": 0} for time_s in (3, math.inf, 1, 2)]
    video = indexed("a.mp4", appearance(0, "Ada"))
    assert [each[0] for each in boxes_of({"faces": faces}, video)] == [1, 2, 3]
    monkeypatch.setattr(video_boxes, "MAX_BOXES", 1)
    assert boxes_of({"faces": faces}, video) == [(3.0, 1, 2, 3, 4, 0, "")]


def test_a_person_who_is_not_in_the_index_has_no_label() -> None:
    box = {"left": 1, "top": 2, "right": 4, "bottom": 6}
    face = {"time_s": 1, "box_px": box, "person": 7}
    assert boxes_of({"faces": [face]}, indexed("a.mp4")) == [(1.0, 1, 2, 3, 4, -1, "")]
