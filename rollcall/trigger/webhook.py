"""The receiver of the messages about results, RESULT_WEBHOOK_URL."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

from rollcall.core.cloud_events import STRUCTURED
from rollcall.core.errors import SettingsError
from rollcall.core.notices import StoredNotice
from rollcall.core.retry import AttemptResult
from rollcall.core.settings import Settings
from rollcall.core.webhook_signature import parse_secrets, signed_headers
from rollcall.http_client import HttpClient, NoAnswer, proxies_for

TIMEOUT_S = 20.0
"""Limit for one delivery. Standard Webhooks recommends 15 to 30 s."""

CONNECTIONS = 2
"""Deliveries at the same time. More would only load the receiver, which may be small."""


class Receiver:
    """The program at RESULT_WEBHOOK_URL."""

    def __init__(
        self, url: str, keys: Sequence[bytes], ca_bundle: str = "", timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url
        self._keys = keys
        self._timeout_s = timeout_s
        self._client = HttpClient(
            connections=CONNECTIONS, ca_bundle=ca_bundle, proxies=proxies_for(url)
        )

    def deliver(self, notice: StoredNotice) -> AttemptResult:
        """Send the message once. Failures, such as a time-out, become results and do not raise."""
        body = notice.body.encode()
        now_s = time.time()
        headers = signed_headers(self._keys, notice.message_id, int(now_s), body)
        headers["Content-Type"] = STRUCTURED
        try:
            answer = self._client.request(
                "POST", self._url, headers, body, timeout_s=self._timeout_s, wants_body=False
            )
        except NoAnswer as error:
            return AttemptResult("retry", "no_answer", str(error))
        return read_status(answer.status, answer.headers.get("retry-after", ""), now_s)

    def close(self) -> None:
        self._client.close()


def read_status(status: int, retry_after: str, now_s: float) -> AttemptResult:
    """The result of a delivery that was answered. Only a 2xx status is a success."""
    code = f"http_{status}"
    if 200 <= status < 300:
        return AttemptResult("done", code)
    message = f"the receiver answered {status}"
    if 300 <= status < 400:
        message += "; redirects are not followed, so set RESULT_WEBHOOK_URL to the new address"
    delay_s = _retry_after_s(retry_after, now_s)
    return AttemptResult("retry", code, message, delay_s)


def _retry_after_s(header: str, now_s: float) -> float:
    """The seconds in the header, which may be a number or a date; 0 if it is neither."""
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now_s)
    except (ValueError, OverflowError):
        return 0.0


def build_receiver(settings: Settings) -> Receiver:
    """The receiver that the settings name. Raises SettingsError if its CA cannot be read."""
    bundle = settings.result_webhook_ca_bundle
    if bundle:
        try:
            ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise SettingsError(f"RESULT_WEBHOOK_CA_BUNDLE {bundle!r}: {error}") from error
    keys = parse_secrets(settings.result_webhook_secret)
    return Receiver(settings.result_webhook_url, keys, bundle)
