"""Bucket notifications set up through the store's own S3 and SNS API.

A topic belongs to one bucket and one address. Its entries in the bucket's notifications have ids
that begin with its name, so entries and topics of others are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from rollcall.core.errors import RollcallError
from rollcall.core.event_records import STARTS_WORK
from rollcall.stores.boto import boto_errors, is_missing, refusal_code

QUEUE_ENTRIES = "rollcall"
"""Begins the ids of the entries that notify a queue."""

USER = "rollcall"
"""Name in the address of a subscription; its password is the token."""

MASKED = "****"
"""What SNS shows in place of a password."""

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


class Target(NamedTuple):
    """Where a topic sends its events; both are empty when it sends them nowhere."""

    address: str
    token: str


class Entry(NamedTuple):
    """One entry of a bucket's notifications that sends events to a topic."""

    id: str
    topic_arn: str

    @property
    def topic(self) -> str:
        return self.topic_arn.rpartition(":")[2]


def topic_arns(topics: Any) -> dict[str, str]:
    """Every topic's ARN by its name. Ceph 16 lists a topic once more for each notification."""
    with boto_errors("listing the topics"):
        pages = topics.get_paginator("list_topics").paginate()
        arns = [str(topic["TopicArn"]) for page in pages for topic in page.get("Topics", ())]
    return {arn.rpartition(":")[2]: arn for arn in arns}


def ceph_target(topics: Any, arn: str) -> Target | None:
    """Where a topic of Ceph's gateway pushes; None when the topic is gone.

    Ceph 16 lists deleted topics for as long as a bucket notifies them.
    """
    found = _unless_missing(
        f"reading the topic {arn}", lambda: topics.get_topic_attributes(TopicArn=arn)["Attributes"]
    )
    if found is None:
        return None
    address = json.loads(found.get("EndPoint") or "{}").get("EndpointAddress", "")
    return Target(str(address), str(found.get("OpaqueData", "")))


def sns_target(topics: Any, arn: str) -> Target | None:
    """Where the topic's subscription of ours delivers; None when the topic is gone."""
    found = _unless_missing(f"reading the topic {arn}", lambda: _subscriptions(topics, arn))
    if found is None:
        return None
    return next((target_of(each["Endpoint"]) for each in found if _is_ours(each)), Target("", ""))


def ceph_topic(topics: Any, name: str, target: Target) -> str:
    """Creates or updates a persistent topic of Ceph's gateway; its ARN.

    The gateway keeps events until they are taken, and sends the token with each as `opaqueData`.
    """
    attributes = {
        "push-endpoint": target.address,
        "persistent": "true",
        "OpaqueData": target.token,
        **CEPH_DELIVERY,
    }
    with boto_errors(f"creating the topic {name}"):
        arn: str = topics.create_topic(Name=name, Attributes=attributes)["TopicArn"]
    return arn


def sns_topic(topics: Any, name: str, target: Target) -> str:
    """Creates a topic whose one subscription of ours is the target, with the token as basic auth;
    its ARN."""
    wanted = with_token(target)
    with boto_errors(f"creating the topic {name}"):
        arn: str = topics.create_topic(Name=name)["TopicArn"]
        present = [each for each in _subscriptions(topics, arn) if _is_ours(each)]
        if wanted not in [each["Endpoint"] for each in present]:
            topics.subscribe(
                TopicArn=arn, Protocol=urlsplit(target.address).scheme, Endpoint=wanted
            )
        for each in present:
            if each["Endpoint"] != wanted and MASKED not in each["Endpoint"]:
                _unsubscribe(topics, each)
    return arn


def remove_topic(topics: Any, arn: str) -> None:
    """Deletes the topic and the subscriptions of ours; it is fine if it does not exist.

    On Ceph the notification goes first: uploads to a bucket that notifies no topic would fail.
    """
    _unless_missing(f"removing the topic {arn}", lambda: topics.delete_topic(TopicArn=arn))


def remove_subscriptions(topics: Any, arn: str) -> None:
    """Ends what `sns_topic` subscribed, for an SNS that keeps subscriptions of deleted topics."""

    def remove() -> None:
        for each in _subscriptions(topics, arn):
            if _is_ours(each):
                _unsubscribe(topics, each)

    _unless_missing(f"removing the subscriptions of {arn}", remove)


def entries(s3: Any, bucket: str) -> list[Entry]:
    """The bucket's entries that notify topics; none in a bucket that does not exist."""
    try:
        with boto_errors(f"reading the notification of {bucket}"):
            present = s3.get_bucket_notification_configuration(Bucket=bucket)
    except RollcallError as error:
        if refusal_code(error) == "NoSuchBucket":
            return []
        raise
    found = present.get("TopicConfigurations", ())
    return [Entry(str(each.get("Id", "")), str(each.get("TopicArn", ""))) for each in found]


def notify(
    s3: Any, bucket: str, arn: str, suffixes: Iterable[str], replaced: Collection[str] = ()
) -> None:
    """Sends every new object whose key ends in one of the suffixes, in small or capital letters
    (cameras write both), to the topic.

    Replaces the topic's earlier entries and those whose ids are in `replaced`; all others stay.
    """
    name = arn.rpartition(":")[2]
    ours = _entries(name, arn, suffixes)
    earlier = [each.id for each in entries(s3, bucket) if each.id.startswith(f"{name}-")]
    earlier += replaced
    with boto_errors(f"setting the notification of {bucket}"):
        _replace(s3, bucket, earlier, ours)


