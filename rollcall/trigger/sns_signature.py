"""Checks the signatures of SNS messages.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from rollcall.core.errors import BadEvent

_SIGNED = (
    "Message",
    "MessageId",
    "Subject",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
"""The signed fields in the order in which they are signed. A notification has no SubscribeURL and
no Token, and may have no Subject."""

_NOTIFICATION = frozenset(_SIGNED) - {"SubscribeURL", "Token"}
_CONFIRMATION = frozenset(_SIGNED) - {"Subject"}
# Topics use version 1 (SHA-1) unless they are configured for version 2.
_HASHES = {"1": SHA1, "2": SHA256}
_CERTIFICATE_URL = re.compile(
    r"https://sns\.([a-z0-9-]{1,40})\.amazonaws\.com(?:\.cn)?/[\w.-]{1,200}\.pem", re.A
)
MAX_CERTIFICATES = 16
"""Limit on cached certificates. AWS uses only a few at a time."""

Fetch = Callable[[str], bytes]
"""Downloads the certificate at a URL of AWS. Raises TransientError or BadEvent."""


class SnsSignatures:
    """Checks messages against the certificates of AWS, and caches the certificates."""

    def __init__(
        self, fetch: Fetch, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[str, Certificate] = {}

    def check(self, message: Mapping[str, Any]) -> None:
        """Check that AWS signed the message.

        Raises BadEvent if it did not, and TransientError if the certificate cannot be fetched now.
        """
        algorithm = _HASHES.get(str(message.get("SignatureVersion")))
        if algorithm is None:
            raise BadEvent("the SNS message's SignatureVersion is neither 1 nor 2")
        signed, signature = _signed_text(message), _signature(message)
        key = self._certificate(_certificate_url(message)).public_key()
        if not isinstance(key, RSAPublicKey):
            raise BadEvent("the SNS message's certificate has no RSA key")
        try:
            key.verify(signature, signed, PKCS1v15(), algorithm())
        except InvalidSignature as error:
            raise BadEvent("the SNS message's signature is wrong") from error

    def _certificate(self, url: str) -> Certificate:
        with self._lock:
            certificate = self._cache.get(url)
        if certificate is None:
            certificate = _parse_certificate(self._fetch(url))
            with self._lock:
                if len(self._cache) >= MAX_CERTIFICATES:
                    self._cache.clear()
                self._cache[url] = certificate
        if not certificate.not_valid_before_utc <= self._clock() <= certificate.not_valid_after_utc:
            raise BadEvent("the SNS message's certificate has expired or is not valid yet")
        return certificate


def _certificate_url(message: Mapping[str, Any]) -> str:
    """The URL of the certificate. Raises BadEvent unless it is of SNS in the topic's region."""
    # The message is not verified yet, so the URL may be forged. The URL decides both what we
    # download and whose signature we accept.
    url = message.get("SigningCertURL")
    found = _CERTIFICATE_URL.fullmatch(url) if isinstance(url, str) else None
    if found is None or [found[1]] != str(message.get("TopicArn")).split(":")[3:4]:
        raise BadEvent(
            "the SNS message's certificate is not at an address of SNS in the topic's region"
        )
    return found[0]


def _signed_text(message: Mapping[str, Any]) -> bytes:
    signed = _NOTIFICATION if message.get("Type") == "Notification" else _CONFIRMATION
    names = [name for name in _SIGNED if name in signed and name in message]
    if not (signed - {"Subject"}) <= set(names):
        raise BadEvent("the SNS message lacks a field that is part of its signature")
    values = [message[name] for name in names]
    if not all(isinstance(value, str) for value in values):
        raise BadEvent("the SNS message's fields have to be strings")
    pairs = zip(names, values, strict=True)
    return "".join(f"{name}\n{value}\n" for name, value in pairs).encode(errors="surrogatepass")


def _signature(message: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(message.get("Signature", ""), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadEvent("the SNS message's signature is not base64") from error


def _parse_certificate(pem: bytes) -> Certificate:
    try:
        return load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadEvent("the SNS message's certificate cannot be read") from error
