"""One parser for every shape in which a store tells of a new object.

Ceph, AWS S3, MinIO     {"Records": [{"eventSource": ..., "s3": {...}}]}
SQS                     {"Records": [{"eventSource": "aws:sqs", "body": "<one of these>"}]}
SNS                     {"Type": "Notification", "Message": "<one of these>"}
SNS to Lambda           {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": ...}}]}
CloudEvents             `ce-*` headers around a bare record, or around nothing
direct call             {"bucket": ..., "key": ...}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from rollcall.core.errors import BadEvent
from rollcall.core.event_records import Json, direct_call, stored_object, text_of
from rollcall.core.types import VideoRef

MAX_BODY_BYTES = 1 << 20
"""No source sends more: SNS and SQS stop at this size, RGW sends a few KB."""

MAX_RECORDS = 1000
MAX_NESTING = 4
"""SQS around SNS around S3 is three deep."""

Headers = Mapping[str, str]


def parse_events(body: bytes, headers: Headers | None = None) -> tuple[VideoRef, ...]:
    """The videos that the body tells of; empty for an event that starts no work.

    Raises BadEvent when the body, or any record in it, is not an event. The other records of that
    body are in the error's `videos`, so that one bad record does not cost its neighbours.
    """
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    document = _cloud_event(body, lowered) if "ce-type" in lowered else decode(body)
    return _settle(_read(document, MAX_NESTING))


class BadRecords(BadEvent):
    """Some records are no events; `videos` are those of the others."""

    def __init__(self, message: str, videos: tuple[VideoRef, ...]) -> None:
        super().__init__(message)
        self.videos = videos


def decode(body: bytes) -> Json:
    """The JSON document. Raises BadEvent when it is none, or beyond a limit."""
    if len(body) > MAX_BODY_BYTES:
        raise BadEvent(f"the event has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"the event is not JSON: {error}") from error


def opaque_tokens(document: Json) -> set[str]:
    """What the records carry as `opaqueData`: the token that was given with Ceph's topic."""
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list):
        return set()
    found = [record.get("opaqueData") for record in records if isinstance(record, dict)]
    return {token if isinstance(token, str) else "" for token in found}


def _settle(outcomes: Iterator[VideoRef | BadEvent | None]) -> tuple[VideoRef, ...]:
    videos, errors = [], []
    for outcome in outcomes:
        if isinstance(outcome, VideoRef):
            videos.append(outcome)
        elif outcome is not None:
            errors.append(outcome)
    if errors:
        raise BadRecords(str(errors[0]), tuple(videos)) from errors[0]
    return tuple(videos)


def _read(document: Json, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    """One outcome per record: a video, an error, or None when it starts no work."""
    if not isinstance(document, dict):
        yield BadEvent(f"an event is a JSON object, this is a {type(document).__name__}")
    elif nesting == 0:
        yield BadEvent(f"envelopes are nested more than {MAX_NESTING} deep")
    elif "Records" in document:
        yield from _records(document["Records"], nesting)
    elif document.get("Type") == "Notification":
        yield from _sns(document, nesting)
    elif (
        document.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation")
        or document.get("Event") == "s3:TestEvent"
    ):
        yield None
    elif "s3" in document:
        yield _attempt(stored_object, document)
    elif "bucket" in document and "key" in document:
        yield _attempt(direct_call, document)
    else:
        yield BadEvent(
            "the body is no known event: neither Records, nor an SNS Notification, nor a direct"
            ' call {"bucket": ..., "key": ...}'
        )


def _records(records: Json, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    if not isinstance(records, list) or not 0 < len(records) <= MAX_RECORDS:
        yield BadEvent(f"Records has to be a list of 1 to {MAX_RECORDS} records")
        return
    for record in records:
        if not isinstance(record, dict):
            yield BadEvent("a record has to be a JSON object")
        elif record.get("eventSource") == "aws:sqs":
            yield from _inner(record.get("body"), nesting)
        elif record.get("EventSource") == "aws:sns" and isinstance(record.get("Sns"), dict):
            yield from _sns(record["Sns"], nesting)
        else:
            yield _attempt(stored_object, record)


def _sns(envelope: Mapping[str, Json], nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    """A re-delivery repeats the MessageId: it tells events apart that bring no mark of theirs."""
    message_id = _message_id(envelope)
    for index, outcome in enumerate(_inner(envelope.get("Message"), nesting)):
        if not isinstance(outcome, VideoRef) or outcome.event_id or outcome.sequencer:
            yield outcome
        else:
            event_id = f"sns:{message_id}/{index}" if message_id else ""
            yield replace(outcome, event_id=event_id)


def _message_id(envelope: Mapping[str, Json]) -> str:
    """Empty when it is none: that is no reason to refuse what is inside."""
    try:
        return text_of(envelope, "MessageId")
    except BadEvent:
        return ""


def _inner(body: Json, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    if not isinstance(body, str):
        yield BadEvent("an envelope has to hold its event as a string")
        return
    try:
        document = decode(body.encode(errors="surrogatepass"))
    except (BadEvent, UnicodeError) as error:
        yield BadEvent(str(error))
        return
    yield from _read(document, nesting - 1)


def _attempt(
    parse: Callable[[Mapping[str, Json]], VideoRef | None], record: Mapping[str, Json]
) -> VideoRef | BadEvent | None:
    try:
        return parse(record)
    except BadEvent as error:
        return error


def _cloud_event(body: bytes, headers: Headers) -> Json:
    """The record inside, or one made of the headers where the body is empty.

    Ceph writes `ce-source` as source.region.bucket and the raw key as `ce-subject`.
    """
    if body.strip():
        document = decode(body)
        if isinstance(document, dict) and ("Records" in document or "eventSource" in document):
            return document
        if isinstance(document, dict) and "s3" in document:
            return {**document, "eventSource": "ceph:s3", "eventName": _cloud_event_name(headers)}
        raise BadEvent("a CloudEvent has to hold an S3 event record")
    bucket = headers.get("ce-source", "").partition(".")[2].partition(".")[2]
    return {
        "eventSource": "ceph:s3",
        "eventName": _cloud_event_name(headers),
        "eventId": headers.get("ce-id", ""),
        "eventTime": headers.get("ce-time", ""),
        "s3": {"bucket": {"name": bucket}, "object": {"key": _header_text(headers, "ce-subject")}},
    }


def _header_text(headers: Headers, name: str) -> str:
    """Ceph writes UTF-8 into its headers; WSGI hands their bytes over as Latin-1."""
    text = headers.get(name, "")
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _cloud_event_name(headers: Headers) -> str:
    """`com.amazonaws.ObjectCreated:Put` -> `ObjectCreated:Put`."""
    return headers["ce-type"].rpartition(".")[2]
