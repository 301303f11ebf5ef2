"""Sends the events of the input bucket to this trigger, and takes that back.

Every pair of bucket and address has a topic of its own, so several triggers may be notified by one
bucket, and one store may serve many buckets. See docs/decisions/0041.
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from rollcall.core.errors import RollcallError, SettingsError
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings
from rollcall.stores import topics as adapter
from rollcall.stores.boto import (
    boto_errors,
    delete_notification,
    s3_client,
    sns_client,
    topic_client,
)
from rollcall.stores.s3 import S3Store
from rollcall.stores.topics import Entry, Target
from rollcall.trigger.access import checked_token
from rollcall.trigger.advertised import EVENTS, checked_url, normal_url, probe

log = logging.getLogger(__name__)

OLD_TOPIC = "rollcall-videos"
"""The topic that earlier versions made, one for all buckets and triggers."""

OLD_IDS = frozenset(
    adapter.entry_id("rollcall", each)
    for suffix in VIDEO_EXTENSIONS
    for each in (suffix, suffix.upper())
)
"""Ids of the entries that earlier versions made."""


def topic_name(bucket: str, url: str) -> str:
    """`rollcall-BUCKET-0123456789`: letters, digits, - and _ are all that Ceph allows in it."""
    digest = hashlib.sha256(f"{bucket}\n{url}".encode()).hexdigest()[:10]
    return f"{_prefix(bucket)}{digest}"


def register(settings: Settings, advertise: str, via: str) -> None:
    """Creates buckets, topic and notification; doing it again changes nothing.

    `advertise` is the trigger's address as the store sees it; `via` is `ceph`, whose gateway pushes
    itself, or `sns`, where a subscription does. Raises SettingsError, before anything is changed,
    when no store could use the address, or the token is too short.
    """
    wanted = Target(checked_url(advertise, settings), checked_token(settings.trigger_token))
    store = S3Store(s3_client(settings))
    buckets = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    for bucket in filter(None, buckets):
        store.create_bucket(bucket)
    registry = _registry(settings, via)
    arn = registry.connect(wanted)
    registry.take_over_old(wanted)
    log.info("notifications of %s go to %s, topic %s", settings.input_bucket, wanted.address, arn)
    for other in registry.found():
        if other.address and not other.live_at(wanted.address):
            address = other.address.removesuffix(EVENTS)
            log.warning(
                "%s also notifies %s; if that trigger is gone, run --unregister --advertise %s",
                settings.input_bucket,
                address,
                address,
            )


def check(settings: Settings, advertise: str, via: str) -> None:
    """Asks the advertised address for this trigger, which has to listen already.

    Raises SettingsError when it does not answer, unless it was registered before: then the network
    may be down for the moment, and the log has a warning.
    """
    url = checked_url(advertise, settings)
    try:
        probe(url, settings)
    except SettingsError as error:
        names = [each.name for each in _registry(settings, via).found() if each.live_at(url)]
        if topic_name(settings.input_bucket, url) not in names:
            raise
        log.warning("%s; it stays registered", error)


def unregister(settings: Settings, via: str, advertise: str | None = None) -> None:
    """Takes notification and topic back; the buckets stay, with all that is in them.

    Removes what is left when half of it is missing. Without `advertise` it removes what carries
    this trigger's token, and raises SettingsError when that is true of several triggers.
    """
    registry = _registry(settings, via)
    found = registry.found()
    if advertise:
        url = normal_url(advertise)
        chosen = [each for each in found if each.live_at(url) or each.is_left_of(url)]
    else:
        chosen = _of_this_trigger(found, settings)
    for each in chosen:
        registry.remove(each)
        log.info("removed the topic %s and its notification of %s", each.name, each.bucket)
    if not chosen:
        log.info("%s has no notification of this trigger", settings.input_bucket)


@dataclass(frozen=True, slots=True)
class Registration:
    """A topic of ours with its entries in the input bucket; either may be missing."""

    bucket: str
    name: str
    arn: str
    ids: tuple[str, ...]
    target: Target | None
    """None when the topic is gone."""

    @property
    def address(self) -> str:
        """Empty when the topic is gone, or sends its events nowhere."""
        return self.target.address if self.target else ""

    def live_at(self, url: str) -> bool:
        return self.address == url or (bool(self.address) and _normal(self.address) == url)

    def is_left_of(self, url: str) -> bool:
        """Whether it has no address and can only have been made for this one."""
        return not self.address and self.name in (OLD_TOPIC, topic_name(self.bucket, url))


def _of_this_trigger(found: list[Registration], settings: Settings) -> list[Registration]:
    """Registrations with this trigger's token, and those that send events nowhere."""
    token = settings.trigger_token
    broken = [each for each in found if not each.address]
    live = [(each, each.target) for each in found if each.target and each.address]
    same = [(each, target) for each, target in live if target.token in ("", token) or not token]
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
                "%s stays registered, with another token; to remove it, add --advertise %s",
                address,
                address,
            )
    return broken + [each for each, _ in same]


