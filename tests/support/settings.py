"""Settings for tests."""

from __future__ import annotations

from rollcall.core.settings import Settings, parse_settings

TOKEN = "test-token-of-the-trigger"


def embedded_values(url: str, **overrides: str) -> dict[str, str]:
    """Return settings by name for a store at `url`."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "DYNAMODB_ENDPOINT_URL": url,
        "S3_ENDPOINT_URL": url,
        "TRIGGER_TOKEN": TOKEN,
        **overrides,
    }


def embedded_settings(url: str, **overrides: str) -> Settings:
    return parse_settings(embedded_values(url, **overrides))
