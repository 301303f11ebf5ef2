"""What the status page says in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollcall.core.figures import Figures, duration_text
from rollcall.core.gallery_facts import GalleryFacts, gallery_facts_in
from rollcall.trigger.overview import Overview
from rollcall.trigger.readiness import PartState

WORK = {"queued": 0, "running": 0, "done": 5, "dead": 0, "bad": 0}
WELL = Overview(
    figures=Figures(WORK, {("done", "unknown"): 5}, 0.0),
    parts=[PartState("database", "everything", ""), PartState("store", "scans", "")],
    gallery=GalleryFacts(2, 5, 1000.0),
    stale_gallery=False,
    scan_age_s=100.0,
    gallery_age_s=7200.0,
    running_s=1e6,
    reconcile_s=300.0,
)


def test_nothing_is_wrong() -> None:
    assert WELL.problems() == []
    assert dict(WELL.facts()) == {
        "Videos waiting": "none",
        "Last complete scan of the buckets": "100 s ago",
        "Gallery": "2 people, 5 encodings, changed 2 h ago",
        "Reachable": "database, store",
    }


def with_figures(**changes: object) -> Overview:
    assert WELL.figures
    return replace(WELL, figures=replace(WELL.figures, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overview", "start"),
    [
        (
            with_figures(codes={("dead", "gone"): 1, ("dead", "http_418"): 2, ("done", "x"): 9}),
            "3 videos failed for good: 1 gone, 2 http_4xx.",
        ),
        (with_figures(codes={("dead", "gone"): 1}), "1 video failed for good: 1 gone."),
        (with_figures(work={**WORK, "bad": 2}), "2 events could not be read."),
        (with_figures(oldest_waiting_s=750.0), "A video has been waiting for 12 min."),
        (with_figures(notices={"dead": 1}), "1 message about a result was given up;"),
        (with_figures(notices={"dead": 3}), "3 messages about results were given up;"),
        (with_figures(oldest_notice_s=9000.0), "A message about a result has been waiting for 2 h"),
        (
            with_figures(oldest_transaction_s=1200.0),
            "A transaction in the database has been open for 20 min.",
        ),
        (replace(WELL, scan_age_s=90_000.0), "No scan of the buckets was completed in the last 25"),
        (
            replace(WELL, scan_age_s=None),
            "No scan of the buckets was completed in the last 12 days",
        ),
        (replace(WELL, stale_gallery=True), "The function uses an old gallery,"),
        (
            replace(WELL, parts=[PartState("store", "finding lost events", "no answer")]),
            "The store cannot be reached (needed for finding lost events): no answer.",
        ),
    ],
)
def test_each_problem_is_named(overview: Overview, start: str) -> None:
    (problem,) = overview.problems()
    assert problem.startswith(start)


def test_what_is_not_known_yet_is_no_problem() -> None:
    started = replace(WELL, figures=None, gallery=None, scan_age_s=None, running_s=10.0, parts=[])
    assert started.problems() == []
    assert dict(started.facts())["Gallery"] == "unknown until the function has answered"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (1e6, "12 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_facts_about_a_gallery_pass_through_headers() -> None:
    for facts in (GalleryFacts(2, 5, 1000.0), GalleryFacts(0, 0, 0.0, stale=True)):
        headers = {name.lower(): value for name, value in facts.headers().items()}
        assert gallery_facts_in(headers) == facts
    for value in ("", "people=1", "people=-1, encodings=2, changed=3", "people=1, encodings=2, "):
        assert gallery_facts_in({"x-rollcall-gallery": value}) is None
    assert gallery_facts_in({}) is None
