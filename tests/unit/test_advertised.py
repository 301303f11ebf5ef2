"""The advertised address: checks that need no network."""

from __future__ import annotations

import pytest

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings, parse_settings
from rollcall.trigger.advertised import checked_url, normal_url
from rollcall.trigger.notifications import topic_name

HERE = parse_settings({"S3_ENDPOINT_URL": "http://127.0.0.1:9000"})
ELSEWHERE = parse_settings({"S3_ENDPOINT_URL": "https://ceph.example.org"})
AWS = Settings()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:8090", "http://host:8090/events"),
        ("http://host:8090/", "http://host:8090/events"),
        ("http://host:8090/events", "http://host:8090/events"),
        ("http://host:8090/events/", "http://host:8090/events"),
        (" http://HOST:8090 ", "http://host:8090/events"),
        ("http://host:80", "http://host/events"),
        ("https://host:443/rollcall", "https://host/rollcall/events"),
        ("http://host:443", "http://host:443/events"),
        ("HTTP://host", "http://host/events"),
        ("http://[2001:DB8::1]:8090", "http://[2001:db8::1]:8090/events"),
        ("http://10.1.2.3:8090", "http://10.1.2.3:8090/events"),
    ],
)
def test_different_spellings_of_an_address_give_the_same_url(given: str, url: str) -> None:
    assert checked_url(given, ELSEWHERE) == url
    assert normal_url(url) == url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "http://HOST:PORT"),
        ("host:8090", "http://HOST:PORT"),
        ("10.1.2.3:8090", "http://HOST:PORT"),
        ("//host:8090", "http://HOST:PORT"),
        ("ftp://host:8090", "http://HOST:PORT"),
        ("amqp://host:5672", "http://HOST:PORT"),
        ("http://", "http://HOST:PORT"),
        ("http://:8090", "http://HOST:PORT"),
        ("http:/host:8090", "http://HOST:PORT"),
        ("http://host:0", "port 0"),
        ("http://host:65536", "ort"),
        ("http://host:port", "ort"),
        ("http://[::1", "IPv6"),
        ("http://me:secret@host:8090", "user and password"),
        ("http://host:8090/?a=b", "? or #"),
        ("http://host:8090/#", "? or #"),
        ("http://ho st:8090", "spaces"),
        ("http://host:8090/\x07", "control"),
        ("http://0.0.0.0:8090", "only for listening"),
        ("http://[::]:8090", "only for listening"),
        ("http://127.0.0.1:8090", "ceph.example.org"),
        ("http://127.8.9.1:8090", "ceph.example.org"),
        ("http://localhost:8090", "ceph.example.org"),
        ("http://LOCALHOST:8090", "ceph.example.org"),
        ("http://[::1]:8090", "ceph.example.org"),
        ("http://[::ffff:127.0.0.1]:8090", "ceph.example.org"),
    ],
)
def test_an_address_that_the_store_cannot_use_is_refused(given: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        checked_url(given, ELSEWHERE)
    assert said in str(caught.value)
    assert str(caught.value).startswith("--advertise")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "host"])
def test_a_store_on_this_machine_may_use_loopback(host: str) -> None:
    assert checked_url(f"http://{host}:8090", HERE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.1.2", "[fd00::1]"])
def test_private_addresses_are_refused_for_aws(host: str) -> None:
    with pytest.raises(SettingsError, match="AWS"):
        checked_url(f"http://{host}:8090", AWS)
    assert checked_url("https://rollcall.example.org", AWS)


def test_each_pair_of_bucket_and_address_has_its_own_topic_name() -> None:
    urls = [f"http://{host}:8090/events" for host in ("a", "b")]
    names = {topic_name(bucket, url) for bucket in ("in.a", "in-a", "in_a") for url in urls}
    assert len(names) == 6
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(topic_name("b" * 63, urls[0])) < 100
