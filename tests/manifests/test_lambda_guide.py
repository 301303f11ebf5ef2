"""The commands in docs/aws-lambda.md are valid shell, and the names in them exist."""

from __future__ import annotations

import re
import subprocess

import pytest
from manifests.checks import REPOSITORY
from manifests.cloudformation import load

from rollcall.core.settings import setting_names

GUIDE = (REPOSITORY / "docs" / "aws-lambda.md").read_text()
TEMPLATE = load(REPOSITORY / "aws_lambda" / "template.yaml")


@pytest.fixture
def commands() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.M | re.S)
    assert len(blocks) > 4
    return "\n".join(blocks)


def test_the_commands_are_valid_shell(commands: str) -> None:
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True)


def test_the_named_files_exist(commands: str) -> None:
    paths = set(re.findall(r"\b(aws_lambda/[\w.]+|\w+\.py)\b", commands + GUIDE))
    generated = {"aws_lambda/gallery.npz"}
    modules = {path.name for path in (REPOSITORY / "devstack").glob("*.py")}
    assert len(paths) > 5
    for path in paths - generated - modules:
        assert (REPOSITORY / path).exists(), path


def test_the_named_parameters_and_outputs_are_in_the_template(commands: str) -> None:
    (given,) = re.findall(r"--parameter-overrides (.+)", commands)
    named = {pair.strip('"').split("=")[0] for pair in given.split()}
    required = {n for n, each in TEMPLATE["Parameters"].items() if "Default" not in each}
    assert required <= named <= TEMPLATE["Parameters"].keys()
    mentioned = set(re.findall(r"`(\w+)=\w+(?:\.npz)?`", GUIDE)) - {"FLOW", "STORE"}
    assert mentioned <= TEMPLATE["Parameters"].keys()
    outputs = set(re.findall(r"OutputKey=='(\w+)'", commands))
    assert outputs
    assert outputs <= TEMPLATE["Outputs"].keys()


def test_the_named_settings_buckets_and_table_exist(commands: str) -> None:
    exported = dict(re.findall(r"\b([A-Z]+_[A-Z_]+)=(\S+)", commands))
    assert exported
    assert exported.keys() <= set(setting_names())
    made = TEMPLATE["Resources"]
    assert made["InputBucket"]["Properties"]["BucketName"] == {"Fn::Sub": "${Prefix}-input"}
    names = {
        each["Properties"].get("BucketName", each["Properties"].get("TableName"))["Fn::Sub"]
        for each in made.values()
        if each["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
    }
    for suffix in re.findall(r"\$PREFIX-(\w+)", commands):
        assert "${Prefix}-" + suffix in names
    (removed,) = re.findall(r"for bucket in ([\w ]+);", commands)
    assert {f"${{Prefix}}-{word}" for word in removed.split()} | {"${Prefix}-students"} == names
