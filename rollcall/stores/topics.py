"""Topics and bucket notifications, set up through the store's S3 and SNS APIs.

A bucket's notification configuration is a list of entries, each of which sends some events to a
topic or a queue. Each of our topics belongs to one bucket and one address, and the ids of its
entries begin with its name. So topics and entries of other programs are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from rollcall.core.errors import RollcallError
from rollcall.core.event_records import STARTING_EVENTS
from rollcall.stores.boto import boto_errors, is_missing, refusal_code

QUEUE_ENTRIES = "rollcall"
"""Prefix of the ids of entries that send events to a queue."""

USER = "rollcall"
"""User name in the URLs of our subscriptions, by which we recognise them. The password in these
URLs is the trigger's token."""

MASKED = "****"
"""SNS shows this in place of the password in a subscription's URL."""

CEPH_DELIVERY = {
    "time_to_live": "86400",
    "max_retries": "17280",
    "retry_sleep_duration": "5",
}
"""Limits for an undelivered event: the seconds for which the gateway keeps it, the number of
retries, and the seconds between two retries. Both limits come to one day. Without them, the events
for a trigger that is gone for good would fill the gateway's queue, and a full queue makes uploads
fail. Videos whose events are dropped are found by the reconciler. Ceph 16 ignores these
attributes."""

DeleteEntry = Callable[[str], None]
"""Deletes the entry with this id from a bucket's notification configuration."""


class Target(NamedTuple):
    """The URL to which a topic sends events, and the token. Both are empty if there is no URL."""

    address: str
    token: str


class Entry(NamedTuple):
    """An entry of a bucket's notification configuration that sends events to a topic."""

    id: str
    topic_arn: str

    @property
    def topic(self) -> str:
        return self.topic_arn.rpartition(":")[2]


def topic_arns(topics: Any) -> dict[str, str]:
    """The ARNs of all topics, by name."""
    # Ceph 16 lists a topic once for each notification that uses it; the dictionary drops repeats.
    with boto_errors("listing the topics"):
        pages = topics.get_paginator("list_topics").paginate()
        arns = [str(topic["TopicArn"]) for page in pages for topic in page.get("Topics", ())]
    return {arn.rpartition(":")[2]: arn for arn in arns}


def ceph_target(topics: Any, arn: str) -> Target | None:
    """The target of a topic of Ceph's gateway; None if the topic does not exist.

    Ceph 16 still lists a deleted topic as long as a bucket has an entry for it.
    """
    attributes = _unless_missing(
        f"reading the topic {arn}", lambda: topics.get_topic_attributes(TopicArn=arn)["Attributes"]
    )
    if attributes is None:
        return None
    address = json.loads(attributes.get("EndPoint") or "{}").get("EndpointAddress", "")
    return Target(str(address), str(attributes.get("OpaqueData", "")))


def sns_target(topics: Any, arn: str) -> Target | None:
    """The target of our subscription to an SNS topic; None if the topic does not exist."""
    found = _unless_missing(f"reading the topic {arn}", lambda: _subscriptions(topics, arn))
    if found is None:
        return None
    ours = [target_of(each["Endpoint"]) for each in found if _is_ours(each)]
    return ours[0] if ours else Target("", "")


def create_ceph_topic(topics: Any, name: str, target: Target) -> str:
    """Create or update a topic of Ceph's gateway, and return its ARN.

    The topic is persistent: the gateway queues its events until they are delivered. It sends the
    token as `opaqueData` of each record.
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


def create_sns_topic(topics: Any, name: str, target: Target) -> str:
    """Create an SNS topic to which the target is subscribed, and return its ARN.

    SNS sends the token as the password of basic auth. Our earlier subscriptions are removed.
    """
    wanted = with_token(target)
    with boto_errors(f"creating the topic {name}"):
        arn: str = topics.create_topic(Name=name)["TopicArn"]
        present = [each for each in _subscriptions(topics, arn) if _is_ours(each)]
        if wanted not in [each["Endpoint"] for each in present]:
            topics.subscribe(
                TopicArn=arn, Protocol=urlsplit(target.address).scheme, Endpoint=wanted
            )
        for each in present:
            # If the password is masked, this may be the wanted URL, so the subscription stays.
            if each["Endpoint"] != wanted and MASKED not in each["Endpoint"]:
                _unsubscribe(topics, each)
    return arn


def remove_topic(topics: Any, arn: str) -> None:
    """Delete a topic. A missing topic is not an error.

    On Ceph, remove its entries from all buckets first: uploads to a bucket with an entry for a
    missing topic fail.
    """
    _unless_missing(f"removing the topic {arn}", lambda: topics.delete_topic(TopicArn=arn))


def remove_subscriptions(topics: Any, arn: str) -> None:
    """Remove our subscriptions to a topic. SNS may keep them when the topic is deleted."""

    def remove() -> None:
        for each in _subscriptions(topics, arn):
            if _is_ours(each):
                _unsubscribe(topics, each)

    _unless_missing(f"removing the subscriptions of {arn}", remove)


def entries(s3: Any, bucket: str) -> list[Entry]:
    """The bucket's entries for topics; none if the bucket does not exist."""
    try:
        with boto_errors(f"reading the notification of {bucket}"):
            present = s3.get_bucket_notification_configuration(Bucket=bucket)
    except RollcallError as error:
        if refusal_code(error) == "NoSuchBucket":
            return []
        raise
    configurations = present.get("TopicConfigurations", ())
    return [
        Entry(str(each.get("Id", "")), str(each.get("TopicArn", ""))) for each in configurations
    ]


