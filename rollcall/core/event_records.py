"""One record of an event, and which video it tells of.

Ceph sends keys raw, AWS and MinIO form-encoded: the rule belongs to the source, not to the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote_plus

from rollcall.core.errors import BadEvent
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.types import VideoRef

Json = Any

MAX_FIELD_CHARS = 1024
"""For everything beside the key: names, ids, etags."""

STARTS_WORK = frozenset(
    f"ObjectCreated:{kind}" for kind in ("Put", "Post", "Copy", "CompleteMultipartUpload")
)


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
            version_id=text_of(stored, "versionId"),
            etag=text_of(stored, "eTag").strip('"'),
            sequencer=text_of(stored, "sequencer"),
            event_id=text_of(record, "eventId"),
            event_name=event_name,
            event_time=text_of(record, "eventTime"),
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
            version_id=text_of(call, "version_id"),
            etag=text_of(call, "etag").strip('"'),
            event_name=event_name,
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
