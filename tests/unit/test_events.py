"""Contract 3.1: one parser finds the videos in events of every form."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.needs import events_folder

from rollcall.core import events
from rollcall.core.errors import BadEvent
from rollcall.core.events import BadRecords, opaque_tokens, parse_events
from rollcall.core.types import VideoRef

Json = Any
ETAG_10 = "336311a016184326ddbdd61edd4eeb52"
ETAG_20 = "674e3b94be9ed5db8bafe75808385de1"


def ceph_ref(
    key: str, etag: str, time: str, sequencer: str, event_id: str, **more: str
) -> VideoRef:
    return VideoRef(
        bucket="lecture-videos",
        key=key,
        etag=etag,
        sequencer=sequencer,
        event_id=f"{event_id}.{etag}",
        event_time=f"2026-11-21T{time}Z",
        **more,
    )


CAPTURED = {
    "ceph-put": ceph_ref(
        "test_0.mp4", ETAG_10, "05:04:59.196130", "7B26016B0FB7C60B", "1795237499.197572"
    ),
    "ceph-put-odd-key": ceph_ref(
        'week 1/a+b %41 é "q".mp4',
        ETAG_10,
        "05:05:16.723637",
        "8C26016BAB07362B",
        "1795237516.724961",
    ),
    "ceph-put-versioned": ceph_ref(
        "v.mp4",
        ETAG_20,
        "05:05:58.352075",
        "B626016B6AF82D15",
        "1795237558.355334",
        version_id="ncGlQU1heHLkJ3eGRX-YFbghnIKL6Be",
    ),
    "ceph-multipart": ceph_ref(
        "big.mp4",
        "d250e29a9f628272a4704a74dbde3731-1",
        "05:05:32.989066",
        "9C26016B220BF43A",
        "1795237532.989072",
        event_name="ObjectCreated:CompleteMultipartUpload",
    ),
    "ceph-copy": ceph_ref(
        "copy.mp4",
        ETAG_10,
        "05:05:50.527052",
        "AE26016B208D7A1F",
        "1795237550.528125",
        event_name="ObjectCreated:Copy",
    ),
    "ceph-overwrite": ceph_ref(
        "test_0.mp4", ETAG_20, "05:05:53.135321", "B126016B54192808", "1795237553.136845"
    ),
    "ceph-delete": None,
    "ceph-delete-marker": None,
}


def captured(name: str) -> bytes:
    return (events_folder() / f"{name}.json").read_bytes()


def encoded(document: Json) -> bytes:
    return json.dumps(document).encode()


def record(source: str = "ceph:s3", key: str = "a.mp4", **more: Json) -> dict[str, Json]:
    """The smallest valid record. `more` replaces its outer fields."""
    stored = {"key": key, "eTag": "e1", "size": 10}
    s3 = {"bucket": {"name": "videos"}, "object": stored}
    return {"eventSource": source, "eventName": "ObjectCreated:Put", "s3": s3} | more


def with_object(found: dict[str, Json], **more: Json) -> dict[str, Json]:
    """The same record with these fields added to its `object`."""
    return found | {"s3": found["s3"] | {"object": found["s3"]["object"] | more}}


def records(*found: Json) -> dict[str, Json]:
    return {"Records": list(found)}


def sqs(*bodies: Json) -> dict[str, Json]:
    return records(*({"eventSource": "aws:sqs", "body": json.dumps(body)} for body in bodies))


def sns(message: Json, message_id: str = "m-1") -> dict[str, Json]:
    return {"Type": "Notification", "MessageId": message_id, "Message": json.dumps(message)}


def bridge(key: str = "a.mp4", **detail: Json) -> dict[str, Json]:
    """An event as S3 sends it through EventBridge."""
    stored = {"key": key, "etag": "e1", "version-id": "v1", "sequencer": "617f08299329d189"}
    inside = {"bucket": {"name": "videos"}, "object": stored, "reason": "PutObject"} | detail
    event = {"version": "0", "id": "b-1", "source": "aws.s3", "time": "2026-11-21T05:04:59Z"}
    return event | {"detail-type": "Object Created", "detail": inside}


def cloud_event(event_type: str = "com.amazonaws.ObjectCreated:Put", **more: Json) -> Json:
    """A CloudEvent in structured mode, with the attributes that Ceph uses."""
    event = {"specversion": "1.0", "type": event_type, "id": "c-1", "time": "2026-11-21T05:04:59Z"}
    return event | {"source": "ceph:s3.default.videos", "subject": "a.mp4"} | more


def parse(document: Json, **headers: str) -> tuple[VideoRef, ...]:
    return parse_events(encoded(document), headers)


def only(document: Json) -> VideoRef:
    (video,) = parse(document)
    return video


# --- what a real gateway sent


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_ceph_event(name: str) -> None:
    expected = CAPTURED[name]
    assert parse_events(captured(name)) == (() if expected is None else (expected,))


def test_every_captured_event_is_expected_here() -> None:
    assert {path.stem for path in events_folder().glob("*.json")} == set(CAPTURED)


# --- every source, and every envelope around it

SOURCES = {
    "ceph": (record("ceph:s3", "a+b %41.mp4"), "a+b %41.mp4"),
    "aws": (record("aws:s3", "a+b%20%2541+%C3%A9.mp4"), "a b %41 é.mp4"),
    "minio": (record("minio:s3", "week+1%2Fa.mp4"), "week 1/a.mp4"),
}
WHOLE_SOURCES = {
    **{name: (records(inner), key) for name, (inner, key) in SOURCES.items()},
    "eventbridge": (bridge("a+b %41 é.mp4"), "a+b %41 é.mp4"),
    "cloudevent": (cloud_event(data=record(key="a+b %41.mp4")), "a+b %41.mp4"),
    "cloudevent around aws": (cloud_event(data=records(record("aws:s3", "a+b"))), "a b"),
    "cloudevent of attributes": (cloud_event(subject="a+b %41.mp4"), "a+b %41.mp4"),
}
ENVELOPES: dict[str, Callable[[Json], Json]] = {
    "plain": lambda inner: inner,
    "sqs": sqs,
    "sns": sns,
    "sqs around sns": lambda inner: sqs(sns(inner)),
    "sns to lambda": lambda inner: records({"EventSource": "aws:sns", "Sns": sns(inner)}),
}


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("source", WHOLE_SOURCES)
def test_key_is_decoded_as_its_source_encodes_it(
    source: str, envelope: Callable[[Json], Json]
) -> None:
    inner, key = WHOLE_SOURCES[source]
    video = only(envelope(inner))
    assert (video.bucket, video.key) == ("videos", key)
    assert video.etag == ("" if source == "cloudevent of attributes" else "e1")


def test_several_records_keep_their_order() -> None:
    body = records(record(key="b.mp4"), record("aws:s3", "a.mp4"))
    assert [video.key for video in parse(body)] == ["b.mp4", "a.mp4"]


def test_sqs_batch_holds_several_messages() -> None:
    batch = sqs(records(record(key="a.mp4")), sns(records(record(key="b.mp4"))))
    assert [video.key for video in parse(batch)] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("ce_type", ["com.amazonaws.ObjectCreated:Put", "s3:ObjectCreated:Put"])
def test_cloud_event_of_headers_only(ce_type: str) -> None:
    headers = {
        "Ce-Type": ce_type,
        "Ce-Source": "ceph:s3.default.my.videos",
        "Ce-Subject": "a+b %41.mp4",
        "Ce-Id": "id-1",
        "Ce-Time": "2026-11-21T05:04:59Z",
    }
    assert parse_events(b" ", headers) == (
        VideoRef("my.videos", "a+b %41.mp4", event_id="id-1", event_time="2026-11-21T05:04:59Z"),
    )


def test_cloud_event_subject_is_utf8_in_a_latin1_header() -> None:
    """WSGI decodes the bytes of headers as Latin-1."""
    subject = "é ü.mp4".encode().decode("latin-1")
    headers = {"ce-type": "s3:ObjectCreated:Put", "ce-source": "ceph:s3..v", "ce-subject": subject}
    assert parse_events(b"", headers)[0].key == "é ü.mp4"


@pytest.mark.parametrize(
    "body",
    [
        record(key="a+b.mp4"),
        {"s3": record(key="a+b.mp4")["s3"]},
        records(record(key="a+b.mp4")),
    ],
    ids=["bare record", "record without source", "Records"],
)
def test_cloud_event_around_a_record(body: Json) -> None:
    (video,) = parse(body, **{"ce-type": "com.amazonaws.ObjectCreated:Put"})
    assert (video.bucket, video.key) == ("videos", "a+b.mp4")


def test_cloud_event_of_a_removal_starts_no_work() -> None:
    headers = {"ce-type": "com.amazonaws.ObjectRemoved:Delete", "ce-source": "ceph:s3.r.videos"}
    assert parse_events(b"", headers) == ()


@pytest.mark.parametrize("body", [b'{"hello": 1}', b"[]", b"nothing"])
def test_cloud_event_with_other_data_is_bad(body: bytes) -> None:
    with pytest.raises(BadEvent):
        parse_events(body, {"ce-type": "com.amazonaws.ObjectCreated:Put"})


# --- CloudEvents in structured mode, and in batches

STRUCTURED = "application/cloudevents+json"


@pytest.mark.parametrize(
    "content_type",
    [
        STRUCTURED,
        "Application/CloudEvents+JSON",
        STRUCTURED + "; charset=UTF-8",
        STRUCTURED + " ;charset=utf-8",
        "application/json",
        "",
    ],
)
@pytest.mark.parametrize(
    "data",
    [
        record(key="a+b.mp4"),
        {"s3": record(key="a+b.mp4")["s3"]},
        records(record(key="a+b.mp4")),
        json.dumps(record(key="a+b.mp4")),
        bridge("a+b.mp4"),
    ],
    ids=["bare record", "record without source", "Records", "JSON as text", "EventBridge"],
)
def test_structured_cloud_event(data: Json, content_type: str) -> None:
    as_text = data.encode() if isinstance(data, str) else encoded(data)
    in_base64 = base64.b64encode(as_text).decode()
    for body in (cloud_event(data=data), cloud_event(data_base64=in_base64)):
        (video,) = parse(body, **{"Content-Type": content_type})
        assert (video.bucket, video.key) == ("videos", "a+b.mp4")


def test_structured_cloud_event_without_a_specversion_is_recognised_by_its_content_type() -> None:
    event = cloud_event(data=record())
    del event["specversion"]
    assert len(parse(event, **{"Content-Type": STRUCTURED})) == 1
    with pytest.raises(BadEvent):
        parse(event)


def test_the_content_type_decides_between_the_modes() -> None:
    """A gateway on the way may add `ce-*` headers."""
    headers = {"Content-Type": STRUCTURED, "ce-type": "x.ObjectRemoved:Delete"}
    assert parse(cloud_event(data=record()), **headers)[0].key == "a.mp4"


def test_structured_cloud_event_of_attributes_only() -> None:
    assert only(cloud_event()) == VideoRef(
        "videos", "a.mp4", event_id="c-1", event_time="2026-11-21T05:04:59Z"
    )


@pytest.mark.parametrize("data", [{"hello": 1}, 7, "text", None])
def test_cloud_event_of_another_type_starts_no_work(data: Json) -> None:
    assert parse(cloud_event("com.amazonaws.ObjectRemoved:Delete", data=data)) == ()
    assert parse(cloud_event("com.example.ping", data=data, source="x")) == ()


@pytest.mark.parametrize("more", [{"data": {"hello": 1}}, {"data": "text"}, {"data_base64": "é"}])
def test_structured_cloud_event_with_other_data_is_bad(more: Json) -> None:
    with pytest.raises(BadEvent):
        parse(cloud_event(**more))


def test_batch_of_cloud_events() -> None:
    batch = [cloud_event(subject="a.mp4"), cloud_event(data=record(key="b.mp4"), id="c-2")]
    for headers in ({"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}, {}):
        assert [video.key for video in parse(batch, **headers)] == ["a.mp4", "b.mp4"]
    assert parse([], **{"Content-Type": "application/cloudevents-batch+json"}) == ()


def test_one_bad_cloud_event_does_not_affect_the_rest_of_its_batch() -> None:
    batch = [cloud_event(), cloud_event(data={"hello": 1}), 7, cloud_event(subject="b.mp4")]
    with pytest.raises(BadRecords) as caught:
        parse(batch, **{"Content-Type": "application/cloudevents-batch+json"})
    assert [video.key for video in caught.value.videos] == ["a.mp4", "b.mp4"]


def test_batch_limit_is_exact() -> None:
    batch = [cloud_event("x.ObjectRemoved:Delete")] * events.MAX_RECORDS
    assert parse(batch) == ()
    with pytest.raises(BadEvent, match="more than"):
        parse([*batch, batch[0]])


# --- EventBridge


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("PutObject", "Put"),
        ("POST Object", "Post"),
        ("CopyObject", "Copy"),
        ("CompleteMultipartUpload", "CompleteMultipartUpload"),
        ("a new one", "Put"),
        ("", "Put"),
    ],
)
def test_eventbridge_event(reason: str, name: str) -> None:
    assert only(bridge("a+b %41.mp4", reason=reason)) == VideoRef(
        "videos",
        "a+b %41.mp4",
        version_id="v1",
        etag="e1",
        sequencer="617f08299329d189",
        event_name=f"ObjectCreated:{name}",
        event_time="2026-11-21T05:04:59Z",
    )


@pytest.mark.parametrize(
    "event",
    [
        bridge() | {"detail-type": "Object Deleted"},
        bridge() | {"detail-type": "Object Tags Added", "detail": 7},
        {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}},
        {"detail-type": ["Object Created"]},
    ],
)
def test_other_events_of_eventbridge_start_no_work(event: Json) -> None:
    assert parse(event) == parse(sqs(event)) == parse(sns(event)) == ()


@pytest.mark.parametrize(
    "event",
    [
        bridge(bucket={}),
        bridge(bucket="videos"),
        bridge(object={}),
        bridge(""),
        bridge() | {"detail": None},
        {"detail-type": "Object Created"},
    ],
)
def test_eventbridge_event_without_a_video_is_bad(event: Json) -> None:
    with pytest.raises(BadEvent):
        parse(event)


def test_the_key_of_a_direct_call_is_not_decoded() -> None:
    call = {"bucket": "videos", "key": "a+b %41.mp4", "etag": '"e1"', "version_id": "v1"}
    assert only(call) == VideoRef("videos", "a+b %41.mp4", "v1", "e1")


def test_direct_call_may_name_its_event() -> None:
    call = {"bucket": "videos", "key": "a.mp4", "event_name": "s3:ObjectCreated:Post"}
    assert only(call).event_name == "ObjectCreated:Post"


def test_direct_call_with_an_event_that_starts_no_work_is_bad() -> None:
    with pytest.raises(BadEvent, match="event_name"):
        parse({"bucket": "videos", "key": "a.mp4", "event_name": "ObjectRemoved:Delete"})


@pytest.mark.parametrize(
    "document",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "videos"},
        {"Type": "SubscriptionConfirmation", "TopicArn": "arn:x", "Token": "t", "Message": "…"},
        {"Type": "UnsubscribeConfirmation", "TopicArn": "arn:x", "Token": "t"},
        sns({"Event": "s3:TestEvent"}),
    ],
    ids=["test event", "subscription", "unsubscription", "test event in sns"],
)
def test_events_that_start_no_work(document: Json) -> None:
    assert parse(document) == ()


# --- names of events, and fields that sources write differently


@pytest.mark.parametrize("prefix", ["", "s3:"])
@pytest.mark.parametrize("kind", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_creation_starts_work_with_or_without_prefix(prefix: str, kind: str) -> None:
    video = only(records(record(eventName=f"{prefix}ObjectCreated:{kind}")))
    assert video.event_name == f"ObjectCreated:{kind}"


@pytest.mark.parametrize(
    "name",
    [
        "ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated",
        "ObjectTagging:Put",
        "ObjectCreated:",
        "objectcreated:put",
        "",
    ],
)
def test_events_with_other_names_are_ignored(name: str) -> None:
    assert parse(records(record(eventName=name))) == ()


@pytest.mark.parametrize("size", ["10", "nonsense", -1, None, [], 1e300])
def test_the_size_in_an_event_is_ignored(size: Json) -> None:
    assert only(records(with_object(record(), size=size))).key == "a.mp4"


@pytest.mark.parametrize("version", ["", None])
def test_version_id_may_be_empty(version: str | None) -> None:
    assert only(records(with_object(record(), versionId=version))).version_id == ""


def test_quotes_around_an_etag_are_removed() -> None:
    assert only(records(with_object(record(), eTag='"e1"'))).etag == "e1"


# --- identity: the same for each delivery of an event, different for each upload


def identity(document: Json) -> str:
    return only(document).identity()


AWS = with_object(record("aws:s3"), sequencer="0055AED6DCD90281E5")
NO_MARK = record("aws:s3", eventTime="2026-11-21T05:04:59Z")
CEPH = record(eventId="1.2.e1", eventTime="2026-11-21T05:04:59Z")

UPLOADED_TWICE = {
    "ceph, by event id": (records(CEPH), records(CEPH | {"eventId": "1.3.e1"})),
    "aws, by sequencer": (records(AWS), records(with_object(AWS, sequencer="0055AED6DCD90281E6"))),
    "minio, by sequencer": (
        records(AWS | {"eventSource": "minio:s3"}),
        records(with_object(AWS, sequencer="1") | {"eventSource": "minio:s3"}),
    ),
    "sqs, by what is inside": (sqs(records(AWS)), sqs(records(with_object(AWS, sequencer="1")))),
    "sns without a mark, by message": (sns(records(NO_MARK), "m-1"), sns(records(NO_MARK), "m-2")),
    "eventbridge, by sequencer": (
        bridge(),
        bridge(object=bridge()["detail"]["object"] | {"sequencer": "617f08299329d18a"}),
    ),
    "eventbridge, by id": (
        bridge(object={"key": "a.mp4"}),
        bridge(object={"key": "a.mp4"}) | {"id": "b-2"},
    ),
    "cloudevents, by id": (cloud_event(data=NO_MARK), cloud_event(data=NO_MARK, id="c-2")),
    "bare, by time": (
        records(NO_MARK),
        records(NO_MARK | {"eventTime": "2026-11-21T05:05:00Z"}),
    ),
}


@pytest.mark.parametrize(("first", "second"), UPLOADED_TWICE.values(), ids=UPLOADED_TWICE)
def test_identity_differs_between_uploads_but_not_between_deliveries(
    first: Json, second: Json
) -> None:
    assert identity(first) == identity(json.loads(json.dumps(first)))
    assert identity(first) != identity(second)


def test_identity_ignores_the_envelope_when_the_event_has_a_mark() -> None:
    """SNS uses a new MessageId for each subscription, but the event is the same."""
    assert identity(sns(records(AWS), "m-1")) == identity(sns(records(AWS), "m-2"))
    assert identity(sns(records(CEPH), "m-1")) == identity(records(CEPH))


def test_identity_is_the_same_by_eventbridge_and_directly() -> None:
    """Both have the same sequencer, and a bucket may send both."""
    direct = with_object(record("aws:s3"), sequencer="617f08299329d189")
    assert identity(bridge()) == identity(records(direct))


def test_two_records_of_one_message_are_two_uploads() -> None:
    first, second = parse(sns(records(NO_MARK, NO_MARK)))
    assert first.identity() != second.identity()


def test_identity_keeps_the_fields_separate() -> None:
    assert VideoRef("a", "b/c").identity() != VideoRef("a/b", "c").identity()
    assert VideoRef("b", 'k", "e').identity() != VideoRef("b", "k", etag="e").identity()


# --- a bad record does not affect the others

BAD_RECORDS: dict[str, Json] = {
    "not an object": 7,
    "no source": {"eventName": "ObjectCreated:Put"},
    "unknown source": record("gcp:storage"),
    "source is no text": record() | {"eventSource": ["ceph:s3"]},
    "no s3": {"eventSource": "ceph:s3", "eventName": "ObjectCreated:Put"},
    "s3 is no object": record(s3=[]),
    "no bucket": record(s3={"object": {"key": "a.mp4"}}),
    "bucket without name": record(s3={"bucket": {}, "object": {"key": "a.mp4"}}),
    "no key": record(s3={"bucket": {"name": "videos"}, "object": {}}),
    "empty key": record(key=""),
    "key is no text": with_object(record(), key=7),
    "key of 1025 bytes": record(key="é" * 510 + "a.mp4"),
    "key with a NUL": record(key="a\x00.mp4"),
    "key with a lone surrogate": record(key="\ud800.mp4"),
    "form-encoded key with a NUL": record("aws:s3", "a%00.mp4"),
    "form-encoded key that is no UTF-8": record("aws:s3", "a%FF.mp4"),
    "sqs body is no text": {"eventSource": "aws:sqs", "body": {}},
    "sqs body is no JSON": {"eventSource": "aws:sqs", "body": "{"},
    "sqs body is no event": {"eventSource": "aws:sqs", "body": '{"hello": 1}'},
    "sqs body has a lone surrogate": {"eventSource": "aws:sqs", "body": '"\ud800"'},
}


@pytest.mark.parametrize("bad", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_does_not_affect_the_other_records(bad: Json) -> None:
    with pytest.raises(BadRecords) as caught:
        parse(records(record(key="a.mp4"), bad, record(key="b.mp4")))
    assert [video.key for video in caught.value.videos] == ["a.mp4", "b.mp4"]
    str(caught.value).encode()


def test_a_bad_record_inside_envelopes_does_not_affect_the_other_records() -> None:
    with pytest.raises(BadRecords) as caught:
        parse(sqs(sns(records(record(key="a.mp4"), 7)), records(record(key="b.mp4"))))
    assert [video.key for video in caught.value.videos] == ["a.mp4", "b.mp4"]


DEEP = json.loads("[" * 900 + "]" * 900)
ODD_VALUES = [None, True, 7, -1.5, 1e300, float("nan"), 10**3000, "", "\udcff", "x" * 1025, [], {}]
ODD_VALUES += [["x"], {"x": [1]}, DEEP]

OPTIONAL = {
    "sequencer": lambda value: with_object(record(), sequencer=value),
    "eTag": lambda value: with_object(record(), eTag=value),
    "versionId": lambda value: with_object(record(), versionId=value),
    "size": lambda value: with_object(record(), size=value),
    "eventId": lambda value: record(eventId=value),
    "eventTime": lambda value: record(eventTime=value),
    "awsRegion": lambda value: record(awsRegion=value),
    "opaqueData": lambda value: record(opaqueData=value),
    "responseElements": lambda value: record(responseElements=value),
    "userIdentity": lambda value: record(userIdentity=value),
}


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("field", OPTIONAL)
def test_an_optional_field_may_have_any_value(field: str, value: Json) -> None:
    document = records(OPTIONAL[field](value))
    first, again = only(document), only(document)
    assert (first.bucket, first.key) == ("videos", "a.mp4")
    assert first.identity().encode() == again.identity().encode()


@pytest.mark.parametrize("field", ["sequencer", "eTag", "eventId", "eventTime"])
def test_uploads_with_odd_values_have_different_identities(field: str) -> None:
    pairs = [(1, 2), (1.5, 2.5), ([1], [2]), ({"a": 1}, {"a": 2}), ("x" * 1025, "x" * 1026)]
    for one, other in [*pairs, ("\udc00", "\udc01"), (10**3000, 10**3000 + 1)]:
        first, second = (only(records(OPTIONAL[field](each))) for each in (one, other))
        assert first.identity() != second.identity(), (field, one)


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:12])
def test_optional_fields_of_the_other_forms_may_have_any_value(value: Json) -> None:
    message = sns(records(NO_MARK)) | {"MessageId": value, "Timestamp": value}
    stored = {"key": "a.mp4", "etag": value, "version-id": value, "sequencer": value}
    detail = {"bucket": {"name": "videos"}, "object": stored, "reason": value}
    bridged = bridge() | {"id": value, "time": value, "region": value, "detail": detail}
    event = cloud_event(data=record()) | {"id": value, "time": value, "source": value}
    call = {"bucket": "videos", "key": "a.mp4", "etag": value, "version_id": value}
    for document in (message, bridged, event, event | {"subject": value}, call):
        assert only(document).key == "a.mp4"
        only(document).identity().encode()


# --- limits


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"7", b'"text"', b"[]", b"{}", b"\xff\xfe", b'{"Records": 7}', b"\x00"],
)
def test_other_bodies_are_bad_events(body: bytes) -> None:
    with pytest.raises(BadEvent):
        parse_events(body)


def test_body_limit_is_exact() -> None:
    body = encoded(records(record()))
    assert len(parse_events(body.ljust(events.MAX_BODY_BYTES))) == 1
    with pytest.raises(BadEvent, match="more than"):
        parse_events(body.ljust(events.MAX_BODY_BYTES + 1))


def test_record_limit_is_exact() -> None:
    small = record(eventName="ObjectRemoved:Delete")
    assert parse(records(*[small] * events.MAX_RECORDS)) == ()
    for count in (0, events.MAX_RECORDS + 1):
        with pytest.raises(BadEvent, match="Records"):
            parse(records(*[small] * count))


def test_the_nesting_of_envelopes_is_limited() -> None:
    document: Json = records(record())
    for _ in range(events.MAX_NESTING - 1):
        document = sns(document)
    assert len(parse(document)) == 1
    with pytest.raises(BadEvent, match="nested"):
        parse(sns(document))


def test_the_longest_key_is_not_cut() -> None:
    key = "é" * 510 + ".mp4"
    assert only(records(record(key=key))).key == key
    encoded_key = "%C3%A9" * 510 + ".mp4"
    assert only(records(record("aws:s3", encoded_key))).key == key


@pytest.mark.parametrize("depth", [10, 500, 900, 960, 980, 990, 1000, 100_000])
@pytest.mark.parametrize(
    "body",
    [
        '{"Records": [{"eventSource": %s}]}',
        '{"Records": [{"opaqueData": %s}]}',
        '{"Type": "Notification", "Message": "7", "MessageId": %s}',
        "%s",
    ],
)
def test_deep_json_is_a_bad_event(body: str, depth: int) -> None:
    text = (body % ("[" * depth + "]" * depth)).encode()
    with pytest.raises(BadEvent):
        parse_events(text)


# --- the token that was configured with a topic


def test_opaque_tokens_of_all_records() -> None:
    document = records({"opaqueData": "t1"}, {"opaqueData": "t2"}, {}, 7)
    assert opaque_tokens(document) == {"t1", "t2", ""}


def test_opaque_token_in_a_bare_record_and_in_cloud_events() -> None:
    bare = record(opaqueData="t")
    assert opaque_tokens(bare) == {"t"}
    assert opaque_tokens(cloud_event(data=bare)) == {"t"}
    assert opaque_tokens(cloud_event(data=records(bare, record()))) == {"t", ""}
    assert opaque_tokens([cloud_event(data=bare), cloud_event()]) == {"t", ""}
    assert opaque_tokens([cloud_event(data=bare), 7]) == {"t", ""}


def test_an_opaque_token_that_is_not_text_counts_as_empty() -> None:
    """A list whose text looks like the token is not the token."""
    assert opaque_tokens(records({"opaqueData": ["t"]}, {"opaqueData": 7})) == {""}


@pytest.mark.parametrize("document", [None, 7, [], {}, {"Records": 7}, {"Records": {}}])
def test_no_opaque_tokens(document: Json) -> None:
    assert opaque_tokens(document) == set()


# --- BadEvent is the only error, whatever the body contains

WORDS = st.sampled_from(
    [
        "Records",
        "eventSource",
        "eventName",
        "s3",
        "bucket",
        "object",
        "key",
        "name",
        "eTag",
        "body",
        "Message",
        "MessageId",
        "Type",
        "Event",
        "Notification",
        "ceph:s3",
        "aws:s3",
        "aws:sqs",
        "minio:s3",
        "ObjectCreated:Put",
        "s3:TestEvent",
        "versionId",
        "detail-type",
        "detail",
        "Object Created",
        "specversion",
        "type",
        "data",
        "data_base64",
        "source",
        "subject",
    ]
)
TEXTS = WORDS | st.text(st.characters(), max_size=5)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
HEADERS = st.dictionaries(
    st.sampled_from(["ce-type", "Ce-Source", "ce-subject", "ce-id", "ce-time", "Content-Type"]),
    TEXTS | st.just("application/cloudevents+json") | st.just("application/cloudevents-batch+json"),
    max_size=5,
)


def only_bad_event(body: bytes, headers: dict[str, str] | None = None) -> None:
    try:
        videos = parse_events(body, headers)
    except BadEvent as error:
        videos = getattr(error, "videos", ())
    for video in videos:
        assert video.bucket
        assert video.key
        video.identity().encode()


@given(st.binary(), HEADERS)
def test_arbitrary_bytes(body: bytes, headers: dict[str, str]) -> None:
    only_bad_event(body, headers)


@given(DOCUMENTS, HEADERS)
def test_arbitrary_json(document: Json, headers: dict[str, str]) -> None:
    only_bad_event(encoded(document), headers)


@given(st.dictionaries(TEXTS, DOCUMENTS, max_size=3), st.sampled_from(sorted(SOURCES)), DOCUMENTS)
def test_arbitrary_fields_in_a_record(fields: Json, source: str, stored: Json) -> None:
    good = SOURCES[source][0]
    only_bad_event(encoded(records(good | fields)))
    only_bad_event(encoded(records(good | {"s3": good["s3"] | {"object": stored}})))
    only_bad_event(encoded(sqs(sns(records(good | fields)))))
