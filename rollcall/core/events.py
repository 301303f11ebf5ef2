"""One parser for every shape in which a store reports a new object.

Ceph, AWS S3, MinIO     {"Records": [{"eventSource": ..., "s3": {...}}]}
SQS                     {"Records": [{"eventSource": "aws:sqs", "body": "<one of these>"}]}
SNS                     {"Type": "Notification", "Message": "<one of these>"}
SNS to Lambda           {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": ...}}]}
EventBridge             {"detail-type": "Object Created", "detail": {"bucket", "object"}}
CloudEvents, binary     `ce-*` headers around a bare record, or around nothing
CloudEvents, structured {"specversion": ..., "type": ..., "data" or "data_base64": <one of these>}
CloudEvents, batch      [<structured CloudEvents>]
direct call             {"bucket": ..., "key": ...}

SQS and SNS carry no headers, so EventBridge and structured CloudEvents are recognised by their
content too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from rollcall.core.cloud_events import (
    BATCH,
    STRUCTURED,
    CloudEvent,
    binary_event,
    media_type,
    structured_event,
)
from rollcall.core.errors import BadEvent
from rollcall.core.event_records import (
    STARTS_WORK,
    Json,
    bridged_object,
    direct_call,
    plain_text,
    stored_object,
)
from rollcall.core.types import VideoRef

MAX_BODY_BYTES = 1 << 20
"""No source sends more: SNS and SQS stop at this size, RGW sends a few KB."""

MAX_RECORDS = 1000
MAX_NESTING = 4
"""SQS around SNS around a CloudEvent around S3 is four deep."""

MAX_NUMBER_CHARS = 1024
"""Python refuses to parse much longer integers, and no field that matters is a number."""

Headers = Mapping[str, str]


def parse_events(body: bytes, headers: Headers | None = None) -> tuple[VideoRef, ...]:
    """The videos of an event; empty for an event that starts no work.

    Raises BadEvent if the body, or any record in it, is not an event. The videos of the good
    records are then in the error's `videos`, so that one bad record does not cost its neighbours.
    """
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return _settle(_read_body(body, lowered))


class BadRecords(BadEvent):
    """Some records are not events; `videos` are those of the others."""

    def __init__(self, message: str, videos: tuple[VideoRef, ...]) -> None:
        super().__init__(message)
        self.videos = videos


def decode(body: bytes) -> Json:
    """The JSON document. Raises BadEvent for anything else, and beyond a limit."""
    if len(body) > MAX_BODY_BYTES:
        raise BadEvent(f"the event has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    try:
        return json.loads(body, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"the event is not JSON: {error}") from error


def _whole_number(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_NUMBER_CHARS else digits


def opaque_tokens(document: Json) -> set[str]:
    """The values of `opaqueData`, where Ceph sends the token that was given with its topic.

    A record without a token, or with something else in that place, counts as an empty token.
    """
    found = [each.get("opaqueData") for each in _with_tokens(document) if isinstance(each, dict)]
    return {token if isinstance(token, str) else "" for token in found}


def _with_tokens(document: Json) -> list[Json]:
    """The records that can carry a token: in `Records`, in CloudEvents, or a bare one."""
    if isinstance(document, list):
        return [record for each in document for record in _in_cloud_event(each)]
    if _is_cloud_event(document):
        return _in_cloud_event(document)
    return _in_plain_event(document)


def _in_cloud_event(event: Json) -> list[Json]:
    data = event.get("data") if isinstance(event, dict) else None
    return _in_plain_event(data) or [{}]


def _in_plain_event(document: Json) -> list[Json]:
    if not isinstance(document, dict):
        return []
    if isinstance(document.get("Records"), list):
        records: list[Json] = document["Records"]
        return records
    return [document] if "s3" in document else []


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


def _read_body(body: bytes, headers: Headers) -> Iterator[VideoRef | BadEvent | None]:
    """The content type has the last word on the mode of a CloudEvent, as the standard says."""
    content_type = media_type(headers)
    if content_type not in (STRUCTURED, BATCH) and "ce-type" in headers:
        yield from _cloud_event(binary_event(body, headers), MAX_NESTING)
        return
    document = decode(body)
    if content_type == BATCH and isinstance(document, list):
        yield from _batch(document, MAX_NESTING)
    elif content_type == STRUCTURED and isinstance(document, dict) and "type" in document:
        yield from _structured(document, MAX_NESTING)
    else:
        yield from _read(document, MAX_NESTING)


def _read(document: Json, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    """One outcome per record: a video, an error, or None when it starts no work."""
    if nesting == 0:
        yield BadEvent(f"envelopes are nested more than {MAX_NESTING} deep")
    elif isinstance(document, list) and document and all(map(_is_cloud_event, document)):
        yield from _batch(document, nesting)
    elif not isinstance(document, dict):
        yield BadEvent(f"an event is a JSON object, this is a {type(document).__name__}")
    elif _is_cloud_event(document):
        yield from _structured(document, nesting)
    elif "Records" in document:
        yield from _records(document["Records"], nesting)
    elif document.get("Type") == "Notification":
        yield from _sns(document, nesting)
    elif (
        document.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation")
        or document.get("Event") == "s3:TestEvent"
    ):
        yield None
    elif "detail-type" in document:
        yield _attempt(bridged_object, document)
    elif "s3" in document:
        yield _attempt(stored_object, document)
    elif "bucket" in document and "key" in document:
        yield _attempt(direct_call, document)
    else:
        yield BadEvent(
            "the body is not a known event: neither Records, nor an SNS Notification, an event of"
            ' EventBridge, a CloudEvent, or a direct call {"bucket": ..., "key": ...}'
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
    """SNS repeats the MessageId when it delivers a message again."""
    message_id = plain_text(envelope, "MessageId")
    mark = f"sns:{message_id}" if message_id else ""
    yield from _marked(_inner(envelope.get("Message"), nesting), mark)


def _marked(
    outcomes: Iterable[VideoRef | BadEvent | None], mark: str
) -> Iterator[VideoRef | BadEvent | None]:
    """The envelope's mark tells events apart that have no mark of their own."""
    for index, outcome in enumerate(outcomes):
        if mark and isinstance(outcome, VideoRef) and not (outcome.event_id or outcome.sequencer):
            yield replace(outcome, event_id=f"{mark}/{index}")
        else:
            yield outcome


