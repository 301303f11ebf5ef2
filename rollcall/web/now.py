"""The first page (*Now*): problems, counts, and the latest results."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from flask import Blueprint, Response, render_template

from rollcall.core.figures import Figures, duration_text
from rollcall.core.work import Work
from rollcall.index.overview_queries import SLOT_S, Lag, LatestVideo
from rollcall.web.formats import counted
from rollcall.web.parts import parts
from rollcall.web.polling import polled
from rollcall.web.problem_texts import retry_helps, title_of
from rollcall.web.system_state import LAG_SLOTS, Progress, Troubles, system_state

pages = Blueprint("now", __name__)

NOT_TAKEN_S = 30.0
"""Work that waits for so long while nothing runs is not taken by any trigger."""

BAR_PX, SLOT_PX, HEIGHT_PX = 8, 10, 24
"""Size of the bars in the picture of lags."""


class Trouble(NamedTuple):
    """A sentence about what is wrong, and the page that shows more."""

    text: str
    url: str
    kind: str = ""
    code: str = ""
    retry_helps: bool = False


class Bar(NamedTuple):
    """A bar of the picture of lags."""

    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Row:
    """A video in the list."""

    element: str
    """The id of the row's element: the same before and after the video is recognised."""
    key: str
    state: Literal["waiting", "running", "done", "failed"]
    at_s: float
    note: str = ""
    """Why the video failed, or waits for another try."""
    video: LatestVideo | None = None
    """None if the index has no result of the video."""

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2] or self.key

    @property
    def folder(self) -> str:
        return self.key.removesuffix(self.name)


@pages.get("/")
def now() -> str:
    """Counts of work, what is wrong, and the latest results."""
    return render_template("now.html", part=_part)


@pages.get("/now/part")
def part() -> Response:
    """The part of the page that is polled."""
    return polled(_part())


def _part() -> str:
    state = system_state()
    troubles, progress = state.troubles.get(), state.progress.get()
    counts = troubles.figures.work
    problems = list(_problems(troubles, progress))
    lags = state.lags.get()
    rows = list(_rows(progress))
    return render_template(
        "now_part.html",
        counts=counts,
        delays=[*_delays(troubles.figures, progress)],
        problems=problems,
        progress=progress,
        rows=rows,
        bars=bars(lags, time.time()),
        slowest_s=max((lag.longest_s for lag in lags), default=None),
        is_new=not rows and not any(counts.values()),
        settings=parts().settings,
    )


def _problems(troubles: Troubles, progress: Progress) -> Iterator[Trouble]:
    for cause in troubles.urgent:
        url = f"/problems#{cause.kind}-{cause.code}"
        yield Trouble(f"{title_of(cause)}.", url, cause.kind, cause.code, retry_helps(cause))
    if progress.failed_files:
        text = f"{counted(progress.failed_files, 'file')} could not be recognised today."
        yield Trouble(text, "/videos?status=error")


def _delays(figures: Figures, progress: Progress) -> Iterator[str]:
    """Sentences about work that waits for too long, and the reason."""
    failed = next((work for work in progress.waiting if work.message), None)
    waits_s = figures.oldest_waiting_s
    if not figures.work.get("running") and waits_s >= NOT_TAKEN_S and failed is None:
        yield "Videos are waiting, but no trigger takes them. Start the trigger."
    delays = list(figures.delays())
    yield from delays
    if delays and failed:
        yield f"The last call failed: {failed.message}. Rollcall tries again by itself."


def _rows(progress: Progress) -> Iterator[Row]:
    """The rows of the list: what runs or waits, and then what has ended; each video once."""
    seen: set[str] = set()
    indexed = {(video.bucket, video.key): video for video in progress.latest}
    rows = [_work_row(work, indexed.get((work.bucket, work.key))) for work in progress.running]
    rows += [_work_row(work, indexed.get((work.bucket, work.key))) for work in progress.waiting]
    rows += [_video_row(video) for video in progress.latest]
    for row in rows:
        if row.element not in seen:
            seen.add(row.element)
            yield row


def _work_row(work: Work, video: LatestVideo | None) -> Row:
    element = _element(work.bucket, work.key)
    if work.state == "running":
        return Row(element, work.key, "running", work.changed_s, video=video)
    return Row(element, work.key, "waiting", work.received_s, work.message, video)


def _video_row(video: LatestVideo) -> Row:
    element = _element(video.bucket, video.key)
    if video.status == "error":
        return Row(element, video.key, "failed", video.finished_s, video.error_message, video)
    return Row(element, video.key, "done", video.finished_s, "", video)


def _element(bucket: str, key: str) -> str:
    named = f"{bucket}/{key}".encode("utf-8", "surrogatepass")
    return f"video-{hashlib.sha256(named).hexdigest()[:16]}"


def bars(lags: Sequence[Lag], now_s: float) -> list[Bar]:
    """The bars of the picture of lags, for the last LAG_SLOTS times."""
    first = int(now_s) // SLOT_S - LAG_SLOTS + 1
    longest_s = max((lag.mean_s for lag in lags), default=0.0) or 1.0
    found = []
    for lag in lags:
        if lag.slot >= first:
            height = max(2, round(HEIGHT_PX * lag.mean_s / longest_s))
            found.append(Bar((lag.slot - first) * SLOT_PX, HEIGHT_PX - height, height))
    return found


def seconds_text(seconds: float) -> str:
    """A short time, for example `1.2 s`."""
    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


pages.add_app_template_filter(seconds_text)
