"""Registers a trigger with the store, which then sends it the events of the input bucket.

Each pair of a bucket and a trigger's address has its own topic. So one bucket may notify several
triggers, and several buckets of one store may notify triggers (docs/decisions/0041).
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from rollcall.core.errors import RollcallError, SettingsError
from rollcall.core.key_rotation import secrets_in
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings
from rollcall.stores import topics
from rollcall.stores.boto import (
    boto_errors,
    delete_notification,
    s3_client,
    sns_client,
    topic_client,
)
from rollcall.stores.buckets import create_buckets
from rollcall.stores.topics import Entry, Target
from rollcall.trigger.access import checked_tokens
from rollcall.trigger.advertised import EVENTS, checked_url, normal_url, probe

log = logging.getLogger(__name__)

OLD_TOPIC = "rollcall-videos"
"""The topic of earlier versions, one for all buckets and triggers."""

OLD_IDS = frozenset(
    topics.entry_id("rollcall", each)
    for suffix in VIDEO_EXTENSIONS
    for each in (suffix, suffix.upper())
)
"""Ids of the entries that earlier versions created."""


def topic_name(bucket: str, url: str) -> str:
    """`rollcall-BUCKET-0123456789`. In topic names, Ceph allows only letters, digits, - and _."""
    digest = hashlib.sha256(f"{bucket}\n{url}".encode()).hexdigest()[:10]
    return f"{_prefix(bucket)}{digest}"


def register(settings: Settings, advertise: str, via: str) -> None:
    """Create the buckets, the topic and the notification. Doing this again changes nothing.

    `advertise` is the trigger's address as the store sees it. `via` is `ceph` if the gateway itself
    sends the events, and `sns` if a subscription does. Raises SettingsError, before anything is
    changed, if the store cannot use the address or the token is too short.
    """
    wanted = Target(checked_url(advertise, settings), checked_tokens(settings.trigger_token)[0])
    create_buckets(s3_client(settings), settings)
    registry = _registry(settings, via)
    arn = registry.connect(wanted)
    registry.remove_old(wanted)
    log.info("notifications of %s go to %s, topic %s", settings.input_bucket, wanted.address, arn)
    for other in registry.registrations():
        if other.address and not other.is_at(wanted.address):
            address = other.address.removesuffix(EVENTS)
            log.warning(
                "%s also notifies %s; if that trigger is gone, run --unregister --advertise %s",
                settings.input_bucket,
                address,
                address,
            )


def check(settings: Settings, advertise: str, via: str) -> None:
    """Check that this trigger, which listens already, answers at the advertised address.

    Raises SettingsError if it does not. For an address that is registered already, there is only a
    warning, because the network may just be down for a moment.
    """
    url = checked_url(advertise, settings)
    try:
        probe(url, settings)
    except SettingsError as error:
        registered = _registry(settings, via).registrations()
        names = [each.name for each in registered if each.is_at(url)]
        if topic_name(settings.input_bucket, url) not in names:
            raise
        log.warning("%s; it stays registered", error)


def unregister(settings: Settings, via: str, advertise: str | None = None) -> None:
    """Remove the notification and the topic, even if one of them is missing. The buckets stay.

    Without `advertise`, the registrations with this trigger's token are removed. Raises
    SettingsError if several triggers have that token.
    """
    registry = _registry(settings, via)
    registered = registry.registrations()
    if advertise:
        url = normal_url(advertise)
        chosen = [each for each in registered if each.is_at(url) or each.may_have_been_at(url)]
    else:
        chosen = _of_this_trigger(registered, settings)
    for each in chosen:
        registry.remove(each)
        log.info("removed the topic %s and its notification of %s", each.name, each.bucket)
    if not chosen:
        log.info("%s has no notification of this trigger", settings.input_bucket)


@dataclass(frozen=True, slots=True)
class Registration:
    """One of our topics, and its entries in the input bucket. Either of them may be missing."""

    bucket: str
    name: str
    arn: str
    ids: tuple[str, ...]
    target: Target | None
    """None if the topic is missing."""

    @property
    def address(self) -> str:
        """The URL to which events are sent; empty if the topic is missing or has no target."""
        return self.target.address if self.target else ""

    def is_at(self, url: str) -> bool:
        """Whether the events go to this URL."""
        return self.address == url or (bool(self.address) and _normal(self.address) == url)

    def may_have_been_at(self, url: str) -> bool:
        """Whether the address is unknown, and the topic's name fits this URL."""
        return not self.address and self.name in (OLD_TOPIC, topic_name(self.bucket, url))


