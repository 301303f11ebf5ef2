"""A profile for the AWS CLI, and shell commands that use it."""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from rollcall.atomic_files import replace_file
from rollcall.core.settings import Settings

PROFILE = "rollcall"


def aws_commands(settings: Settings, folder: Path) -> list[str]:
    """Write the profile, and return the commands that upload VIDEO.mp4 and fetch its result.

    The first command sets variables that the others need. The two files of the profile are written
    to `folder`, so the user's own AWS configuration stays unchanged.
    """
    config, credentials = folder / "aws-config", folder / "aws-credentials"
    write_private(config, _config(settings))
    write_private(credentials, _credentials(settings))
    options = f"--profile {PROFILE} --endpoint-url {settings.s3_endpoint_url}"
    videos, results = f"s3://{settings.input_bucket}/", f"s3://{settings.output_bucket}/"
    return [
        f"export AWS_CONFIG_FILE={quote(str(config))}"
        f" AWS_SHARED_CREDENTIALS_FILE={quote(str(credentials))}",
        f"aws s3 cp VIDEO.mp4 {videos} {options}",
        f"aws s3 ls {results} {options}",
        f"aws s3 cp {results}VIDEO.csv - {options}",
    ]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, even if it replaces a file with other rights."""
    replace_file(path, text.encode(), mode=0o600)


def _config(settings: Settings) -> str:
    values = {
        "region": settings.aws_region,
        # Older Ceph gateways reject the trailing checksums that the AWS CLI sends by default.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": "\n  addressing_style = path",
    }
    if settings.s3_ca_bundle:
        values["ca_bundle"] = settings.s3_ca_bundle
    return _section(f"profile {PROFILE}", values)


def _credentials(settings: Settings) -> str:
    for_s3 = settings.s3_aws_access_key_id, settings.s3_aws_secret_access_key
    for_all = settings.aws_access_key_id, settings.aws_secret_access_key
    access, secret = for_s3 if for_s3[0] else for_all
    return _section(PROFILE, {"aws_access_key_id": access, "aws_secret_access_key": secret})


def _section(name: str, values: Mapping[str, str]) -> str:
    parser = configparser.RawConfigParser()
    parser[name] = dict(values)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
