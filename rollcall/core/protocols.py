"""The interfaces of the parts of Rollcall that can be replaced one by one.

Each Protocol has a real implementation. Some also have one in memory, for tests. Where there are
both, contract tests run against both (`tests/functional/test_seams.py`,
`tests/unit/test_work_queue.py`, `tests/unit/test_outbox.py`).

| Protocol | implemented in | used by |
| --- | --- | --- |
| VideoFile | `video.video_files`: a whole file, an object read in ranges | the decoder |
| Video | `video.decoder`: a child process; `video.av_video`: inside that process | recognition |
| Detector, Encoder | `faces`: CenterFace and dlib's network in onnxruntime | the engine |
| FaceEngine | `faces.engine`, `faces.dlib_faces`; `faces.painted_faces` | recognition, enrolment |
| ObjectStore | `stores.s3`; `stores.memory` | pipeline, reconciler, gallery, commands |
| GalleryLocation | `gallery.gallery_locations`: a file, an object in a bucket | gallery, commands |
| GallerySource | `gallery.gallery_locations`: a cache that reloads changed galleries | pipeline |
| ResultQueue | `stores.sqs`; `stores.memory` | pipeline |
| StudentStore | `stores.dynamodb`; `stores.memory` | pipeline, forgetting |
| WorkQueue | `queues.sql_queue`: SQLite, PostgreSQL; `queues.memory_queue` | trigger, commands |
| Outbox | `queues.sql_outbox`; `queues.memory_outbox` | trigger, commands |
| Listings, ListingScan | `queues.sql_listings` | reconciler |

A Protocol that only one module needs is defined in that module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.notices import StoredNotice
from rollcall.core.types import (
    DetectedFace,
    Encodings,
    Frame,
    ListedVideo,
    ObjectInfo,
    Pixels,
    Student,
    VideoRef,
)
from rollcall.core.work import BadEventRecord, Notice, Work

if TYPE_CHECKING:
    from rollcall.core.gallery import Gallery

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class VideoFile(Protocol):
    """A video on the local disk. Some of its bytes may have to be fetched first."""

    path: Path
    size_bytes: int
    complete: bool
    """Whether all bytes are there, so that `ensure_range` never has to fetch any."""

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Fetch the bytes from `start` to `end` (excluded), or at least the first of them.

        Returns the range that is on the disk afterwards, which may be larger. The time that this
        takes does not count against the decoder's time limit. Raises the errors of
        `ObjectStore.read_range`.
        """
        ...


class Video(Protocol):
    """An opened video, whose frames are read in one pass.

    There are two kinds of time. `Frame.time_s` and `duration_s` follow the player's clock.
    `moving_s` counts only the first seconds of a long stretch without a new frame (`MediaClock`).
    Looks (the frames that are searched for faces) are spread over `moving_s`.
    """

    duration_s: float
    """Length of the content in seconds; 0 if it is unknown."""
    moving_s: float
    """Length in `moving_s`, in seconds; exact once the last frame has been read."""
    track: int
    """Number of the video track that is read, counted from 1."""
    tracks: int
    """Number of video tracks in the file."""

    @property
    def damaged(self) -> bool:
        """Whether any part that has been read so far could not be decoded."""
        ...

    @property
    def divisible(self) -> bool:
        """Whether `frames` may begin anywhere, so that two decoders can share the video."""
        ...

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time, the first frame at or after it.

        The times are `moving_s`, in ascending order.
        """
        ...

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Frames from the whole video, at most `step_s` of `moving_s` apart.

        Key frames are chosen, as few as the step allows. Other frames are decoded only where key
        frames are too far apart.
        """
        ...

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """The `Frame.time_s` of the first frame after the cut between two times.

        None if there are several cuts, or none. The limits of `kept_frame` apply.
        """
        ...

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """The decoded frame nearest to the middle between two times (`Frame.time_s`, excluded).

        Only frames of the last two steps of `frames` are kept, and only in a video that was opened
        to be decoded as a whole. None if no frame between the times was kept.
        """
        ...


