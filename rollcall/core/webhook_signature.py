"""Secrets and signatures of webhook messages, as the Standard Webhooks specification describes.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The signed text is `<id>.<timestamp>.<body>`. The header `webhook-signature` has one signature for
each secret, so that receivers with the old secret and receivers with the new one accept a message
while the secret is being replaced.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
MAX_SECRETS = 2
"""The new secret and the old one."""


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The keys of one or two secrets, separated by a comma or by spaces.

    A secret is `whsec_` and the key in base64. Raises ValueError, whose message completes the
    sentence "the setting ...", and which does not contain the secrets.
    """
    secrets = text.replace(",", " ").split()
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"has {len(secrets)} secrets, but may have one, or two during a change")
    return tuple(map(_key, secrets))


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix(PREFIX)
    try:
        # Some programs leave out the padding at the end.
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if encoded == secret or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"has to be {PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes;"
            f' make one with: echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return key


def signed_headers(
    keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The headers of one delivery: id, timestamp, and a signature by each key.

    The id stays the same when a message is delivered again; the timestamp is that of the delivery.
    """
    # A dot in the id could move the border between the id and the timestamp.
    if "." in message_id:
        raise ValueError(f"the message id {message_id!r} contains a dot")
    text = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    digests = (hmac.digest(key, text, "sha256") for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(digest).decode()}" for digest in digests
        ),
    }
