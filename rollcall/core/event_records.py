"""Parsers that turn one record of an event into the video that it names.

Whether a key is form-encoded depends on the source of the event: Ceph and EventBridge send keys
unencoded, AWS S3 and MinIO encode them. Only bucket, key, source and event name are checked. Any
other field may have any JSON type (`plain_text`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote_plus

from rollcall.core.errors import BadEvent
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.trace_context import valid_traceparent
from rollcall.core.types import VideoRef
from rollcall.core.work_ids import given_work_id

Json = Any

MAX_FIELD_CHARS = 1024
"""Longest text that is read from a field other than the key: names, ids, etags."""

STARTING_EVENTS = frozenset(
    f"ObjectCreated:{kind}" for kind in ("Put", "Post", "Copy", "CompleteMultipartUpload")
)
"""Names of the events that start work. Some versions of Ceph send Post when a multipart upload
begins; the function then finds no object and ignores the event."""

_EVENT_NAMES: Mapping[str, str] = {
    "putobject": "ObjectCreated:Put",
    "postobject": "ObjectCreated:Post",
    "copyobject": "ObjectCreated:Copy",
    "completemultipartupload": "ObjectCreated:CompleteMultipartUpload",
}
"""The event name for each `reason` of an EventBridge event (in lower case and without spaces)."""


class CallTarget(Protocol):
    """The fields that a call of the function sends. Both VideoRef and Work have them."""

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


def parse_s3_record(record: Mapping[str, Json]) -> VideoRef | None:
    """The video of an S3 event record; None if the event starts no work. Raises BadEvent."""
    decode_key = _KEY_DECODERS.get(str(record.get("eventSource")))
    if decode_key is None:
        known = ", ".join(_KEY_DECODERS)
        raise BadEvent(f"eventSource is {record.get('eventSource')!r:.100}, not one of {known}")
    # AWS writes `ObjectCreated:Put`, other stores `s3:ObjectCreated:Put`.
    event_name = text_of(record, "eventName").removeprefix("s3:")
    if event_name not in STARTING_EVENTS:
        return None
    s3 = mapping_of(record, "s3")
    stored = mapping_of(s3, "object")
    # Form encoding writes a byte of the key as up to three characters, hence the larger limit.
    return _check_video(
        VideoRef(
            bucket=text_of(mapping_of(s3, "bucket"), "name"),
            key=decode_key(text_of(stored, "key", 3 * MAX_KEY_BYTES)),
            version_id=plain_text(stored, "versionId"),
            etag=plain_text(stored, "eTag").strip('"'),  # some stores put it in quotes, as in HTTP
            sequencer=plain_text(stored, "sequencer"),
            event_id=plain_text(record, "eventId"),
            event_name=event_name,
            event_time=plain_text(record, "eventTime"),
        )
    )


def parse_eventbridge(event: Mapping[str, Json]) -> VideoRef | None:
    """The video of an EventBridge event "Object Created"; None for other events. Raises BadEvent.

    The event's id is used only if there is no sequencer. With a sequencer, the upload has the same
    identity as in a notification that S3 sends directly.
    """
    if event.get("detail-type") != "Object Created":
        return None
    detail = mapping_of(event, "detail")
    stored = mapping_of(detail, "object")
    sequencer = plain_text(stored, "sequencer")
    reason = plain_text(detail, "reason").replace(" ", "").lower()
    return _check_video(
        VideoRef(
            bucket=text_of(mapping_of(detail, "bucket"), "name"),
            key=text_of(stored, "key", MAX_KEY_BYTES),
            version_id=plain_text(stored, "version-id"),
            etag=plain_text(stored, "etag").strip('"'),
            sequencer=sequencer,
            event_id="" if sequencer else plain_text(event, "id"),
            event_name=_EVENT_NAMES.get(reason, "ObjectCreated:Put"),
            event_time=plain_text(event, "time"),
        )
    )


def parse_direct_call(call: Mapping[str, Json]) -> VideoRef:
    """The video of `{"bucket": ..., "key": ...}`. Raises BadEvent."""
    event_name = text_of(call, "event_name").removeprefix("s3:") or "ObjectCreated:Put"
    if event_name not in STARTING_EVENTS:
        raise BadEvent(f"event_name {event_name!r} starts no work; leave it out of a direct call")
    return _check_video(
        VideoRef(
            bucket=text_of(call, "bucket"),
            key=text_of(call, "key", MAX_KEY_BYTES),
            version_id=plain_text(call, "version_id"),
            etag=plain_text(call, "etag").strip('"'),
            event_name=event_name,
            given_work_id=given_work_id(call.get("work_id")),
            traceparent=valid_traceparent(call.get("traceparent")),
        )
    )


def call_document(video: CallTarget, traceparent: str) -> dict[str, str]:
    """The body of a call of the function. `parse_direct_call` parses it.

    `traceparent` is in the body too, because the body is signed, and calls of a Lambda function
    have no headers.
    """
    return {
        "bucket": video.bucket,
        "key": video.key,
        "version_id": video.version_id,
        "etag": video.etag,
        "event_name": video.event_name,
        "work_id": video.work_id,
        "traceparent": traceparent,
    }


def _check_video(video: VideoRef) -> VideoRef:
    if not video.bucket or not video.key:
        raise BadEvent("the event has no bucket name, or no key")
    if len(video.key.encode()) > MAX_KEY_BYTES or "\x00" in video.key:
        raise BadEvent(f"the key is longer than {MAX_KEY_BYTES} bytes, or contains a NUL character")
    return video


def mapping_of(document: Mapping[str, Json], field: str) -> Mapping[str, Json]:
    """The JSON object in this field. Raises BadEvent if there is none."""
    value = document.get(field)
    if not isinstance(value, dict):
        raise BadEvent(f"the record has no object {field!r}")
    return value


def text_of(document: Mapping[str, Json], field: str, max_chars: int = MAX_FIELD_CHARS) -> str:
    """The text in this field; empty if the field is missing or null.

    Raises BadEvent if the value is not a text, is too long, or cannot be encoded as UTF-8.
    """
    value = document.get(field, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > max_chars:
        raise BadEvent(f"{field!r} has to be a string of at most {max_chars} characters")
    try:
        value.encode()
    except UnicodeError as error:
        raise BadEvent(f"{field!r} is not valid Unicode") from error
    return value


def plain_text(document: Mapping[str, Json], field: str) -> str:
    """The value of a field that is not checked, as a text that can be stored and compared.

    Never raises. The text is empty if the field is missing. Values of other JSON types become JSON
    text; a long or invalid text becomes a digest. So different values stay different, and a
    repeated delivery gives the same text.
    """
    value = document.get(field)
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    except RecursionError:
        return ""
    # JSON may contain half of a surrogate pair (`"\ud800"`), which cannot be encoded as UTF-8.
    body = text.encode(errors="surrogatepass")
    if len(text) <= MAX_FIELD_CHARS and body == text.encode(errors="replace"):
        return text
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _decode_raw(key: str) -> str:
    return key


def _decode_form(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeError as error:
        raise BadEvent("the key is not valid UTF-8") from error


_KEY_DECODERS: Mapping[str, Callable[[str], str]] = {
    "ceph:s3": _decode_raw,
    "aws:s3": _decode_form,
    "minio:s3": _decode_form,
}
