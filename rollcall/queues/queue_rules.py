"""The rules that every work queue keeps, as pure functions and values.

They decide whether an upload is known already, and when work is given up or deleted. `queue_order`
decides which work is claimed next. How work is stored is up to each queue.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from rollcall.core.errors import BadEvent
from rollcall.core.texts import storable
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import Work

KEEP_DONE_S = 30 * 86400.0
"""How long finished work is kept, so that a late duplicate of its event is recognised as one."""

KEEP_BAD_EVENTS = 1000
KEEP_BAD_BYTES = 65536
"""Stored part of a bad event's body: enough to see what kind of document it was."""

MAX_FOUND = 3
FOUND_PERIOD_S = 86400.0
"""If the reconciler finds an upload without a result more than MAX_FOUND times within this period,
the upload becomes a dead letter, because yet another call would not help."""

NO_RESULT_CODE = "no_result"
NO_RESULT = (
    "the video was recognised several times, but OUTPUT_BUCKET has no result; check that function"
    " and trigger use the same OUTPUT_BUCKET"
)

SAME_UPLOAD_S = 2.0
"""An event and a listed object with the same etag are the same upload if their times differ by less
than this. They differ because the store writes the event just before it sets the object's time, and
AWS lists whole seconds."""


MAX_INDEXED_BYTES = 512
"""Longer etags and identities are replaced by a digest, because PostgreSQL indexes at most 2704
bytes, together with the key."""


class NewWork(NamedTuple):
    """Work that is about to be queued."""

    identity: str
    video: VideoRef
    uploaded_s: float
    """Unix time of the upload; 0 if the event does not contain it."""
    origin: str


def work_for_event(video: VideoRef) -> NewWork:
    """Work for an event. Raises BadEvent if the bucket or the key cannot be stored."""
    if not (is_storable(video.bucket) and is_storable(video.key)):
        raise BadEvent("the bucket or the key contains a NUL character, or is not valid Unicode")
    return NewWork(video.identity(), video, upload_time_s(video.event_time), "event")


def work_for_object(info: ObjectInfo) -> NewWork:
    """Work for a listed object. Its identity is new each time: a result may be lost repeatedly."""
    video = VideoRef(info.bucket, info.key, info.version_id, info.etag)
    return NewWork(f"found:{uuid4()}", video, info.modified_s, "reconcile")


def work_again(work: Work) -> NewWork:
    """New work for the video of finished work."""
    video = VideoRef(work.bucket, work.key, work.version_id, work.etag, event_name=work.event_name)
    return NewWork(f"rerun:{uuid4()}", video, work.uploaded_s, "rerun")


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text."""
    return "\x00" not in text and storable(text) == text


def indexable(text: str) -> str:
    """The storable text, or its digest if the text is too long for an index."""
    body = storable(text).encode()
    if len(body) <= MAX_INDEXED_BYTES:
        return body.decode()
    return "sha256:" + hashlib.sha256(body).hexdigest()


def same_upload_times(event: NewWork) -> tuple[float, float] | None:
    """The range of upload times, ends excluded, in which an object is the upload of this event.

    The object must have the event's etag as well. None if the event has no etag.
    """
    if not event.video.etag:
        return None
    return event.uploaded_s - SAME_UPLOAD_S, event.uploaded_s + SAME_UPLOAD_S


def is_of_upload(dead_etag: str, dead_received_s: float, info: ObjectInfo) -> bool:
    """Whether a dead letter of this object is about the upload that is there now.

    A dead letter without an etag stands for all uploads before it was received, and for none after.
    """
    if dead_etag == "":
        return info.etag == "" or dead_received_s >= info.modified_s
    return dead_etag == indexable(info.etag)


def upload_time_s(event_time: str) -> float:
    """The Unix time that an event gives, as ISO 8601 or as a number of seconds or milliseconds.

    0 for a time that is missing or cannot be parsed.
    """
    try:
        number = float(event_time)
    except ValueError:
        try:
            return datetime.fromisoformat(event_time).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0
    # 1e11 seconds are the year 5138, and 1e11 milliseconds are March 1973, so a larger number is in
    # milliseconds. A number of 1e14 or more is neither.
    if not 0 < number < 1e14:
        return 0.0
    return number / 1000 if number > 1e11 else number
