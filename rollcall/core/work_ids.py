"""The id of a piece of work, which logs, the function's answer, and the result contain."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Form of an id that a caller gives: safe in log lines and in HTTP headers (object metadata)."""

ID_CHARS = 16
"""Length of a derived id in hexadecimal digits. With 64 bits, two of a million ids are practically
never equal."""

GIVEN_ID_PREFIX = "work:"
"""Prefix of the identity of work whose id the caller gave."""


def work_id_of(identity: str) -> str:
    """The work id for an identity (`VideoRef.identity`). All deliveries of an event share it."""
    if identity.startswith(GIVEN_ID_PREFIX):
        return identity.removeprefix(GIVEN_ID_PREFIX)
    return hashlib.sha256(identity.encode()).hexdigest()[:ID_CHARS]


def given_work_id(value: Any) -> str:
    """The id that a caller gave; empty if it has another form."""
    return value if isinstance(value, str) and _FORM.fullmatch(value) else ""
