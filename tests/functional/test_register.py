"""Notifications set up through the store, and subscriptions confirmed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from support.settings import embedded_settings

from rollcall.adapters.boto import s3_client, topic_client
from rollcall.core.settings import Settings
from rollcall.trigger import registration
from rollcall.trigger.inbox import Inbox
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.receiver import Receiver
from rollcall.trigger.registration import confirm_subscription, register
from rollcall.trigger.sns import SnsGate

ARN = "arn:aws:sns:eu-west-1:123456789012:videos"


@pytest.fixture
def settings(moto_url: str) -> Settings:
    name = uuid.uuid4().hex[:8]
    return embedded_settings(
        moto_url, INPUT_BUCKET=f"in-{name}", OUTPUT_BUCKET=f"out-{name}", REPORT_BUCKET=f"r-{name}"
    )


def notifications(settings: Settings) -> list[dict[str, Any]]:
    found = s3_client(settings).get_bucket_notification_configuration(Bucket=settings.input_bucket)
    return list(found["TopicConfigurations"])


def test_registering_twice_changes_nothing(settings: Settings) -> None:
    register(settings, "http://127.0.0.1:9", "sns")
    first = notifications(settings)
    register(settings, "http://127.0.0.1:9", "sns")
    assert notifications(settings) == first
    topics = topic_client(settings)
    subscriptions = topics.list_subscriptions_by_topic(TopicArn=first[0]["TopicArn"])
    ours = [s["Endpoint"] for s in subscriptions["Subscriptions"]]
    assert ours.count("http://rollcall:test-token@127.0.0.1:9/events") == 1


def test_capital_extensions_are_notified_too(settings: Settings) -> None:
    register(settings, "http://127.0.0.1:9", "sns")
    rules = [entry["Filter"]["Key"]["FilterRules"][0]["Value"] for entry in notifications(settings)]
    assert {".mp4", ".MP4", ".mov", ".MOV"} <= set(rules)


def test_a_notification_of_others_stays(settings: Settings) -> None:
    register(settings, "http://127.0.0.1:9", "sns")
    other = {"Id": "audit", "TopicArn": notifications(settings)[0]["TopicArn"]}
    other["Events"] = ["s3:ObjectRemoved:*"]  # type: ignore[assignment]
    configuration = {"TopicConfigurations": [*notifications(settings), other]}
    s3_client(settings).put_bucket_notification_configuration(
        Bucket=settings.input_bucket, NotificationConfiguration=configuration
    )
    register(settings, "http://127.0.0.1:9", "sns")
    assert "audit" in [entry["Id"] for entry in notifications(settings)]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_subscription_is_confirmed_only_for_an_allowed_topic(
    tmp_path: Any, allowed: bool
) -> None:
    confirmed: list[tuple[str, str]] = []
    inbox = Inbox(tmp_path / "inbox.sqlite3")
    receiver = Receiver(
        inbox,
        Metrics(inbox),
        "bucket",
        SnsGate(
            frozenset([ARN] if allowed else []),
            lambda arn, token: confirmed.append((arn, token)),
            check=None,
        ),
        lambda: None,
    )
    body = {
        "Type": "SubscriptionConfirmation",
        "TopicArn": ARN,
        "Token": "t",
        "SubscribeURL": "http://169.254.169.254/",
    }
    receiver.receive(json.dumps(body).encode(), {})
    assert confirmed == ([(ARN, "t")] if allowed else [])
    assert inbox.counts()["bad"] == (0 if allowed else 1)
    inbox.close()


def test_a_subscription_is_confirmed_through_the_topics_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never at the address that the event gives."""
    calls: list[Any] = []

    class Sns:
        def confirm_subscription(self, **arguments: str) -> None:
            calls.append(arguments)

    def client(settings: Settings, region: str) -> Sns:
        calls.append(region)
        return Sns()

    monkeypatch.setattr(registration, "sns_client", client)
    confirm_subscription(Settings(), ARN, "t")
    assert calls == ["eu-west-1", {"TopicArn": ARN, "Token": "t"}]
