"""Calls of the function that only the trigger can make: HMAC-SHA256 over time and body.

The gateway's `/function/*` is open to whoever reaches it, so the proof is in the call itself, in
one header: `X-Rollcall-Signature: t=<Unix time>,sha256=<hex>`. What is signed is
`rollcall-call-1\\n<Unix time>\\n<body>`. A call that was listened to can be repeated until it is
MAX_AGE_S old, which recognises the same video once more, and nothing else.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from rollcall.core.errors import CallNotSigned

HEADER = "X-Rollcall-Signature"

MAX_AGE_S = 600
"""Longer than a call may wait for a replica; also the most by which two clocks may differ."""

_FORM = re.compile(r"t=([0-9]{1,12}),sha256=([0-9a-f]{64})")


def signature(key: str, body: bytes, now_s: float) -> str:
    """The header's value."""
    return f"t={int(now_s)},sha256={_digest(key, body, int(now_s))}"


def check_signature(key: str, body: bytes, headers: Mapping[str, str], now_s: float) -> None:
    """Raises CallNotSigned.

    The digest is compared in constant time, and before the timestamp is checked.
    """
    values = [value for name, value in headers.items() if name.lower() == HEADER.lower()]
    found = _FORM.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise CallNotSigned(
            f"the call has no {HEADER}; FUNCTION_HMAC_KEY is set here, so set it for the caller too"
        )
    signed_s = int(found[1])
    if not hmac.compare_digest(found[2], _digest(key, body, signed_s)):
        raise CallNotSigned(f"{HEADER} is wrong; caller and function need one FUNCTION_HMAC_KEY")
    if abs(now_s - signed_s) > MAX_AGE_S:
        raise CallNotSigned(
            f"{HEADER} is {now_s - signed_s:.0f} s old, and {MAX_AGE_S} are allowed;"
            " do the clocks of caller and function agree?"
        )


def _digest(key: str, body: bytes, signed_s: int) -> str:
    text = b"rollcall-call-1\n%d\n%b" % (signed_s, body)
    return hmac.digest(key.encode(), text, "sha256").hex()
