"""A profile for the AWS command line, and the lines that use it."""

from __future__ import annotations

import configparser
import io
import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from rollcall.core.settings import Settings

PROFILE = "rollcall"


def aws_commands(settings: Settings, folder: Path) -> list[str]:
    """Lines for a shell: send VIDEO.mp4, list the results, fetch the one of VIDEO.mp4.

    The profile's two files lie in `folder` then, so nothing of the user's own is touched.
    """
    config, credentials = folder / "aws-config", folder / "aws-credentials"
    write_private(config, _config(settings))
    write_private(credentials, _credentials(settings))
    where = f"--profile {PROFILE} --endpoint-url {settings.s3_endpoint_url}"
    received, results = f"s3://{settings.input_bucket}/", f"s3://{settings.output_bucket}/"
    return [
        f"export AWS_CONFIG_FILE={quote(str(config))}"
        f" AWS_SHARED_CREDENTIALS_FILE={quote(str(credentials))}",
        f"aws s3 cp VIDEO.mp4 {received} {where}",
        f"aws s3 ls {results} {where}",
        f"aws s3 cp {results}VIDEO.csv - {where}",
    ]


def write_private(path: Path, text: str) -> None:
    """Readable by its owner alone, also where a file of that name was there before."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, 0o600)
        file.write(text)


def _config(settings: Settings) -> str:
    """Checksums only where they are asked for: older gateways do not know the trailing ones."""
    values = {
        "region": settings.aws_region,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": "\n  addressing_style = path",
    }
    if settings.s3_ca_bundle:
        values["ca_bundle"] = settings.s3_ca_bundle
    return _section(f"profile {PROFILE}", values)


def _credentials(settings: Settings) -> str:
    own = settings.s3_aws_access_key_id, settings.s3_aws_secret_access_key
    shared = settings.aws_access_key_id, settings.aws_secret_access_key
    access, secret = own if own[0] else shared
    return _section(PROFILE, {"aws_access_key_id": access, "aws_secret_access_key": secret})


def _section(name: str, values: Mapping[str, str]) -> str:
    parser = configparser.RawConfigParser()
    parser[name] = dict(values)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
