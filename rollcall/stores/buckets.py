"""The buckets that an installation needs."""

from __future__ import annotations

from typing import Any

from rollcall.core.settings import Settings
from rollcall.stores.s3 import S3Store


def bucket_names(settings: Settings) -> list[str]:
    """Return the input, output and report buckets without repeats. REPORT_BUCKET may be empty."""
    names = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    return list(dict.fromkeys(filter(None, names)))


def create_buckets(client: Any, settings: Settings) -> None:
    """Create the missing buckets with boto3's S3 client; existing ones stay unchanged."""
    store = S3Store(client)
    for name in bucket_names(settings):
        store.create_bucket(name)
