"""Parts that tests of work queues share: a clock that stands still, events, and shortcuts."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import Work
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.queues.sql_queue import SqlQueue

T0 = 1_795_237_499.0
LEASE_S = 100.0
HOUR_S = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now_s = T0

    def __call__(self) -> float:
        return self.now_s


def video(key: str = "a.mp4", event_id: str = "1", etag: str = "e1", at_s: float = T0) -> VideoRef:
    event_time = datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    return VideoRef("videos", key, "v1", etag, event_id=event_id, event_time=event_time)


def listed(key: str = "a.mp4", etag: str = "e1", at_s: float = T0) -> ObjectInfo:
    return ObjectInfo("videos", key, 10, etag, "v1", at_s)


def claim(queue: WorkQueue) -> Work | None:
    return next(iter(queue.claim(1, LEASE_S)), None)


def claimed(queue: WorkQueue) -> Work:
    work = claim(queue)
    assert work is not None
    return work


def documents(queue: WorkQueue) -> list[str]:
    """The documents about results that are not in the index yet, oldest first."""
    if isinstance(queue, MemoryQueue):
        return queue.documents
    assert isinstance(queue, SqlQueue)
    with queue._database.reading() as connection:
        rows = connection.execute(text("SELECT document FROM unindexed ORDER BY id"))
        return [str(document) for (document,) in rows]


def states(queue: WorkQueue) -> dict[str, int]:
    """The counts that are not 0."""
    return {state: count for state, count in queue.counts().items() if count}
