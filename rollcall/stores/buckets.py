"""The buckets that an installation needs."""

from __future__ import annotations

from typing import Any

from rollcall.core.errors import SettingsError, StoreMisconfigured
from rollcall.core.settings import Settings
from rollcall.stores.boto import refusal_code
from rollcall.stores.s3 import S3Store


def bucket_names(settings: Settings) -> list[str]:
    """Return the input, output and report buckets without repeats. REPORT_BUCKET may be empty."""
    names = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    return list(dict.fromkeys(filter(None, names)))


def present_buckets(store: S3Store, settings: Settings) -> list[str]:
    """Return the same names without the report bucket if it does not exist.

    An installation that never wrote reports may have none.
    """
    names = bucket_names(settings)
    if settings.report_bucket and not has_bucket(store, settings.report_bucket):
        names.remove(settings.report_bucket)
    return names


def has_bucket(store: S3Store, name: str) -> bool:
    """Return whether the bucket exists. Raises the store's other errors."""
    try:
        next(iter(store.list_objects(name)), None)
    except StoreMisconfigured as error:
        if refusal_code(error) == "NoSuchBucket":
            return False
        raise
    return True


def create_buckets(client: Any, settings: Settings) -> None:
    """Create the missing buckets with boto3's S3 client; existing ones stay unchanged.

    Raises SettingsError if the store refuses the report bucket, which is often a default name that
    somebody else has.
    """
    store = S3Store(client)
    for name in bucket_names(settings):
        try:
            store.create_bucket(name)
        except StoreMisconfigured as error:
            if name != settings.report_bucket:
                raise
            raise SettingsError(
                f"REPORT_BUCKET: {error}; set REPORT_BUCKET to another name, or to an empty text,"
                " which switches reports off"
            ) from error
