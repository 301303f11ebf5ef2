"""The times in listings are parsed by a quicker function than botocore's, with the same results."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any

import pytest
from botocore.utils import parse_timestamp
from support.settings import embedded_settings

from rollcall.stores import boto
from rollcall.stores.boto import parse_time, s3_client
from rollcall.stores.s3 import S3Store

TIMES = [
    "2026-11-27T04:00:00.123Z",
    "2026-11-27T04:00:00Z",
    "2026-11-27T04:00:00.123456Z",
    "2026-11-27T04:00:00+02:00",
    "Fri, 27 Nov 2026 04:00:00 GMT",
    "2026-11-27T04:00:0",
    "2026-11-27T99:00:00Z",
    "2026Z",
    "Z",
    "",
    "1795755639",
    1795755639,
    1795755639.25,
]


def outcome(parse: Any, value: object) -> datetime | str:
    try:
        parsed: datetime = parse(value)
    except ValueError:
        return "ValueError"
    return parsed


@pytest.mark.parametrize("value", TIMES, ids=repr)
def test_a_time_is_parsed_as_botocore_parses_it(value: object) -> None:
    assert outcome(parse_time, value) == outcome(parse_timestamp, value)


def test_listings_do_not_need_the_slow_function(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(value: object) -> None:
        raise AssertionError(f"{value!r} was parsed by botocore")

    store, bucket = S3Store(s3_client(embedded_settings(moto_url))), uuid.uuid4().hex
    store.create_bucket(bucket)
    store.write(bucket, "a.mp4", b"1", "video/mp4", {})
    monkeypatch.setattr(boto, "parse_timestamp", refuse)
    (info,) = store.list_objects(bucket)
    assert abs(info.modified_s - time.time()) < 3600
