"""Rows for the pages: videos with people, work in all states, and problems of each kind."""

from __future__ import annotations

import time

from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.types import VideoRef
from rollcall.core.work import Notice, Work
from rollcall.web.parts import WebParts

BUCKET = "input-bucket-video"

PEOPLE = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Greta")


def add_video(
    parts: WebParts,
    key: str,
    *names: str,
    status: str = "",
    ago_s: float = 60.0,
    duration_s: float = 600.0,
    message: str = "",
    kept: str = "none",
) -> int:
    """Put a video into the index, with an appearance for each name; an empty name is unknown.

    Each person is there for a third of the video, the next one a little later. Returns the id.
    """
    finished_s = time.time() - ago_s
    third_s = duration_s / 3
    people = []
    for number, name in enumerate(names):
        start_s = min(number * duration_s / 10, duration_s - third_s)
        times = ((start_s, start_s + third_s / 2), (start_s + third_s * 0.6, start_s + third_s))
        sure = "clear" if name else ""
        distance = 0.4 if name else None
        people.append(
            Appearance(number, name, start_s, start_s + third_s, 9, distance, sure, times)  # type: ignore[arg-type]
        )
    known = any(names)
    found = status or ("recognised" if known else "unknown" if names else "no_face")
    video = IndexedVideo(
        BUCKET,
        key,
        f"etag of {key}",
        found,
        error_code="not_a_video" if found == "error" else "",
        error_message=message,
        uploaded_s=finished_s - 1.5,
        finished_s=finished_s,
        duration_s=duration_s,
        people=tuple(people),
        kept=kept,  # type: ignore[arg-type]
    )
    parts.index.put([video])
    id_ = parts.index.id_of(BUCKET, key)
    assert id_ is not None
    return id_


def upload(parts: WebParts, *keys: str) -> None:
    """Queue an event for each of the videos, in this order."""
    for key in keys:
        parts.queue.add([VideoRef(BUCKET, key, etag="e", event_id=f"event of {key}")])


def take(parts: WebParts) -> Work:
    """Claim the next work, as a trigger does."""
    (work,) = parts.queue.claim(1, 60.0)
    return work


def finish(parts: WebParts, *keys: str, code: str = "recognised") -> None:
    """Queue the videos, and end their work."""
    for key in keys:
        upload(parts, key)
        parts.queue.finish(take(parts), code)


def fail(parts: WebParts, *keys: str, code: str = "not_a_video", message: str = "") -> None:
    """Queue the videos, and make their work dead letters."""
    for key in keys:
        upload(parts, key)
        text = message or f"{key} holds no video stream that can be decoded"
        parts.queue.bury(take(parts), code, text, Notice(f"message about {key}", "{}"))


def give_up_messages(parts: WebParts, count: int = 100) -> int:
    """Give up the messages in the outbox, and return their number."""
    notices = parts.queue.outbox.claim(count, 60.0)
    for notice in notices:
        parts.queue.outbox.bury(notice, "http_500", "the receiver answered 500")
    return len(notices)


def fill(parts: WebParts) -> None:
    """Make a busy system with problems of each kind but skipped uploads."""
    fail(parts, "talks/broken.mp4", "talks/also broken.mov")
    fail(parts, "late.mp4", code="store_unavailable", message="the store did not answer")
    give_up_messages(parts, 1)
    parts.queue.add_bad_event(b"{", "the body is not JSON")
    for number in range(14, 2, -1):
        key = f"lectures/lecture-{15 - number:02}.mp4"
        names = [*PEOPLE[: number % 8], *([""] * (number % 3))]
        finish(parts, key)
        add_video(parts, key, *names, ago_s=40.0 * number**2, duration_s=300.0 * number)
    add_video(
        parts,
        "talks/broken.mp4",
        status="error",
        ago_s=200.0,
        duration_s=0.0,
        message="talks/broken.mp4 holds no video stream that can be decoded",
    )
    upload(parts, "seminar with a rather long name of its file 2026-11-27.mkv", "second.mp4")
    take(parts)
