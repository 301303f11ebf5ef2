"""Signatures of webhook messages, checked with the library that Standard Webhooks publishes."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings, parse_settings
from rollcall.core.webhook_signature import parse_secrets, signed_headers

URL = "https://receiver.example/hooks/rollcall/"


def secret(length: int = 32, fill: bytes = b"k") -> str:
    return "whsec_" + base64.b64encode(fill * length).decode()


OLD, NEW = secret(24, b"o"), secret(64, b"n")


def test_the_example_of_the_specification_s_libraries_is_reproduced() -> None:
    """The values of the test suites in github.com/standard-webhooks/standard-webhooks."""
    keys = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(key=st.binary(min_size=24, max_size=64), text=st.text())
def test_the_published_library_accepts_every_signature(key: bytes, text: str) -> None:
    body = text.encode()
    headers = signed_headers([key], "msg_1", int(time.time()), body)
    receiver = Webhook("whsec_" + base64.b64encode(key).decode())
    receiver.verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(body + b"x", headers)


@pytest.mark.parametrize("separator", [",", " ", ", "])
def test_receivers_with_either_secret_accept_a_message_during_a_change(separator: str) -> None:
    keys = parse_secrets(f"{NEW}{separator}{OLD}")
    headers = signed_headers(keys, "msg_1", int(time.time()), b"{}")
    for known in (OLD, NEW):
        Webhook(known).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(fill=b"x")).verify(b"{}", headers)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp"])
def test_id_and_time_are_signed_too(changed: str) -> None:
    headers = signed_headers(parse_secrets(NEW), "msg_1", int(time.time()), b"{}")
    later = {"webhook-id": "msg_2", "webhook-timestamp": str(int(time.time()) + 5)}
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(b"{}", {**headers, changed: later[changed]})


def test_an_id_cannot_move_the_border_to_the_timestamp() -> None:
    with pytest.raises(ValueError, match="contains a dot"):
        signed_headers(parse_secrets(NEW), "msg.1", 1, b"{}")


def test_padding_may_be_left_out() -> None:
    assert parse_secrets(secret(25).rstrip("=")) == (b"k" * 25,)


WRONG: Sequence[str] = [
    secret().removeprefix("whsec_"),
    "whsec_",
    "whsec_" + "!" * 40,
    "whsec_" + "k" * 41,
    "whsk_" + "k" * 40,
    secret(23),
    secret(65),
    f"{OLD},short",
    f"{OLD} {NEW} {secret()}",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_malformed_secret_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings({"RESULT_WEBHOOK_URL": URL, "RESULT_WEBHOOK_SECRET": wrong})
    assert "RESULT_WEBHOOK_SECRET" in str(caught.value)
    assert wrong == "whsec_" or wrong not in str(caught.value)


def test_a_url_without_a_secret_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"needs RESULT_WEBHOOK_SECRET.*openssl rand"):
        parse_settings({"RESULT_WEBHOOK_URL": URL})


def test_the_command_of_the_message_makes_a_secret() -> None:
    made = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    settings = parse_settings({"RESULT_WEBHOOK_URL": URL, "RESULT_WEBHOOK_SECRET": made})
    assert (settings.result_webhook_url, settings.result_webhook_secret) == (URL, made)
    assert made not in repr(settings)
    assert URL not in repr(settings)


@pytest.mark.parametrize("wrong", ["receiver.example", "ftp://receiver.example", "http://"])
def test_only_http_urls_are_accepted(wrong: str) -> None:
    values = {"RESULT_WEBHOOK_URL": wrong, "RESULT_WEBHOOK_SECRET": NEW}
    with pytest.raises(SettingsError, match="RESULT_WEBHOOK_URL has to be a URL"):
        parse_settings(values)


def test_nothing_is_sent_by_default() -> None:
    assert Settings().result_webhook_url == ""
