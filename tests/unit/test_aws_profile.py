"""The AWS profile that `rollcall up` writes, and the commands that it prints."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

from devstack.aws_profile import aws_commands, write_private
from rollcall.core.settings import parse_settings


def read(path: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read(path)
    return parser


def test_the_profile_has_the_keys_and_the_certificate_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    keys = {"S3_AWS_ACCESS_KEY_ID": "store", "S3_AWS_SECRET_ACCESS_KEY": "of-store%1"}
    tables = {"AWS_ACCESS_KEY_ID": "table", "AWS_SECRET_ACCESS_KEY": "of-table"}
    place = {"S3_ENDPOINT_URL": "https://gateway:8443", "S3_CA_BUNDLE": "/ca.pem"}

    export, upload, *_ = aws_commands(parse_settings({**keys, **tables, **place}), folder)

    files = dict(word.split("=", 1) for word in shlex.split(export)[1:])
    credentials = read(files["AWS_SHARED_CREDENTIALS_FILE"])["rollcall"]
    assert credentials["aws_access_key_id"] == "store"
    assert credentials["aws_secret_access_key"] == "of-store%1"
    config = read(files["AWS_CONFIG_FILE"])["profile rollcall"]
    assert config["ca_bundle"] == "/ca.pem"
    assert config["region"] == "us-east-1"
    assert upload == (
        "aws s3 cp VIDEO.mp4 s3://input-bucket-video/"
        " --profile rollcall --endpoint-url https://gateway:8443"
    )


def test_the_keys_of_dynamodb_are_used_if_the_store_has_no_keys(tmp_path: Path) -> None:
    tables = {"AWS_ACCESS_KEY_ID": "table", "AWS_SECRET_ACCESS_KEY": "of-table"}

    aws_commands(parse_settings(tables), tmp_path)

    assert read(str(tmp_path / "aws-credentials"))["rollcall"]["aws_access_key_id"] == "table"


def test_a_replaced_file_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "aws-credentials"
    path.write_text("an earlier text, which is longer")
    path.chmod(0o644)

    write_private(path, "secret")

    assert path.read_text() == "secret"
    assert path.stat().st_mode & 0o777 == 0o600
