"""A fake SNS that signs messages as AWS does, with a certificate made for the test."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509 import CertificateBuilder, Name, NameAttribute, random_serial_number
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:videos"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
NOW = datetime.now(UTC)

_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip


class Signer:
    """A private key and its certificate."""

    def __init__(self, *, until: datetime = NOW + timedelta(days=1)) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.pem = certificate(self.key, until)

    def notification(self, message: str, **fields: str) -> dict[str, Any]:
        document = {
            "Type": "Notification",
            "MessageId": "m-1",
            "TopicArn": TOPIC,
            "Message": message,
            "Timestamp": "2026-11-21T05:04:59.196Z",
            **fields,
        }
        return self.signed(document, _NOTIFICATION)

    def subscription(self, **fields: str) -> dict[str, Any]:
        document = {
            "Type": "SubscriptionConfirmation",
            "MessageId": "m-2",
            "TopicArn": TOPIC,
            "Token": "the-token-of-sns",
            "Message": "You have chosen to subscribe",
            "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
            "Timestamp": "2026-11-21T05:04:59.196Z",
            **fields,
        }
        return self.signed(document, _CONFIRMATION)

    def signed(self, document: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
        version = document.get("SignatureVersion", "1")
        text = "".join(f"{name}\n{document[name]}\n" for name in names if name in document)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.key.sign(text.encode(), PKCS1v15(), algorithm)
        return {
            "SigningCertURL": CERTIFICATE_URL,
            **document,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
        }


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, until: datetime) -> bytes:
    """A self-signed certificate. TLS proves that it comes from AWS."""
    name = Name([NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(random_serial_number())
    builder = builder.not_valid_before(NOW - timedelta(days=2)).not_valid_after(until)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
