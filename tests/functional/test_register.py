"""Registering a trigger with the store, and confirming subscriptions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.servers import serve_wsgi
from support.settings import embedded_settings

from rollcall.core.errors import SettingsError
from rollcall.core.figures import FigureSource
from rollcall.core.settings import Settings
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.stores.boto import s3_client, topic_client
from rollcall.stores.buckets import has_bucket
from rollcall.stores.s3 import S3Store
from rollcall.trigger import advertised
from rollcall.trigger import notifications as registration
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.notifications import check, confirm_subscription, register, unregister
from rollcall.trigger.receiver import Receiver
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
    assert ours.count("http://rollcall:test-token-of-the-trigger@127.0.0.1:9/events") == 1


URL, OTHER_URL = "http://127.0.0.1:9", "http://127.0.0.1:10"


def changed(settings: Settings, **values: str) -> Settings:
    return replace(settings, **values)


def state(settings: Settings) -> tuple[list[str], list[str], list[str]]:
    """The bucket's entries, its topics, and the targets of the topics."""
    topics = topic_client(settings)
    mine = f":rollcall-{settings.input_bucket}-"
    arns = [each["TopicArn"] for each in topics.list_topics()["Topics"]]
    subscriptions = topics.list_subscriptions()["Subscriptions"]
    s3, bucket = s3_client(settings), settings.input_bucket
    entries = s3.get_bucket_notification_configuration(Bucket=bucket)
    return (
        sorted(each["Id"] for each in entries.get("TopicConfigurations", ())),
        sorted(arn for arn in arns if mine in arn),
        sorted(each["Endpoint"] for each in subscriptions if mine in each["TopicArn"]),
    )


NOTHING: tuple[list[str], list[str], list[str]] = ([], [], [])


def test_registering_a_second_trigger_does_not_affect_the_first(settings: Settings) -> None:
    register(settings, URL, "sns")
    alone = state(settings)
    second = changed(settings, trigger_token="second-trigger-token")
    register(second, OTHER_URL, "sns")
    both = state(settings)
    assert [len(part) for part in both] == [2 * len(part) for part in alone]
    assert all(set(part) < set(whole) for part, whole in zip(alone, both, strict=True))
    unregister(second, "sns")
    assert state(settings) == alone
    unregister(settings, "sns")
    assert state(settings) == NOTHING


def test_registering_for_a_second_bucket_does_not_affect_the_first(settings: Settings) -> None:
    second = changed(settings, input_bucket=settings.input_bucket + "-2")
    register(settings, URL, "sns")
    alone = state(settings)
    register(second, URL, "sns")
    assert [len(part) for part in state(second)] == [len(part) for part in alone]
    unregister(second, "sns", URL)
    assert (state(settings), state(second)) == (alone, NOTHING)


def test_with_two_triggers_of_one_token_unregister_needs_the_address(settings: Settings) -> None:
    register(settings, URL, "sns")
    alone = state(settings)
    register(settings, OTHER_URL, "sns")
    both = state(settings)
    with pytest.raises(SettingsError) as caught:
        unregister(settings, "sns")
    assert URL in str(caught.value)
    assert OTHER_URL in str(caught.value)
    assert state(settings) == both
    unregister(settings, "sns", OTHER_URL + "/")
    assert state(settings) == alone


def test_a_new_token_replaces_the_old_subscription(settings: Settings) -> None:
    register(settings, URL, "sns")
    register(changed(settings, trigger_token="newer-trigger-token"), URL, "sns")
    _, topics, endpoints = state(settings)
    assert (len(topics), endpoints) == (
        1,
        ["http://rollcall:newer-trigger-token@127.0.0.1:9/events"],
    )


def test_of_two_tokens_the_first_is_registered_and_both_are_known(settings: Settings) -> None:
    register(settings, URL, "sns")
    two = changed(settings, trigger_token=f"newer-trigger-token, {settings.trigger_token}")
    register(two, URL, "sns")
    endpoints = state(settings)[2]
    assert endpoints == ["http://rollcall:newer-trigger-token@127.0.0.1:9/events"]
    unregister(two, "sns")
    assert state(settings) == NOTHING


