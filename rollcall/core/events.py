"""Parses the events in which a store reports a new object, in all of these forms:

Ceph, AWS S3, MinIO     {"Records": [{"eventSource": ..., "s3": {...}}]}
SQS                     {"Records": [{"eventSource": "aws:sqs", "body": "<one of these>"}]}
SNS                     {"Type": "Notification", "Message": "<one of these>"}
SNS to Lambda           {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": ...}}]}
EventBridge             {"detail-type": "Object Created", "detail": {"bucket", "object"}}
CloudEvents, binary     `ce-*` headers around a bare record, or around nothing
CloudEvents, structured {"specversion": ..., "type": ..., "data" or "data_base64": <one of these>}
CloudEvents, batch      [<structured CloudEvents>]
direct call             {"bucket": ..., "key": ...}

Events that come through SQS or SNS have no HTTP headers, so EventBridge events and structured
CloudEvents are recognised by their content.
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
    STARTING_EVENTS,
    Json,
    parse_direct_call,
    parse_eventbridge,
    parse_s3_record,
    plain_text,
)
from rollcall.core.types import VideoRef

MAX_BODY_BYTES = 1 << 20
"""The same limit as that of SNS and SQS for a message. Ceph's gateway sends a few KB."""

MAX_RECORDS = 1000
"""Largest number of records in one list, so that one body cannot keep the parser busy for long."""

MAX_NESTING = 4
"""Largest number of nested envelopes: enough for an S3 event in a CloudEvent in SNS in SQS."""

MAX_NUMBER_CHARS = 1024
"""Longer integers stay texts, because Python refuses to parse integers of more than 4300 digits.
The parser uses no field that is a number."""

Headers = Mapping[str, str]

Outcome = VideoRef | BadEvent | None
"""The result for one record: a video, an error, or None for an event that starts no work."""


def parse_events(body: bytes, headers: Headers | None = None) -> tuple[VideoRef, ...]:
    """The videos of an event; empty for an event that starts no work.

    Raises BadEvent if the body is not an event. If only some of the records are invalid, the error
    is BadRecords, whose `videos` should be recognised all the same.
    """
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return _collect(_parse_body(body, lowered))


class BadRecords(BadEvent):
    """At least one record of an event is invalid. `videos` are those of the valid records."""

    def __init__(self, message: str, videos: tuple[VideoRef, ...]) -> None:
        super().__init__(message)
        self.videos = videos


def decode(body: bytes) -> Json:
    """The JSON document in the body. Raises BadEvent if the body is too long or is not JSON."""
    if len(body) > MAX_BODY_BYTES:
        raise BadEvent(f"the event has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    try:
        return json.loads(body, parse_int=_parse_int)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"the event is not JSON: {error}") from error


def _parse_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_NUMBER_CHARS else digits


def opaque_tokens(document: Json) -> set[str]:
    """The distinct values of `opaqueData` in all records of an event.

    In this field, Ceph sends the token that was configured with the topic. For a record without a
    text in this field, the token is empty.
    """
    records = [each for each in _records_with_tokens(document) if isinstance(each, dict)]
    tokens = [record.get("opaqueData") for record in records]
    return {token if isinstance(token, str) else "" for token in tokens}


def _records_with_tokens(document: Json) -> list[Json]:
    """The records that may have a token: in `Records`, in CloudEvents, or a bare record."""
    if isinstance(document, list):
        return [record for event in document for record in _records_of_cloud_event(event)]
    if _is_cloud_event(document):
        return _records_of_cloud_event(document)
    return _records_of_plain_event(document)


def _records_of_cloud_event(event: Json) -> list[Json]:
    data = event.get("data") if isinstance(event, dict) else None
    # A CloudEvent without a record counts as a record without a token.
    return _records_of_plain_event(data) or [{}]


def _records_of_plain_event(document: Json) -> list[Json]:
    if not isinstance(document, dict):
        return []
    if isinstance(document.get("Records"), list):
        records: list[Json] = document["Records"]
        return records
    return [document] if "s3" in document else []


def _collect(outcomes: Iterator[Outcome]) -> tuple[VideoRef, ...]:
    videos, errors = [], []
    for outcome in outcomes:
        if isinstance(outcome, VideoRef):
            videos.append(outcome)
        elif outcome is not None:
            errors.append(outcome)
    if errors:
        raise BadRecords(str(errors[0]), tuple(videos)) from errors[0]
    return tuple(videos)


def _parse_body(body: bytes, headers: Headers) -> Iterator[Outcome]:
    # The content type decides the mode of a CloudEvent (section 3 of the HTTP binding), because a
    # structured event may have `ce-*` headers as well.
    content_type = media_type(headers)
    if content_type not in (STRUCTURED, BATCH) and "ce-type" in headers:
        yield from _parse_cloud_event(binary_event(body, headers), MAX_NESTING)
        return
    document = decode(body)
    if content_type == BATCH and isinstance(document, list):
        yield from _parse_batch(document, MAX_NESTING)
    elif content_type == STRUCTURED and isinstance(document, dict) and "type" in document:
        yield from _parse_structured(document, MAX_NESTING)
    else:
        yield from _parse_document(document, MAX_NESTING)


