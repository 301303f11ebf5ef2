"""The header `traceparent` of W3C Trace Context."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rollcall.core.trace_context import (
    child_traceparent,
    derived_traceparent,
    new_traceparent,
    trace_id_of,
    traceparent_in,
    traceparent_of,
    valid_traceparent,
)
from rollcall.core.types import VideoRef

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"
FORM = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (GIVEN, GIVEN),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-ff", GIVEN),
        (f"cc-{TRACE}-{PARENT}-01", GIVEN),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", GIVEN),
    ],
)
def test_a_valid_traceparent_is_written_as_version_00(value: str, expected: str) -> None:
    assert valid_traceparent(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        None,
        7,
        [GIVEN],
        GIVEN.upper(),
        f" {GIVEN}",
        f"{GIVEN}\n",
        f"{GIVEN}-more",
        f"{GIVEN},{GIVEN}",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-0x",
        "x" * 100_000,
    ],
)
def test_other_values_are_no_traceparent(value: Any) -> None:
    assert valid_traceparent(value) == ""


def test_the_header_counts_once_and_in_any_case() -> None:
    assert traceparent_in({"TraceParent": GIVEN}) == GIVEN
    assert traceparent_in({"traceparent": GIVEN, "Traceparent": GIVEN}) == ""
    assert traceparent_in({"tracestate": GIVEN}) == ""


def test_a_step_keeps_trace_and_flag_and_gets_an_id_of_its_own() -> None:
    for given in (GIVEN, f"00-{TRACE}-{PARENT}-00"):
        first, second = child_traceparent(given), child_traceparent(given)
        assert FORM.fullmatch(first)
        assert trace_id_of(first) == TRACE
        assert len({first, second, given}) == 3
        assert first[-2:] == given[-2:]
    assert child_traceparent(GIVEN, "b" * 16) == f"00-{TRACE}-{'b' * 16}-01"


def test_new_traces_differ_and_are_valid() -> None:
    made = {new_traceparent() for _ in range(100)}
    assert len({trace_id_of(each) for each in made}) == 100
    assert all(valid_traceparent(each) == each for each in made)


def test_a_video_without_a_trace_has_the_one_of_its_work_id() -> None:
    video = VideoRef("b", "a.mp4", event_id="e1")
    assert traceparent_of(video) == derived_traceparent(video.work_id)
    assert valid_traceparent(traceparent_of(video)) == traceparent_of(video)
    assert traceparent_of(VideoRef("b", "a.mp4", event_id="e2")) != traceparent_of(video)
    assert traceparent_of(VideoRef("b", "a.mp4", traceparent=GIVEN)) == GIVEN