def _of_this_trigger(registered: list[Registration], settings: Settings) -> list[Registration]:
    """Registrations with this trigger's token, and those without an address."""
    tokens = secrets_in(settings.trigger_token)
    broken = [each for each in registered if not each.address]
    live = [(each, each.target) for each in registered if each.target and each.address]
    # An empty token matches every token, because SNS masks tokens, and this trigger may have none.
    known = ("", *tokens)
    same = [(each, target) for each, target in live if target.token in known or not tokens]
    addresses = sorted({target.address.removesuffix(EVENTS) for _, target in same})
    if len(addresses) > 1:
        raise SettingsError(
            f"{settings.input_bucket} notifies several triggers: {', '.join(addresses)};"
            " choose one with --unregister --advertise URL"
        )
    for each, target in live:
        if (each, target) not in same:
            address = target.address.removesuffix(EVENTS)
            log.warning(
                "%s has another token and stays registered; to remove it, add --advertise %s",
                address,
                address,
            )
    return broken + [each for each, _ in same]


class _Registry(ABC):
    """The registrations of the input bucket in one kind of store."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.input_bucket
        self._s3, self._topics = s3_client(settings), topic_client(settings)

    @abstractmethod
    def connect(self, wanted: Target) -> str:
        """Create the topic and its entries, and return the topic's ARN."""

    def registrations(self) -> list[Registration]:
        """All our registrations of the input bucket, including those of earlier versions."""
        arns, entries = topics.topic_arns(self._topics), topics.entries(self._s3, self._bucket)
        arns |= {each.topic: each.topic_arn for each in entries}
        pattern = re.compile(re.escape(_prefix(self._bucket)) + "[0-9a-f]{10}")
        names = [name for name in sorted(arns) if pattern.fullmatch(name)]
        described = [self._describe(name, arns[name], entries) for name in names]
        ours = [each for each in described if self._is_of_bucket(each)]
        if OLD_TOPIC in arns:
            old = self._describe(OLD_TOPIC, arns[OLD_TOPIC], entries)
            ours += [old] if old.ids or not self._is_used(old.arn) else []
        return ours

    def remove(self, registration: Registration) -> None:
        # Entries go before their topic, because on Ceph uploads fail while an entry has no topic.
        self._remove_entries(registration.ids)
        if registration.name != OLD_TOPIC or not self._is_used(registration.arn):
            self._remove_topic(registration.arn)

    def remove_old(self, wanted: Target) -> None:
        """Remove the registration that an earlier version made for this address, or left broken."""
        for each in self.registrations():
            is_replaced = not each.address or each.is_at(wanted.address)
            if each.name == OLD_TOPIC and each.ids and is_replaced:
                self.remove(each)
                log.info("removed the topic %s of an earlier version", OLD_TOPIC)

    @abstractmethod
    def _target(self, arn: str) -> Target | None:
        """The topic's target; None if the topic is missing."""

    @abstractmethod
    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        """Remove these entries from the input bucket's notification configuration."""

    def _remove_topic(self, arn: str) -> None:
        topics.remove_topic(self._topics, arn)

    def _describe(self, name: str, arn: str, entries: list[Entry]) -> Registration:
        def is_of_topic(entry: Entry) -> bool:
            if name == OLD_TOPIC:
                return entry.topic == name and entry.id in OLD_IDS
            return entry.id.startswith(f"{name}-")

        ids = tuple(entry.id for entry in entries if is_of_topic(entry))
        return Registration(self._bucket, name, arn, ids, self._target(arn))

    def _is_of_bucket(self, each: Registration) -> bool:
        # The buckets `a.b` and `a-b` have the same prefix, and only the digest in the topic's name
        # tells them apart.
        if each.ids:
            return True
        if each.address:
            return each.name == topic_name(self._bucket, each.address)
        return each.target is not None

    def _is_used(self, arn: str) -> bool:
        """Whether a bucket of this account has an entry for the topic. True if that is unknown."""
        try:
            with boto_errors("listing the buckets"):
                buckets = self._s3.list_buckets().get("Buckets", ())
            used = {
                entry.topic_arn
                for bucket in buckets
                for entry in topics.entries(self._s3, bucket["Name"])
            }
        except RollcallError as error:
            log.warning("the topic %s stays: %s", arn, error)
            return True
        return arn in used


