"""The lifecycle rules that docs/security.md recommends, in deploy/lifecycle/."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from support.needs import REPOSITORY
from support.settings import embedded_settings

from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

FOLDER = REPOSITORY / "deploy" / "lifecycle"


def rules(kind: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{kind}.json").read_text())
    return document


@pytest.mark.parametrize("kind", ["videos", "reports"])
def test_a_store_accepts_the_rules(moto_url: str, kind: str) -> None:
    client, bucket = s3_client(embedded_settings(moto_url)), f"kept-{uuid.uuid4().hex[:8]}"
    S3Store(client).create_bucket(bucket)
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules(kind))
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules(kind)["Rules"]


def test_the_guide_names_the_days_and_the_files() -> None:
    guide = (REPOSITORY / "docs" / "security.md").read_text()
    told = [int(days) for days in re.findall(r"after (\d+)(?: days|, old)", guide)]
    (videos,), (reports,) = rules("videos")["Rules"], rules("reports")["Rules"]
    assert told[-2:] == [videos["Expiration"]["Days"], reports["Expiration"]["Days"]]
    named = re.findall(r"file://(\S+)", guide)
    assert sorted(named) == sorted(f"deploy/lifecycle/{path.name}" for path in FOLDER.iterdir())
