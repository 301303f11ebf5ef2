"""The interfaces of the trigger's database: the work queue, the outbox, and the listings.

Contract tests run against all implementations (`tests/unit/test_work_queue.py`,
`tests/unit/test_outbox.py`, `tests/unit/test_listings.py`).

| Protocol | implemented in | used by |
| --- | --- | --- |
| WorkQueue | `queues.sql_queue`: SQLite, PostgreSQL; `queues.memory_queue` | trigger, commands |
| Outbox | `queues.sql_outbox`; `queues.memory_outbox` | trigger, commands |
| Listings, ListingScan | `queues.sql_listings` | reconciler |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from rollcall.core.notices import StoredNotice
from rollcall.core.types import ListedVideo, ObjectInfo, SkippedUpload, VideoRef
from rollcall.core.work import BadEventRecord, Notice, Work


def no_notice(work: Work) -> None:
    """Write no notice about work that has ended."""


class WorkQueue(Protocol):
    """The durable queue of videos to be recognised.

    Work goes from queued to running (leased), and then to done or dead. A method that returns has
    stored its changes permanently; a method that raises has changed nothing, unless the connection
    broke while the change was being committed. So `add`, `finish`, `retry` and `bury` may be
    repeated: a repetition changes nothing. Every method raises InboxUnavailable if the queue cannot
    be read or written. Safe to share between threads, whose changes are stored together.
    """

    shared: bool
    """Whether several triggers may use the queue at the same time."""

    @property
    def outbox(self) -> Outbox:
        """The outbox into which `finish` and `bury` put their notices."""
        ...

    def own(self) -> AbstractContextManager[None]:
        """Own the queue during the `with` block. A queue that is not shared has one owner at most.

        Raises InboxUnavailable if another process owns the queue. Ownership ends with its process,
        so the next owner may requeue all running work at once.
        """
        ...

    def add(self, videos: Iterable[VideoRef]) -> int:
        """Queue the videos of events, and return how many of them were new.

        A video is not new if the queue has work with the same identity in any state, or if the
        reconciler has already found this upload. Raises BadEvent if a bucket or key contains a NUL
        character or invalid Unicode.
        """
        ...

    def add_missing(
        self,
        info: ObjectInfo,
        results_s: float = math.inf,
        write_notice: Callable[[Work], Notice | None] = no_notice,
    ) -> bool:
        """Queue a video that was found without a result. Return whether anything was changed.

        Nothing is changed if the object has queued or running work, a dead letter of this upload,
        or work that was done at or after `results_s`, the time before which the results of finished
        work are known to be listed.
        An upload that is found too often becomes a dead letter, and the notice that `write_notice`
        returns about it is put into the outbox.
        """
        ...

    def add_bad_event(self, body: bytes, reason: str) -> None:
        """Record an event that could not be parsed. If there are too many, drop the oldest."""
        ...

    def rerun(self, bucket: str, keys: Sequence[str]) -> list[str]:
        """Queue new work for videos that are done or dead. Return the keys that were known."""
        ...

    def claim(self, limit: int, lease_s: float) -> Sequence[Work]:
        """Lease the next `limit` pieces of work for `lease_s` seconds; fewer if fewer are due.

        The order is fair (`rollcall.queues.queue_order`). Two pieces of work for one object never
        run at the same time, so an older result cannot overwrite a newer one.
        """
        ...

    def finish(
        self, work: Work, code: str, notice: Notice | None = None, document: str = ""
    ) -> None:
        """Mark claimed work as done, and put the notice into the outbox.

        `document` is the JSON text about the result that the index has to be filled with
        (`core.index_documents`); empty if there is no result. Ignored if the work has ended, or has
        been claimed again in the meantime.
        """
        ...

    def retry(
        self, work: Work, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        """Queue claimed work again, due after `delay_s`; ignored as in `finish`.

        With `counts=False`, the call does not count as an attempt.
        """
        ...

    def bury(self, work: Work, code: str, message: str, notice: Notice | None = None) -> None:
        """Make claimed work a dead letter, which the index will show; otherwise as in `finish`."""
        ...

    def requeue_expired(self, *, everything: bool = False) -> int:
        """Queue the running work whose lease has expired, and return how many pieces there were.

        With `everything=True`, all running work is queued. The new owner of a queue that is not
        shared does this, because the process that claimed the work is gone.
        """
        ...

    def replay(self, ids: Sequence[int] = ()) -> int:
        """Queue the dead letters with these ids again, or all without ids. Return how many."""
        ...

    def result_found(self, info: ObjectInfo) -> int:
        """Mark dead letters of exactly this upload as done, because its result exists.

        The function finished, and only its answers were lost, so the index will be filled from the
        report. Returns the number of dead letters.
        """
        ...

    def counts(self) -> dict[str, int]:
        """The number of pieces of work in each state, and under `bad` the number of bad events."""
        ...

    def codes(self) -> dict[tuple[str, str], int]:
        """The number of pieces of work that are done or dead, by state and code."""
        ...

    def oldest_waiting_s(self) -> float:
        """Seconds since the oldest queued work was received; 0 if no work is queued."""
        ...

    def latest(self, limit: int, state: str = "") -> list[Work]:
        """The work that changed last, newest first; only work in `state` if that is given.

        If more works than `limit` wait, some that changed after others may be left out.
        """
        ...

    def history(self, bucket: str, key: str, limit: int = 100) -> list[Work]:
        """All work for one video, newest first."""
        ...

    def bad_events(self, limit: int) -> list[BadEventRecord]:
        """The last bad events, newest first."""
        ...

    def unsettled(self, bucket: str, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have queued or running work."""
        ...

    def dead(self, bucket: str, after: str, limit: int) -> list[str]:
        """The first `limit` keys after `after` that have a dead letter, sorted."""
        ...

    def prune(self, keep_s: float = ..., state: str = "done") -> int:
        """Delete work that has been in the state `done` or `dead` for `keep_s` seconds.

        Deletes old bad events, too. Returns the number of works.
        """
        ...

    def close(self) -> None:
        """Release files and connections. No other method may be called afterwards."""
        ...