class _Ceph(_Registry):
    def connect(self, wanted: Target) -> str:
        name = topic_name(self._bucket, wanted.address)
        # A topic with a token that is not accepted is replaced, not updated. Events that are queued
        # in it keep that token, so they would never be accepted, and would delay newer events.
        tokens = secrets_in(self._settings.trigger_token)
        accepted = [None, *(wanted._replace(token=token) for token in tokens)]
        for each in self.registrations():
            if each.name == name and each.target not in accepted:
                self.remove(each)
        arn = topics.create_ceph_topic(self._topics, name, wanted)
        topics.ceph_notify(self._s3, self._bucket, arn, VIDEO_EXTENSIONS, self._delete)
        return arn

    def _delete(self, entry_id: str) -> None:
        delete_notification(self._settings, self._bucket, entry_id)

    def _target(self, arn: str) -> Target | None:
        return topics.ceph_target(self._topics, arn)

    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        topics.remove_ceph_notification(self._s3, self._bucket, ids, self._delete)


class _Sns(_Registry):
    def connect(self, wanted: Target) -> str:
        # AWS allows one topic for each suffix of a bucket. So the entries of an earlier version for
        # this address are replaced in the same call, and entries of another address are an error.
        name = topic_name(self._bucket, wanted.address)
        others = [each for each in self.registrations() if each.ids and each.name != name]
        earlier = [each for each in others if not each.address or each.is_at(wanted.address)]
        if not self._settings.s3_endpoint_url:
            self._refuse_second([each for each in others if each not in earlier])
        arn = topics.create_sns_topic(self._topics, name, wanted)
        replaced = [entry_id for each in earlier for entry_id in each.ids]
        topics.notify(self._s3, self._bucket, arn, VIDEO_EXTENSIONS, replaced)
        for each in earlier:
            self.remove(replace(each, ids=()))
        return arn

    def _refuse_second(self, others: list[Registration]) -> None:
        for each in others:
            address = each.address.removesuffix(EVENTS)
            raise SettingsError(
                f"{self._bucket} already notifies {address}, and AWS allows one topic for each"
                f" suffix; first run --unregister --via sns --advertise {address}"
            )

    def _target(self, arn: str) -> Target | None:
        return topics.sns_target(self._topics, arn)

    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        topics.remove_notification(self._s3, self._bucket, ids)

    def _remove_topic(self, arn: str) -> None:
        topics.remove_subscriptions(self._topics, arn)
        super()._remove_topic(arn)


def _registry(settings: Settings, via: str) -> _Registry:
    return _Ceph(settings) if via == "ceph" else _Sns(settings)


def _normal(address: str) -> str:
    try:
        return normal_url(address)
    except SettingsError:
        return address


def _prefix(bucket: str) -> str:
    return f"rollcall-{re.sub('[^A-Za-z0-9_-]', '-', bucket)}-"


def confirm_subscription(settings: Settings, topic_arn: str, token: str) -> None:
    """Confirm a subscription through the API of the topic's region.

    The URL in the message is never opened, because anyone who sends a message could choose it.
    """
    region = (topic_arn.split(":") + [""] * 4)[3]
    with boto_errors(f"confirming the subscription to {topic_arn}"):
        sns_client(settings, region).confirm_subscription(TopicArn=topic_arn, Token=token)