class ObjectStore(Protocol):
    """Buckets of objects. Every method may raise StoreUnavailable or StoreMisconfigured."""

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """Describe the current version. Raises ObjectNotFound."""
        ...

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        """The user metadata, with names in lower case. Raises ObjectNotFound."""
        ...

    def download(self, info: ObjectInfo, path: Path) -> None:
        """Write the bytes of the version with this etag to `path`.

        Raises ObjectNotFound, or ObjectChanged if the object has another etag by now.
        """
        ...

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (excluded) of the version with this etag.

        Raises ObjectNotFound, or ObjectChanged if the object has another etag or fewer bytes.
        """
        ...

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        """The bytes of the current version, or of the version `version_id`.

        Raises ObjectNotFound, or ObjectTooLarge if the object has more than `max_bytes`.
        """
        ...

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Create or replace the object."""
        ...

    def read_with_etag(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        """The bytes and the etag of the current version, from one response.

        Raises the errors of `read`.
        """
        ...

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        """Replace the object if it still has this etag; create it if `etag` is empty.

        Raises ObjectChanged if the object has another etag by now, was deleted, or exists although
        `etag` is empty. Some stores ignore the condition, so `rollcall.gallery.gallery_objects`
        tests the store before it relies on this method.
        """
        ...

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose keys begin with `prefix`, sorted by key."""
        ...

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """The replaced and deleted versions in a versioned bucket; other buckets have none."""
        ...

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        """Delete the object, or permanently delete the version `version_id`.

        A missing object is not an error.
        """
        ...


class Detector(Protocol):
    """Finds faces in pictures. Safe to share between threads."""

    name: str
    """Part of the engine's name."""

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        """The faces of an RGB picture of shape (height, width, 3), largest first."""
        ...


class Encoder(Protocol):
    """Turns faces into encodings. Safe to share between threads."""

    name: str
    """Part of the engine's name."""
    space: EncodingSpace

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        """The encodings of faces that were detected in this picture, shape (faces, space.size)."""
        ...


class FaceEngine(Protocol):
    """A detector and an encoder behind one interface. Safe to share between threads."""

    name: str
    """The names of both parts. It is stored in the metadata of each result."""
    space: EncodingSpace

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]: ...

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings: ...


class GalleryLocation(Protocol):
    """Where the bytes of a gallery are stored. Messages show `str()` of a location.

    Every method may raise a TransientError of the store.
    """

    def stamp(self) -> str:
        """A text that changes when the bytes change. Raises GalleryError if they cannot be read."""
        ...

    def load(self) -> bytes:
        """The bytes. Raises GalleryMissing if there are none, GalleryError if reading fails."""
        ...

    def changed_s(self) -> float:
        """Unix time of the last change; 0 if unknown. Raises the errors of `stamp`."""
        ...

    def update(self, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the bytes with the result of `change`, without losing changes by other writers.

        `change` receives the newest bytes (None if there are none) and returns the new bytes, or
        None to keep the old ones. It is called again each time another writer was faster. Raises
        GalleryError.
        """
        ...

    def save(self, body: bytes) -> None:
        """Replace the gallery, whatever it contains. Raises GalleryError."""
        ...


class GallerySource(Protocol):
    """Provides the gallery that the pipeline compares faces with."""

    def current(self) -> Gallery:
        """The newest gallery that could be loaded.

        If none has been loaded yet, raises GalleryUnavailable or a TransientError of the store.
        """
        ...

    @property
    def facts(self) -> GalleryFacts | None:
        """Size and age of the gallery in use; None if none has been loaded yet."""
        ...


class ResultQueue(Protocol):
    """Receives a message about each video that is recognised or has failed for good."""

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Send one message. Raises a TransientError."""
        ...


class StudentStore(Protocol):
    """Records of people. Every method may raise StoreUnavailable or StoreMisconfigured."""

    def get(self, name: str) -> Student | None:
        """The record of this name, or None."""
        ...

    def count(self, name: str) -> int:
        """The number of records with this name."""
        ...

    def remove(self, name: str) -> int:
        """Remove every record with this name, and return their number."""
        ...


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

    def finish(self, work: Work, code: str, notice: Notice | None = None) -> None:
        """Mark claimed work as done, and put the notice into the outbox.

        Ignored if the work has ended, or has been claimed again in the meantime.
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
        """Make claimed work a dead letter; otherwise as in `finish`."""
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

        The function finished, and only its answers were lost. Returns the number of dead letters.
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