class Outbox(Protocol):
    """The durable queue of messages for RESULT_WEBHOOK_URL.

    A work queue adds a message in the transaction that ends the work, so no message is lost and
    none is about work that did not end. Messages are delivered at least once, in any order. A
    method that returns has stored its changes permanently. Every method raises InboxUnavailable if
    the outbox cannot be read or written. Safe to share between threads.
    """

    shared: bool
    """Whether several triggers may use the outbox at the same time."""

    def add(self, notices: Iterable[Notice]) -> None:
        """Queue messages."""
        ...

    def claim(self, limit: int, lease_s: float) -> Sequence[StoredNotice]:
        """Lease at most `limit` due messages for `lease_s` seconds, the longest due first."""
        ...

    def delivered(self, notice: StoredNotice) -> None:
        """Delete a message that was delivered."""
        ...

    def retry(
        self, notice: StoredNotice, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        """Queue a claimed message again, due after `delay_s`.

        Ignored if the message has been claimed again in the meantime. With `counts=False`, the
        delivery does not count as an attempt.
        """
        ...

    def bury(self, notice: StoredNotice, code: str, message: str) -> None:
        """Make a claimed message a dead letter; ignored as in `retry`."""
        ...

    def requeue_expired(self, *, everything: bool = False) -> int:
        """Queue the running messages whose lease has expired, and return their number.

        With `everything=True`, all running messages are queued. Only a trigger that starts with an
        outbox that it does not share may do this.
        """
        ...

    def replay(self, ids: Sequence[int] = ()) -> int:
        """Queue the dead messages with these ids again, or all without ids. Return how many."""
        ...

    def counts(self) -> dict[str, int]:
        """The number of messages in each state. Counting stops at `sql_outbox.MAX_COUNTED`."""
        ...

    def oldest_s(self) -> float:
        """Seconds since the oldest undelivered message was written or replayed; 0 without one.

        Dead messages are left out.
        """
        ...

    def dead(self, limit: int) -> list[StoredNotice]:
        """The messages that were given up last, newest first."""
        ...

    def prune(self) -> int:
        """Delete messages that were written or given up long ago, and return their number."""
        ...


class Listings(Protocol):
    """The listings of both buckets, kept between the scans of the reconciler.

    They hold millions of objects, so they are read and written in pages.
    """

    shared: bool
    """Whether several triggers may use these listings at once."""

    def scan(
        self, input_bucket: str, output_bucket: str, before_page: Callable[[], None]
    ) -> AbstractContextManager[ListingScan | None]:
        """Update the listings during the `with` block; None while another process does so.

        `before_page` is called before each page. It may raise an exception to end the scan. A scan
        that ends early leaves listings that the next scan corrects. The context manager and every
        method of the scan raise InboxUnavailable if the database cannot be used, or if the scan has
        lost its lock, so that another process may have begun a scan.
        """
        ...


class ListingScan(Protocol):
    """One scan. Its methods are called in the order in which they are listed, by one thread."""

    def now_s(self) -> float:
        """The time of the clock by which the work queue records when work ended."""
        ...

    def last_success_s(self) -> float:
        """When a scan of this input bucket last succeeded; 0 if none did."""
        ...

    def store_videos(self, videos: Iterable[ListedVideo]) -> None:
        """Replace the listing of the input bucket. The videos are sorted by key.

        Raises StoreMisconfigured if they are not sorted.
        """
        ...

    def store_skipped(self, skipped: Sequence[SkippedUpload]) -> None:
        """Replace the objects of the input bucket that are not recognised, for the pages."""
        ...

    def store_results(self, results: Iterable[ObjectInfo]) -> None:
        """Replace the listing of the output bucket, sorted by key; raises as `store_videos` does.

        A source is forgotten if the etag or the time of its result has changed.
        """
        ...

    def unmatched(self) -> Iterator[list[ListedVideo]]:
        """The videos that no stored result was made from, in pages, sorted by key.

        A result was made from a video if the stored source of the result is the video's etag.
        """
        ...

    def store_sources(self, sources: Mapping[str, str]) -> None:
        """Remember, by key of a result, the etag of the video that it was made from."""
        ...

    def matched(self, keys: Sequence[str]) -> list[ObjectInfo]:
        """Those of the videos with these keys that a stored result was made from."""
        ...

    def succeed(self) -> float:
        """Record that this scan has reached its end, and return the time."""
        ...