def remove_notification(s3: Any, bucket: str, ids: Collection[str]) -> None:
    """Removes these entries from the bucket's notifications."""
    if ids:
        with boto_errors(f"removing the notification of {bucket}"):
            _replace(s3, bucket, ids, [])


def notify_queue(s3: Any, bucket: str, queue_arn: str, suffixes: Iterable[str]) -> None:
    """`notify` to a queue of SQS, without a topic between."""
    ours = [_to_queue(entry) for entry in _entries(QUEUE_ENTRIES, queue_arn, suffixes)]
    with boto_errors(f"setting the notification of {bucket}"):
        _replace(s3, bucket, [each["Id"] for each in ours], ours, "QueueConfigurations")


def ceph_notify(
    s3: Any, bucket: str, arn: str, suffixes: Iterable[str], delete: DeleteEntry
) -> None:
    """`notify` for Ceph's gateway, which adds what it is given to what it has."""
    name = arn.rpartition(":")[2]
    ours = _entries(name, arn, suffixes)
    with boto_errors(f"setting the notification of {bucket}"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": ours}
        )
    earlier = {each.id for each in entries(s3, bucket) if each.id.startswith(f"{name}-")}
    for stray in sorted(earlier - {each["Id"] for each in ours}):
        delete(stray)


def remove_ceph_notification(
    s3: Any, bucket: str, ids: Collection[str], delete: DeleteEntry
) -> None:
    """`remove_notification` for Ceph's gateway, which refuses an empty configuration, or removes
    those of others.

    Ceph 16 shares a record between entries of two buckets that have the same id and topic. Once one
    bucket has removed its entry, the other can only remove its own after setting it again.
    """
    for entry_id in sorted(ids):
        delete(entry_id)
    left = [each for each in entries(s3, bucket) if each.id in ids]
    if not left:
        return
    again = [
        {"Id": each.id, "TopicArn": each.topic_arn, "Events": ["s3:ObjectCreated:Put"]}
        for each in left
    ]
    with boto_errors(f"removing the notification of {bucket}"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": again}
        )
    for each in left:
        delete(each.id)


def with_token(target: Target) -> str:
    """`http://host/path` -> `http://rollcall:token@host/path`."""
    parts = urlsplit(target.address)
    user = f"{USER}:{quote(target.token, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def target_of(endpoint: str) -> Target:
    """The inverse of `with_token`; the token is empty where SNS masked it."""
    parts = urlsplit(endpoint)
    user, _, host = parts.netloc.rpartition("@")
    token = unquote(user.partition(":")[2])
    address = urlunsplit(parts._replace(netloc=host))
    return Target(address, "" if token == MASKED else token)


def _unless_missing(what: str, call: Callable[[], Any]) -> Any:
    """The result of the call; None when the store says that the topic does not exist."""
    try:
        with boto_errors(what):
            return call()
    except RollcallError as error:
        if is_missing(error):
            return None
        raise


def _subscriptions(topics: Any, arn: str) -> list[dict[str, str]]:
    pages = topics.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
    return [each for page in pages for each in page.get("Subscriptions", ())]


def _is_ours(subscription: Mapping[str, str]) -> bool:
    return urlsplit(subscription.get("Endpoint", "")).netloc.startswith(f"{USER}:")


def _unsubscribe(topics: Any, subscription: Mapping[str, str]) -> None:
    """One that was never confirmed has no ARN, and goes by itself."""
    arn = subscription["SubscriptionArn"]
    if arn.startswith("arn:"):
        topics.unsubscribe(SubscriptionArn=arn)


def _replace(
    s3: Any,
    bucket: str,
    old_ids: Collection[str],
    new: list[dict[str, Any]],
    kind: str = "TopicConfigurations",
) -> None:
    """Puts the new entries in the place of the old ones."""
    present = s3.get_bucket_notification_configuration(Bucket=bucket)
    present.pop("ResponseMetadata", None)
    others = [each for each in present.get(kind, ()) if each.get("Id") not in old_ids]
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={**present, kind: others + new}
    )


def _entries(name: str, arn: str, suffixes: Iterable[str]) -> list[dict[str, Any]]:
    both = [each for suffix in suffixes for each in (suffix, suffix.upper())]
    return [_entry(name, arn, suffix) for suffix in both]


def entry_id(name: str, suffix: str) -> str:
    """`rollcall-in-0123456789`, `.mp4` -> `rollcall-in-0123456789-mp4`."""
    return name + suffix.replace(".", "-")


def _entry(name: str, arn: str, suffix: str) -> dict[str, Any]:
    """One per suffix, because a filter takes one."""
    return {
        "Id": entry_id(name, suffix),
        "TopicArn": arn,
        "Events": [f"s3:{event}" for event in sorted(STARTS_WORK)],
        "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
    }


def _to_queue(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same entry, where S3 calls its target a queue."""
    target = entry["TopicArn"]
    return {name: value for name, value in entry.items() if name != "TopicArn"} | {
        "QueueArn": target
    }
