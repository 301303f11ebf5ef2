"""Signatures of the trigger's calls: an HMAC-SHA256 over the time and the body.

Anyone who can reach the gateway can call `/function/*`. So each call has a header that proves that
the call comes from the trigger: `X-Rollcall-Signature: t=<Unix time>,sha256=<hex>`. The signed text
is `rollcall-call-1\\n<Unix time>\\n<body>`.

The key is the setting FUNCTION_HMAC_KEY. If it holds two keys, calls are signed with the first one,
and both are accepted.

A recorded call can be repeated until it is MAX_AGE_S seconds old. The only effect is that the same
video is recognised again.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from rollcall.core.errors import CallNotSigned
from rollcall.core.key_rotation import secrets_in

HEADER = "X-Rollcall-Signature"

MAX_AGE_S = 600
"""Longest time between signing and checking, because calls may wait for a replica, and the clocks
of caller and function may differ."""

_HEADER_FORM = re.compile(r"t=([0-9]{1,12}),sha256=([0-9a-f]{64})")


def signature(key: str, body: bytes, now_s: float) -> str:
    """The value of the header for a call at the Unix time `now_s`."""
    return f"t={int(now_s)},sha256={_digest(secrets_in(key)[0], body, int(now_s))}"


def check_signature(key: str, body: bytes, headers: Mapping[str, str], now_s: float) -> None:
    """Check the signature of a call. Raises CallNotSigned if it is missing, wrong or too old.

    The digest is compared in constant time, and before the timestamp is checked.
    """
    values = [value for name, value in headers.items() if name.lower() == HEADER.lower()]
    match = _HEADER_FORM.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise CallNotSigned(
            f"the call has no valid {HEADER}; the function has a FUNCTION_HMAC_KEY, so set the same"
            " key for the caller"
        )
    signed_s = int(match[1])
    known = (_digest(each, body, signed_s) for each in secrets_in(key))
    if not any(hmac.compare_digest(match[2], digest) for digest in known):
        raise CallNotSigned(
            f"{HEADER} is wrong; set the same FUNCTION_HMAC_KEY for caller and function"
        )
    if abs(now_s - signed_s) > MAX_AGE_S:
        raise CallNotSigned(
            f"{HEADER} is {now_s - signed_s:.0f} s old, and {MAX_AGE_S} s are allowed;"
            " check the clocks of caller and function"
        )


def _digest(key: str, body: bytes, signed_s: int) -> str:
    text = b"rollcall-call-1\n%d\n%b" % (signed_s, body)
    return hmac.digest(key.encode(), text, "sha256").hex()
