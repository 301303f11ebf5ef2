"""Bucket notifications set up through the store's own S3 and SNS API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from rollcall.adapters.boto import boto_errors
from rollcall.core.events import STARTS_WORK

NOTIFICATION_ID = "rollcall"


def ceph_topic(topics: Any, name: str, url: str, token: str) -> str:
    """Creates or updates a persistent topic of Ceph's gateway; its ARN.

    The gateway keeps events until they are taken, and sends the token with each as `opaqueData`.
    """
    attributes = {"push-endpoint": url, "persistent": "true", "OpaqueData": token}
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


def notify(s3: Any, bucket: str, topic_arn: str, suffixes: Iterable[str]) -> None:
    """Sends every new object whose key ends in one of the suffixes, in small or capital letters
    (cameras write both), to the topic.

    Notifications of others stay; an earlier one of ours is replaced.
    """
    with boto_errors(f"setting the notification of {bucket}"):
        present = s3.get_bucket_notification_configuration(Bucket=bucket)
        present.pop("ResponseMetadata", None)
        others = [entry for entry in present.get("TopicConfigurations", ()) if not _ours(entry)]
        ours = [_entry(topic_arn, each) for suffix in suffixes for each in (suffix, suffix.upper())]
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={**present, "TopicConfigurations": others + ours},
        )


def with_token(url: str, token: str) -> str:
    """`http://host/path` -> `http://rollcall:token@host/path`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"rollcall:{quote(token, safe='')}@{parts.netloc}"))


def _ours(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("Id", "")).startswith(NOTIFICATION_ID)


def _entry(topic_arn: str, suffix: str) -> dict[str, Any]:
    """One per suffix, because a filter takes one; the suffix makes its id."""
    return {
        "Id": NOTIFICATION_ID + suffix.replace(".", "-"),
        "TopicArn": topic_arn,
        "Events": [f"s3:{event}" for event in sorted(STARTS_WORK)],
        "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
    }