def lose_topic(settings: Settings) -> None:
    (arn,) = state(settings)[1]
    topic_client(settings).delete_topic(TopicArn=arn)


def lose_entries(settings: Settings) -> None:
    s3_client(settings).put_bucket_notification_configuration(
        Bucket=settings.input_bucket, NotificationConfiguration={}
    )


def lose_some_entries(settings: Settings) -> None:
    s3, bucket = s3_client(settings), settings.input_bucket
    kept = notifications(settings)[::2]
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": kept}
    )


def lose_subscription(settings: Settings) -> None:
    topics = topic_client(settings)
    for each in topics.list_subscriptions()["Subscriptions"]:
        if settings.input_bucket in each["TopicArn"]:
            topics.unsubscribe(SubscriptionArn=each["SubscriptionArn"])


LOSSES = [lose_topic, lose_entries, lose_some_entries, lose_subscription]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("advertise", [None, URL])
def test_unregistering_removes_what_is_left(
    settings: Settings, lose: Callable[[Settings], None], advertise: str | None
) -> None:
    register(settings, URL, "sns")
    lose(settings)
    unregister(settings, "sns", advertise)
    assert state(settings) == NOTHING
    unregister(settings, "sns", advertise)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda each: each.__name__)
def test_registering_again_restores_missing_parts(
    settings: Settings, lose: Callable[[Settings], None]
) -> None:
    register(settings, URL, "sns")
    whole = state(settings)
    lose(settings)
    register(settings, URL, "sns")
    assert state(settings) == whole


def test_a_topic_whose_bucket_is_gone_is_removed(settings: Settings) -> None:
    register(settings, URL, "sns")
    s3_client(settings).delete_bucket(Bucket=settings.input_bucket)
    unregister(settings, "sns")
    s3_client(settings).create_bucket(Bucket=settings.input_bucket)
    assert state(settings) == NOTHING


@pytest.mark.parametrize(
    "wrong", ["host:8090", "ftp://host", "http://0.0.0.0:8090", "http://host:99999", "http://"]
)
def test_a_wrong_address_changes_nothing(settings: Settings, wrong: str) -> None:
    with pytest.raises(SettingsError, match="--advertise"):
        register(settings, wrong, "sns")
    buckets = s3_client(settings).list_buckets()["Buckets"]
    assert settings.input_bucket not in [each["Name"] for each in buckets]


def test_the_report_bucket_is_made_by_default(moto_url: str) -> None:
    name = uuid.uuid4().hex[:8]
    chosen = embedded_settings(moto_url, INPUT_BUCKET=f"in-{name}", OUTPUT_BUCKET=f"out-{name}")
    register(chosen, URL, "sns")
    assert has_bucket(S3Store(s3_client(chosen)), "rollcall-reports")


def test_a_refused_report_bucket_names_the_setting(settings: Settings) -> None:
    refused = changed(settings, report_bucket="r" * 100)
    with pytest.raises(SettingsError, match=r"REPORT_BUCKET: .*refused.*to another name"):
        register(refused, URL, "sns")


def trigger_like(environ: Any, start_response: Any) -> list[bytes]:
    """Answer like a trigger whose dispatcher has not started yet."""
    start_response("503 Service Unavailable", [("Content-Type", "application/json")])
    return [b'{"ok": false, "service": "rollcall-trigger", "threads": {}}']