class _Registry(ABC):
    """Registrations of the input bucket, as one kind of store keeps them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.input_bucket
        self._s3, self._topics = s3_client(settings), topic_client(settings)

    @abstractmethod
    def connect(self, wanted: Target) -> str:
        """Makes topic and entries; the topic's ARN."""

    def found(self) -> list[Registration]:
        """Every registration of ours in the input bucket, of earlier versions too."""
        arns, entries = adapter.topic_arns(self._topics), adapter.entries(self._s3, self._bucket)
        arns |= {each.topic: each.topic_arn for each in entries}
        pattern = re.compile(re.escape(_prefix(self._bucket)) + "[0-9a-f]{10}")
        names = [name for name in sorted(arns) if pattern.fullmatch(name)]
        described = [self._described(name, arns[name], entries) for name in names]
        ours = [each for each in described if self._is_of_bucket(each)]
        if OLD_TOPIC in arns:
            old = self._described(OLD_TOPIC, arns[OLD_TOPIC], entries)
            ours += [old] if old.ids or not self._is_used(old.arn) else []
        return ours

    def remove(self, registration: Registration) -> None:
        self._remove_entries(registration.ids)
        if registration.name != OLD_TOPIC or not self._is_used(registration.arn):
            self._remove_topic(registration.arn)

    def take_over_old(self, wanted: Target) -> None:
        """Removes what an earlier version registered for this address, or left without a topic."""
        for each in self.found():
            here = not each.address or each.live_at(wanted.address)
            if each.name == OLD_TOPIC and each.ids and here:
                self.remove(each)
                log.info("removed the topic %s of an earlier version", OLD_TOPIC)

    @abstractmethod
    def _target(self, arn: str) -> Target | None:
        """Where the topic sends its events; None when it is gone."""

    @abstractmethod
    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        """Removes these entries from the input bucket's notifications."""

    def _remove_topic(self, arn: str) -> None:
        adapter.remove_topic(self._topics, arn)

    def _described(self, name: str, arn: str, entries: list[Entry]) -> Registration:
        def is_of_topic(entry: Entry) -> bool:
            if name == OLD_TOPIC:
                return entry.topic == name and entry.id in OLD_IDS
            return entry.id.startswith(f"{name}-")

        ids = tuple(entry.id for entry in entries if is_of_topic(entry))
        return Registration(self._bucket, name, arn, ids, self._target(arn))

    def _is_of_bucket(self, each: Registration) -> bool:
        """Buckets `a.b` and `a-b` share a prefix; the address tells their topics apart."""
        if each.ids:
            return True
        if each.address:
            return each.name == topic_name(self._bucket, each.address)
        return each.target is not None

    def _is_used(self, arn: str) -> bool:
        """Whether a bucket of this owner notifies the topic, or cannot be asked."""
        try:
            with boto_errors("listing the buckets"):
                buckets = self._s3.list_buckets().get("Buckets", ())
            used = {
                e.topic_arn for each in buckets for e in adapter.entries(self._s3, each["Name"])
            }
        except RollcallError as error:
            log.warning("the topic %s stays: %s", arn, error)
            return True
        return arn in used


class _Ceph(_Registry):
    def connect(self, wanted: Target) -> str:
        """A topic with another token is made anew: events that wait keep the token of their time,
        so they would never be accepted, and hold up newer ones."""
        name = topic_name(self._bucket, wanted.address)
        for each in self.found():
            if each.name == name and each.target not in (None, wanted):
                self.remove(each)
        arn = adapter.ceph_topic(self._topics, name, wanted)
        adapter.ceph_notify(self._s3, self._bucket, arn, VIDEO_EXTENSIONS, self._delete)
        return arn

    def _delete(self, entry_id: str) -> None:
        delete_notification(self._settings, self._bucket, entry_id)

    def _target(self, arn: str) -> Target | None:
        return adapter.ceph_target(self._topics, arn)

    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        adapter.remove_ceph_notification(self._s3, self._bucket, ids, self._delete)


class _Sns(_Registry):
    def connect(self, wanted: Target) -> str:
        """AWS allows one topic for each suffix of a bucket, so entries of an earlier version for
        this address are replaced in the same call, and those of another address are refused."""
        name = topic_name(self._bucket, wanted.address)
        others = [each for each in self.found() if each.ids and each.name != name]
        earlier = [each for each in others if not each.address or each.live_at(wanted.address)]
        if not self._settings.s3_endpoint_url:
            self._refuse_second([each for each in others if each not in earlier])
        arn = adapter.sns_topic(self._topics, name, wanted)
        replaced = [entry_id for each in earlier for entry_id in each.ids]
        adapter.notify(self._s3, self._bucket, arn, VIDEO_EXTENSIONS, replaced)
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
        return adapter.sns_target(self._topics, arn)

    def _remove_entries(self, ids: tuple[str, ...]) -> None:
        adapter.remove_notification(self._s3, self._bucket, ids)

    def _remove_topic(self, arn: str) -> None:
        adapter.remove_subscriptions(self._topics, arn)
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
    """Through the API of the topic's region, so that no address from an event is ever opened."""
    region = (topic_arn.split(":") + [""] * 4)[3]
    with boto_errors(f"confirming the subscription to {topic_arn}"):
        sns_client(settings, region).confirm_subscription(TopicArn=topic_arn, Token=token)