def notify(
    s3: Any, bucket: str, arn: str, suffixes: Iterable[str], replaced: Collection[str] = ()
) -> None:
    """Make the bucket send an event to the topic for each new object with one of the suffixes.

    The suffixes match in lower case and in upper case, since cameras write both. Earlier entries of
    the topic, and entries whose ids are in `replaced`, are replaced. All other entries stay.
    """
    name = arn.rpartition(":")[2]
    ours = _entries(name, arn, suffixes)
    earlier = [each.id for each in entries(s3, bucket) if each.id.startswith(f"{name}-")]
    earlier += replaced
    with boto_errors(f"setting the notification of {bucket}"):
        _replace(s3, bucket, earlier, ours)


def remove_notification(s3: Any, bucket: str, ids: Collection[str]) -> None:
    """Remove these entries from the bucket's notification configuration."""
    if ids:
        with boto_errors(f"removing the notification of {bucket}"):
            _replace(s3, bucket, ids, [])


def notify_queue(s3: Any, bucket: str, queue_arn: str, suffixes: Iterable[str]) -> None:
    """Make the bucket send the events directly to an SQS queue instead of a topic."""
    ours = [_to_queue(entry) for entry in _entries(QUEUE_ENTRIES, queue_arn, suffixes)]
    with boto_errors(f"setting the notification of {bucket}"):
        _replace(s3, bucket, [each["Id"] for each in ours], ours, "QueueConfigurations")


def ceph_notify(
    s3: Any, bucket: str, arn: str, suffixes: Iterable[str], delete: DeleteEntry
) -> None:
    """Do as `notify` does, on Ceph's gateway."""
    # S3 replaces all entries of the bucket, but Ceph's gateway adds the given ones to them. So our
    # earlier entries have to be deleted one by one.
    name = arn.rpartition(":")[2]
    ours = _entries(name, arn, suffixes)
    with boto_errors(f"setting the notification of {bucket}"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": ours}
        )
    earlier = {each.id for each in entries(s3, bucket) if each.id.startswith(f"{name}-")}
    for outdated in sorted(earlier - {each["Id"] for each in ours}):
        delete(outdated)


def remove_ceph_notification(
    s3: Any, bucket: str, ids: Collection[str], delete: DeleteEntry
) -> None:
    """Do as `remove_notification` does, on Ceph's gateway.

    If it gets an empty configuration, the gateway returns an error or deletes all entries,
    depending on its version. So each entry is deleted by its id.
    """
    for entry_id in sorted(ids):
        delete(entry_id)
    # If entries of two buckets have the same id and topic, Ceph 16 stores one record for both.
    # After one entry was deleted, the other one has to be set again before it can be deleted.
    remaining = [each for each in entries(s3, bucket) if each.id in ids]
    if not remaining:
        return
    restored = [
        {"Id": each.id, "TopicArn": each.topic_arn, "Events": ["s3:ObjectCreated:Put"]}
        for each in remaining
    ]
    with boto_errors(f"removing the notification of {bucket}"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": restored}
        )
    for each in remaining:
        delete(each.id)


def with_token(target: Target) -> str:
    """`http://host/path` -> `http://rollcall:token@host/path`."""
    parts = urlsplit(target.address)
    user = f"{USER}:{quote(target.token, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def target_of(endpoint: str) -> Target:
    """The inverse of `with_token`. The token is empty if SNS masked it."""
    parts = urlsplit(endpoint)
    user, _, host = parts.netloc.rpartition("@")
    token = unquote(user.partition(":")[2])
    address = urlunsplit(parts._replace(netloc=host))
    return Target(address, "" if token == MASKED else token)


def _unless_missing(action: str, call: Callable[[], Any]) -> Any:
    """The result of the call; None if the store answers that the topic does not exist."""
    try:
        with boto_errors(action):
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
    # A subscription that is not confirmed yet has a text such as "PendingConfirmation" instead of
    # an ARN. Such a subscription cannot be removed; SNS deletes it after a few days.
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
    """Replace the entries with the old ids by the new ones, and keep all other entries."""
    present = s3.get_bucket_notification_configuration(Bucket=bucket)
    present.pop("ResponseMetadata", None)
    others = [each for each in present.get(kind, ()) if each.get("Id") not in old_ids]
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={**present, kind: others + new}
    )


def _entries(name: str, arn: str, suffixes: Iterable[str]) -> list[dict[str, Any]]:
    both_cases = [each for suffix in suffixes for each in (suffix, suffix.upper())]
    return [_entry(name, arn, suffix) for suffix in both_cases]


def entry_id(name: str, suffix: str) -> str:
    """`rollcall-in-0123456789`, `.mp4` -> `rollcall-in-0123456789-mp4`."""
    return name + suffix.replace(".", "-")


def _entry(name: str, arn: str, suffix: str) -> dict[str, Any]:
    # There is one entry for each suffix, because a filter can have only one.
    return {
        "Id": entry_id(name, suffix),
        "TopicArn": arn,
        "Events": [f"s3:{event}" for event in sorted(STARTING_EVENTS)],
        "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
    }


def _to_queue(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry for a queue, which S3 names by QueueArn instead of TopicArn."""
    others = {name: value for name, value in entry.items() if name != "TopicArn"}
    return {**others, "QueueArn": entry["TopicArn"]}