def other_program(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<html>welcome</html>"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertised, "PROBE_PAUSE_S", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_trigger_has_to_answer_at_the_advertised_address(settings: Settings) -> None:
    with serve_wsgi(trigger_like) as url:
        check(settings, url, "sns")
        with pytest.raises(SettingsError, match="does not answer"):
            check(settings, url.replace("http:", "https:"), "sns")
    with pytest.raises(SettingsError, match=r"does not answer.*--no-check"):
        check(settings, url, "sns")
    with serve_wsgi(other_program) as url, pytest.raises(SettingsError, match="answers 200, but"):
        check(settings, url, "sns")
    with pytest.raises(SettingsError, match="means port 80"):
        check(settings, "http://127.0.0.1", "sns")


@pytest.mark.usefixtures("quick")
def test_an_address_that_is_registered_already_need_not_answer(settings: Settings) -> None:
    """A registered trigger may be restarted while its network is down."""
    register(settings, URL, "sns")
    check(settings, URL, "sns")
    with pytest.raises(SettingsError, match="does not answer"):
        check(settings, OTHER_URL, "sns")


def register_as_earlier_versions_did(settings: Settings, url: str) -> str:
    topics, s3 = topic_client(settings), s3_client(settings)
    s3.create_bucket(Bucket=settings.input_bucket)
    arn: str = topics.create_topic(Name=registration.OLD_TOPIC)["TopicArn"]
    endpoint = url.replace("//", f"//rollcall:{settings.trigger_token}@") + "/events"
    topics.subscribe(TopicArn=arn, Protocol="http", Endpoint=endpoint)
    entry = {"Id": "rollcall-mp4", "TopicArn": arn, "Events": ["s3:ObjectCreated:Put"]}
    s3.put_bucket_notification_configuration(
        Bucket=settings.input_bucket,
        NotificationConfiguration={"TopicConfigurations": [entry]},
    )
    return arn


def old_topics(settings: Settings) -> list[str]:
    arns = [each["TopicArn"] for each in topic_client(settings).list_topics()["Topics"]]
    return [arn for arn in arns if arn.endswith(f":{registration.OLD_TOPIC}")]


def test_the_topic_of_an_earlier_version_is_replaced(settings: Settings) -> None:
    neighbour = changed(settings, input_bucket=settings.input_bucket + "-2")
    for each in (settings, neighbour):
        register_as_earlier_versions_did(each, URL)
    register(settings, URL, "sns")
    entries, topics, _ = state(settings)
    assert len(topics) == 1
    assert "rollcall-mp4" not in entries
    assert old_topics(settings), "another bucket still needs it"
    unregister(neighbour, "sns")
    assert state(neighbour)[0] == []
    assert old_topics(settings) == []


def test_an_old_topic_of_another_trigger_stays(settings: Settings) -> None:
    register_as_earlier_versions_did(settings, OTHER_URL)
    register(settings, URL, "sns")
    assert "rollcall-mp4" in state(settings)[0]
    unregister(settings, "sns", URL)
    assert state(settings)[0] == ["rollcall-mp4"]
    unregister(settings, "sns")
    assert (state(settings)[0], old_topics(settings)) == ([], [])


def test_extensions_in_capital_letters_are_notified_too(settings: Settings) -> None:
    register(settings, "http://127.0.0.1:9", "sns")
    rules = [entry["Filter"]["Key"]["FilterRules"][0]["Value"] for entry in notifications(settings)]
    assert {".mp4", ".MP4", ".mov", ".MOV"} <= set(rules)


def test_notifications_of_other_programs_stay(settings: Settings) -> None:
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
def test_a_subscription_is_confirmed_only_for_an_allowed_topic(allowed: bool) -> None:
    confirmed: list[tuple[str, str]] = []
    queue = MemoryQueue()
    receiver = Receiver(
        queue,
        Metrics(FigureSource(queue)),
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
    assert queue.counts()["bad"] == (0 if allowed else 1)


def test_a_subscription_is_confirmed_through_the_topics_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The URL in the message is never used."""
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


def test_on_aws_a_second_topic_for_a_suffix_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto would accept the second topic. AWS would refuse it without saying why."""
    register(settings, URL, "sns")
    before = notifications(settings)
    on_aws = registration._Sns(settings)
    monkeypatch.setattr(on_aws, "_settings", replace(settings, s3_endpoint_url=""))
    with pytest.raises(SettingsError, match="run --unregister --via sns --advertise"):
        on_aws.connect(registration.Target(OTHER_URL + "/events", settings.trigger_token))
    assert notifications(settings) == before
