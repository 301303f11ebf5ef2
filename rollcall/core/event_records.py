"""One record of an event, and the video that it names.

Ceph and EventBridge send keys raw, the notifications of AWS S3 and MinIO form-encoded: the rule
belongs to the source, not to the key. Bucket, key, source and name of an event decide what is
done. No other field makes a record bad, whatever its JSON type (`plain_text`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote_plus

from rollcall.core.errors import BadEvent
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.types import VideoRef
from rollcall.core.work_ids import given_work_id

Json = Any

MAX_FIELD_CHARS = 1024
"""For everything beside the key: names, ids, etags."""

STARTS_WORK = frozenset(
    f"ObjectCreated:{kind}" for kind in ("Put", "Post", "Copy", "CompleteMultipartUpload")
)

_REASONS: Mapping[str, str] = {
    "putobject": "ObjectCreated:Put",
    "postobject": "ObjectCreated:Post",
    "copyobject": "ObjectCreated:Copy",
    "completemultipartupload": "ObjectCreated:CompleteMultipartUpload",
}
"""What EventBridge calls the events' names."""


class Named(Protocol):
    """A video as an event named it: a VideoRef, or the inbox's work."""

    @property
    def bucket(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def etag(self) -> str: ...
    @property
    def event_name(self) -> str: ...
    @property
    def work_id(self) -> str: ...


def stored_object(record: Mapping[str, Json]) -> VideoRef | None:
    """The video of an S3 event record; None for one that starts no work. Raises BadEvent."""
    decode_key = _KEY_RULES.get(str(record.get("eventSource")))
    if decode_key is None:
        known = ", ".join(_KEY_RULES)
        raise BadEvent(f"eventSource is {record.get('eventSource')!r:.100}, not one of {known}")
    event_name = text_of(record, "eventName").removeprefix("s3:")
    if event_name not in STARTS_WORK:
        return None
    s3 = mapping_of(record, "s3")
    stored = mapping_of(s3, "object")
    return _checked(
        VideoRef(
            bucket=text_of(mapping_of(s3, "bucket"), "name"),
            key=decode_key(text_of(stored, "key", most=3 * MAX_KEY_BYTES)),
            version_id=plain_text(stored, "versionId"),
            etag=plain_text(stored, "eTag").strip('"'),
            sequencer=plain_text(stored, "sequencer"),
            event_id=plain_text(record, "eventId"),
            event_name=event_name,
            event_time=plain_text(record, "eventTime"),
        )
    )


def bridged_object(event: Mapping[str, Json]) -> VideoRef | None:
    """The video of EventBridge's "Object Created"; None for every other event. Raises BadEvent.

    The event's id counts only if S3 gave no sequencer: with one, the same upload has the same
    identity as in a notification that comes from S3 directly.
    """
    if event.get("detail-type") != "Object Created":
        return None
    detail = mapping_of(event, "detail")
    stored = mapping_of(detail, "object")
    sequencer = plain_text(stored, "sequencer")
    reason = plain_text(detail, "reason").replace(" ", "").lower()
    return _checked(
        VideoRef(
            bucket=text_of(mapping_of(detail, "bucket"), "name"),
            key=text_of(stored, "key", most=MAX_KEY_BYTES),
            version_id=plain_text(stored, "version-id"),
            etag=plain_text(stored, "etag").strip('"'),
            sequencer=sequencer,
            event_id="" if sequencer else plain_text(event, "id"),
            event_name=_REASONS.get(reason, "ObjectCreated:Put"),
            event_time=plain_text(event, "time"),
        )
    )


def direct_call(call: Mapping[str, Json]) -> VideoRef:
    """The video of `{"bucket": ..., "key": ...}`. Raises BadEvent."""
    event_name = text_of(call, "event_name").removeprefix("s3:") or "ObjectCreated:Put"
    if event_name not in STARTS_WORK:
        raise BadEvent(f"event_name {event_name!r} starts no work; leave it out of a direct call")
    return _checked(
        VideoRef(
            bucket=text_of(call, "bucket"),
            key=text_of(call, "key", most=MAX_KEY_BYTES),
            version_id=plain_text(call, "version_id"),
            etag=plain_text(call, "etag").strip('"'),
            event_name=event_name,
            given_work_id=given_work_id(call.get("work_id")),
        )
    )


def call_document(video: Named) -> dict[str, str]:
    """What `direct_call` reads: the function's callers send it."""
    return {
        "bucket": video.bucket,
        "key": video.key,
        "version_id": video.version_id,
        "etag": video.etag,
        "event_name": video.event_name,
        "work_id": video.work_id,
    }


def _checked(video: VideoRef) -> VideoRef:
    if not video.bucket or not video.key:
        raise BadEvent("the event names no bucket, or no key")
    if len(video.key.encode()) > MAX_KEY_BYTES or "\x00" in video.key:
        raise BadEvent(f"the key is longer than {MAX_KEY_BYTES} bytes, or holds a NUL")
    return video


def mapping_of(parent: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """An object inside another. Raises BadEvent."""
    value = parent.get(name)
    if not isinstance(value, dict):
        raise BadEvent(f"the record has no object {name!r}")
    return value


def text_of(parent: Mapping[str, Json], name: str, most: int = MAX_FIELD_CHARS) -> str:
    """A text that can be stored; empty when it is missing. Raises BadEvent."""
    value = parent.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise BadEvent(f"{name!r} has to be a string of at most {most} characters")
    try:
        value.encode()
    except UnicodeError as error:
        raise BadEvent(f"{name!r} is not valid Unicode") from error
    return value


def plain_text(parent: Mapping[str, Json], name: str) -> str:
    """A field that decides nothing, as a text that can be stored and compared; it never raises.

    Empty if the field is missing. Whatever is not a short text counts as its JSON, or as a digest
    of that, so that two values stay different and a repeated delivery stays the same.
    """
    value = parent.get(name)
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    except RecursionError:
        return ""
    body = text.encode(errors="surrogatepass")
    if len(text) <= MAX_FIELD_CHARS and body == text.encode(errors="replace"):
        return text
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _raw(key: str) -> str:
    return key


def _form_decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeError as error:
        raise BadEvent("the key is not valid UTF-8") from error


_KEY_RULES: Mapping[str, Callable[[str], str]] = {
    "ceph:s3": _raw,
    "aws:s3": _form_decoded,
    "minio:s3": _form_decoded,
}
