"""The search for calls that ran at the same time finds each such pair, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.call_ledger import (
    Call,
    LedgerLine,
    append_line,
    overlaps,
    read_calls,
    was_given_up,
)

TIMEOUT_S = 10.0


def call(begin_s: float, end_s: float, key: str = "a.mp4", sent_s: float | None = None) -> Call:
    sent_s = begin_s if sent_s is None else sent_s
    return Call(key, "trigger-function", 1, sent_s, begin_s, end_s)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        (call(0, 2), call(1, 3), True),
        (call(1, 3), call(0, 2), True),
        (call(0, 9), call(1, 2), True),
        (call(0, float("inf")), call(50, 51), True),
        (call(0, 1), call(1, 2), False),
        (call(0, 2), call(1, 3, "b.mp4"), False),
    ],
)
def test_two_calls_overlap_if_one_begins_before_the_other_ends(
    first: Call, second: Call, overlap: bool
) -> None:
    assert bool(list(overlaps([first, second]))) == overlap


def test_a_call_that_began_late_is_the_first_one_if_it_was_sent_first() -> None:
    waited = call(5, 7, sent_s=0)
    repeat = call(4, 6)
    assert list(overlaps([repeat, waited])) == [(waited, repeat)]


@pytest.mark.parametrize(
    ("sent_s", "broken_s", "given_up"),
    [(TIMEOUT_S, [], True), (9, [], False), (9, [5.0], True), (9, [9.5], False)],
)
def test_a_call_is_given_up_after_its_time_out_or_when_its_link_was_cut(
    sent_s: float, broken_s: list[float], given_up: bool
) -> None:
    first, second = call(0, 20), call(sent_s, 20)
    assert was_given_up(first, second, TIMEOUT_S, {"trigger-function": broken_s}) == given_up
    assert not was_given_up(first, call(9, 20), TIMEOUT_S, {"trigger2-function": broken_s})


def test_a_call_ends_when_its_worker_is_killed(tmp_path: Path) -> None:
    ledger = tmp_path / "calls"
    assert read_calls(ledger) == []
    for number, ends in ((1, False), (2, False), (2, True)):
        append_line(ledger, LedgerLine(f"call {number}", "a.mp4", "", 1.0, number, ends=ends))
    running, ended = read_calls(ledger)
    assert (running.end_s, ended.end_s < float("inf")) == (float("inf"), True)
    assert read_calls(ledger, {1: 9.0})[0].end_s == 9.0