def _inner(body: Json, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    if not isinstance(body, str):
        yield BadEvent("an envelope has to hold its event as a string")
        return
    try:
        document = decode(body.encode(errors="surrogatepass"))
    except BadEvent as error:
        yield error
        return
    yield from _read(document, nesting - 1)


def _attempt(
    parse: Callable[[Mapping[str, Json]], VideoRef | None], record: Mapping[str, Json]
) -> VideoRef | BadEvent | None:
    try:
        return parse(record)
    except BadEvent as error:
        return error


def _is_cloud_event(document: Json) -> bool:
    return isinstance(document, dict) and "specversion" in document


def _batch(events: list[Json], nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    """An empty batch is allowed, and starts no work."""
    if len(events) > MAX_RECORDS:
        yield BadEvent(f"the batch has {len(events)} CloudEvents, more than {MAX_RECORDS}")
        return
    for event in events:
        if isinstance(event, dict):
            yield from _structured(event, nesting)
        else:
            yield BadEvent("a CloudEvent has to be a JSON object")


def _structured(document: Mapping[str, Json], nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    try:
        event = structured_event(document)
    except BadEvent as error:
        yield error
    else:
        yield from _cloud_event(event, nesting)


def _cloud_event(event: CloudEvent, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    """The outcomes of the event's data, or of its attributes if it has no data.

    An event of another type starts no work, unless its data is an S3 event.
    """
    try:
        found = list(_cloud_event_data(event, nesting))
    except BadEvent as error:
        found = [error]
    if event.event_name() not in STARTS_WORK:
        found = [None if isinstance(each, BadEvent) else each for each in found]
    yield from _marked(found, event.mark())


def _cloud_event_data(event: CloudEvent, nesting: int) -> Iterator[VideoRef | BadEvent | None]:
    data = event.data
    if isinstance(data, str):
        data = decode(data.encode(errors="surrogatepass")) if data.strip() else None
    if data is None:
        yield _attempt(stored_object, event.record())
    elif isinstance(data, dict) and "s3" in data:
        yield _attempt(stored_object, event.with_defaults(data))
    else:
        yield from _read(data, nesting - 1)
