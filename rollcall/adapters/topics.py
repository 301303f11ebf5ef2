"""Bucket notifications set up through the store's own S3 and SNS API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from rollcall.adapters.boto import boto_errors, refusal_code
from rollcall.core.errors import RollcallError
from rollcall.core.event_records import STARTS_WORK

NOTIFICATION_ID = "rollcall"

CEPH_DELIVERY = {
    "time_to_live": "86400",
    "max_retries": "17280",
    "retry_sleep_duration": "5",
}
"""Seconds that the gateway keeps an event, how often it tries, and seconds between: a day, so that
a trigger that is gone for good does not fill the queue, which would make uploads fail. What is
dropped is found by listing. Ceph 16 does not know these attributes, and ignores them."""

DeleteEntry = Callable[[str], None]
"""Removes the entry with this id from a bucket's notifications."""


def ceph_topic(topics: Any, name: str, url: str, token: str) -> str:
    """Creates or updates a persistent topic of Ceph's gateway; its ARN.

    The gateway keeps events until they are taken, and sends the token with each as `opaqueData`.
    """
    attributes = {
        "push-endpoint": url,
        "persistent": "true",
        "OpaqueData": token,
        **CEPH_DELIVERY,
    }
    with boto_errors(f"creating the topic {name}"):
        arn: str = topics.create_topic(Name=name, Attributes=attributes)["TopicArn"]
    return arn


def sns_topic(topics: Any, name: str, url: str, token: str) -> str:
    """Creates a topic and subscribes `url` to it, with the token as basic auth; its ARN."""
    scheme = urlsplit(url).scheme
    with boto_errors(f"creating the topic {name}"):
        arn: str = topics.create_topic(Name=name)["TopicArn"]
        topics.subscribe(TopicArn=arn, Protocol=scheme, Endpoint=with_token(url, token))
    return arn


def ceph_topic_differs(topics: Any, name: str, url: str, token: str) -> bool:
    """Whether there is such a topic, for another address or with another token.

    Events that wait keep both as they were, so they would never arrive, and hold up newer ones.
    """
    with boto_errors(f"looking at the topic {name}"):
        for arn in _arns(topics, name):
            found = topics.get_topic_attributes(TopicArn=arn)["Attributes"]
            address = json.loads(found.get("EndPoint", "{}")).get("EndpointAddress", url)
            return (address, found.get("OpaqueData", token)) != (url, token)
    return False


def remove_topic(topics: Any, name: str) -> None:
    """One that does not exist is no error.

    On Ceph the notification goes first: uploads to a bucket that notifies no topic would fail.
    """
    with boto_errors(f"removing the topic {name}"):
        for arn in _arns(topics, name):
            topics.delete_topic(TopicArn=arn)


def notify(s3: Any, bucket: str, topic_arn: str, suffixes: Iterable[str]) -> None:
    """Sends every new object whose key ends in one of the suffixes, in small or capital letters
    (cameras write both), to the topic.

    Notifications of others stay; an earlier one of ours is replaced.
    """
    with boto_errors(f"setting the notification of {bucket}"):
        _put_ours(s3, bucket, _entries(topic_arn, suffixes))


def notify_queue(s3: Any, bucket: str, queue_arn: str, suffixes: Iterable[str]) -> None:
    """`notify` to a queue of SQS, without a topic between."""
    entries = [_to_queue(entry) for entry in _entries(queue_arn, suffixes)]
    with boto_errors(f"setting the notification of {bucket}"):
        _put_ours(s3, bucket, entries, "QueueConfigurations")


def silence(s3: Any, bucket: str) -> None:
    """Takes `notify` back; a bucket that does not exist has nothing to take back."""
    if _own_ids(s3, bucket):
        with boto_errors(f"removing the notification of {bucket}"):
            _put_ours(s3, bucket, [])


def ceph_notify(
    s3: Any, bucket: str, topic_arn: str, suffixes: Iterable[str], delete: DeleteEntry
) -> None:
    """`notify` for Ceph's gateway, which adds what it is given to what it has."""
    entries = _entries(topic_arn, suffixes)
    with boto_errors(f"setting the notification of {bucket}"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": entries}
        )
    strays = _own_ids(s3, bucket) - {entry["Id"] for entry in entries}
    for stray in sorted(strays):
        delete(stray)


def ceph_silence(s3: Any, bucket: str, delete: DeleteEntry) -> None:
    """`silence` for Ceph's gateway, where an empty configuration is refused or removes others'."""
    for entry_id in sorted(_own_ids(s3, bucket)):
        delete(entry_id)


def with_token(url: str, token: str) -> str:
    """`http://host/path` -> `http://rollcall:token@host/path`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"rollcall:{quote(token, safe='')}@{parts.netloc}"))


def _arns(topics: Any, name: str) -> list[str]:
    """At most one; Ceph 16 lists a topic once more for each notification."""
    pages = topics.get_paginator("list_topics").paginate()
    arns = {str(topic["TopicArn"]) for page in pages for topic in page.get("Topics", ())}
    return [arn for arn in arns if arn.rpartition(":")[2] == name]


def _put_ours(
    s3: Any, bucket: str, ours: list[dict[str, Any]], kind: str = "TopicConfigurations"
) -> None:
    """In the place of earlier ones of ours."""
    present = s3.get_bucket_notification_configuration(Bucket=bucket)
    present.pop("ResponseMetadata", None)
    others = [entry for entry in present.get(kind, ()) if not _ours(entry)]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={**present, kind: others + ours},
    )


def _own_ids(s3: Any, bucket: str) -> set[str]:
    """None in a bucket that does not exist."""
    try:
        with boto_errors(f"reading the notification of {bucket}"):
            present = s3.get_bucket_notification_configuration(Bucket=bucket)
    except RollcallError as error:
        if refusal_code(error) == "NoSuchBucket":
            return set()
        raise
    return {entry["Id"] for entry in present.get("TopicConfigurations", ()) if _ours(entry)}


def _ours(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("Id", "")).startswith(NOTIFICATION_ID)


def _entries(topic_arn: str, suffixes: Iterable[str]) -> list[dict[str, Any]]:
    return [_entry(topic_arn, each) for suffix in suffixes for each in (suffix, suffix.upper())]


def _entry(topic_arn: str, suffix: str) -> dict[str, Any]:
    """One per suffix, because a filter takes one; the suffix makes its id."""
    return {
        "Id": NOTIFICATION_ID + suffix.replace(".", "-"),
        "TopicArn": topic_arn,
        "Events": [f"s3:{event}" for event in sorted(STARTS_WORK)],
        "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
    }


def _to_queue(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same entry, where S3 calls its target a queue."""
    target = entry["TopicArn"]
    return {name: value for name, value in entry.items() if name != "TopicArn"} | {
        "QueueArn": target
    }
