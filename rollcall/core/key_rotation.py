"""Settings that may hold two secrets, so that a secret can be replaced without an interruption.

Their text is `new,old`. Both secrets are accepted, and the first one is sent.
"""

from __future__ import annotations

from rollcall.core.errors import SettingsError

MAX_SECRETS = 2


def secrets_in(text: str) -> tuple[str, ...]:
    """The secrets in the text of a setting, the newest first; none if the text is empty."""
    return tuple(part for part in map(str.strip, text.split(",")) if part)


def checked_secrets(text: str, min_chars: int, command: str) -> tuple[str, ...]:
    """The secrets in a text, each of which has at least `min_chars` characters.

    Raises SettingsError; its message begins with a verb, and shows no secret. `command` makes a new
    secret.
    """
    secrets = secrets_in(text)
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise SettingsError(
            "has to hold one secret, or two with a comma between them (new,old), not"
            f" {len(secrets)}"
        )
    for secret in secrets:
        if len(secret) < min_chars:
            raise SettingsError(
                f"has to be at least {min_chars} characters long, not {len(secret)}; make one"
                f" with: {command}"
            )
    return secrets