def _parse_document(document: Json, nesting: int) -> Iterator[Outcome]:
    """The outcome of each record. `nesting` is the number of nested envelopes still allowed."""
    if nesting == 0:
        yield BadEvent(f"envelopes are nested more than {MAX_NESTING} deep")
    elif isinstance(document, list) and document and all(map(_is_cloud_event, document)):
        yield from _parse_batch(document, nesting)
    elif not isinstance(document, dict):
        yield BadEvent(f"an event has to be a JSON object, not a {type(document).__name__}")
    elif _is_cloud_event(document):
        yield from _parse_structured(document, nesting)
    elif "Records" in document:
        yield from _parse_records(document["Records"], nesting)
    elif document.get("Type") == "Notification":
        yield from _parse_sns(document, nesting)
    elif (
        document.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation")
        or document.get("Event") == "s3:TestEvent"
    ):
        yield None
    elif "detail-type" in document:
        yield _parse_record(parse_eventbridge, document)
    elif "s3" in document:
        yield _parse_record(parse_s3_record, document)
    elif "bucket" in document and "key" in document:
        yield _parse_record(parse_direct_call, document)
    else:
        yield BadEvent(
            "the body is not a known event: it has no Records, and is neither an SNS Notification,"
            " an EventBridge event, a CloudEvent, nor a direct call"
            ' {"bucket": ..., "key": ...}'
        )


def _parse_records(records: Json, nesting: int) -> Iterator[Outcome]:
    if not isinstance(records, list) or not 0 < len(records) <= MAX_RECORDS:
        yield BadEvent(f"Records has to be a list of 1 to {MAX_RECORDS} records")
        return
    for record in records:
        if not isinstance(record, dict):
            yield BadEvent("a record has to be a JSON object")
        elif record.get("eventSource") == "aws:sqs":
            yield from _parse_inner(record.get("body"), nesting)
        elif record.get("EventSource") == "aws:sns" and isinstance(record.get("Sns"), dict):
            yield from _parse_sns(record["Sns"], nesting)
        else:
            yield _parse_record(parse_s3_record, record)


def _parse_sns(envelope: Mapping[str, Json], nesting: int) -> Iterator[Outcome]:
    # SNS repeats the MessageId when it delivers a message again.
    message_id = plain_text(envelope, "MessageId")
    mark = f"sns:{message_id}" if message_id else ""
    yield from _add_mark(_parse_inner(envelope.get("Message"), nesting), mark)


def _add_mark(outcomes: Iterable[Outcome], mark: str) -> Iterator[Outcome]:
    """Use the envelope's mark in the id of each event that has neither an id nor a sequencer."""
    for index, outcome in enumerate(outcomes):
        if mark and isinstance(outcome, VideoRef) and not (outcome.event_id or outcome.sequencer):
            yield replace(outcome, event_id=f"{mark}/{index}")
        else:
            yield outcome


def _parse_inner(body: Json, nesting: int) -> Iterator[Outcome]:
    if not isinstance(body, str):
        yield BadEvent("an envelope has to hold its event as a string")
        return
    try:
        document = decode(body.encode(errors="surrogatepass"))
    except BadEvent as error:
        yield error
        return
    yield from _parse_document(document, nesting - 1)


def _parse_record(
    parse: Callable[[Mapping[str, Json]], VideoRef | None], record: Mapping[str, Json]
) -> Outcome:
    try:
        return parse(record)
    except BadEvent as error:
        return error


def _is_cloud_event(document: Json) -> bool:
    return isinstance(document, dict) and "specversion" in document


def _parse_batch(events: list[Json], nesting: int) -> Iterator[Outcome]:
    # The standard allows an empty batch, which starts no work.
    if len(events) > MAX_RECORDS:
        yield BadEvent(f"the batch has {len(events)} CloudEvents, more than {MAX_RECORDS}")
        return
    for event in events:
        if isinstance(event, dict):
            yield from _parse_structured(event, nesting)
        else:
            yield BadEvent("a CloudEvent has to be a JSON object")


def _parse_structured(document: Mapping[str, Json], nesting: int) -> Iterator[Outcome]:
    try:
        event = structured_event(document)
    except BadEvent as error:
        yield error
    else:
        yield from _parse_cloud_event(event, nesting)


def _parse_cloud_event(event: CloudEvent, nesting: int) -> Iterator[Outcome]:
    """The outcomes of the event's data, or of its attributes if it has no data."""
    try:
        outcomes = list(_parse_cloud_event_data(event, nesting))
    except BadEvent as error:
        outcomes = [error]
    if event.event_name() not in STARTING_EVENTS:
        # The data of events of other types is ignored, so it cannot be invalid.
        outcomes = [None if isinstance(each, BadEvent) else each for each in outcomes]
    yield from _add_mark(outcomes, event.mark())


def _parse_cloud_event_data(event: CloudEvent, nesting: int) -> Iterator[Outcome]:
    data = event.data
    if isinstance(data, str):
        data = decode(data.encode(errors="surrogatepass")) if data.strip() else None
    if data is None:
        yield _parse_record(parse_s3_record, event.record())
    elif isinstance(data, dict) and "s3" in data:
        yield _parse_record(parse_s3_record, event.with_defaults(data))
    else:
        yield from _parse_document(data, nesting - 1)
