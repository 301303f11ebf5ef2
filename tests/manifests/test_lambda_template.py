"""Check the CloudFormation template with cfn-lint, our own checks and moto's CloudFormation."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from manifests.checks import REPOSITORY
from manifests.cloudformation import function, load, of, problems

PATH = REPOSITORY / "aws_lambda" / "template.yaml"
NOT_CREATED_BY_MOTO = (
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Lambda::Permission",
    "AWS::Lambda::EventInvokeConfig",
)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def template() -> dict[str, Any]:
    return load(PATH)


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_cfn_lint_finds_no_problem() -> None:
    done = lint(PATH)
    assert (done.returncode, done.stdout) == (0, "")


def test_our_checks_find_no_problem(template: dict[str, Any]) -> None:
    assert problems(template) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: of(t, "SQS::Queue")["InputQueue"].update(RedrivePolice={}), "E3002"),
        (lambda t: function(t).update(Timeout=901), "E3717"),
        (lambda t: function(t)["Environment"]["Variables"].update(XY={"Ref": "Nowhere"}), "E1020"),
        (lambda t: t["Resources"].pop("DeadLetterQueue"), "E1010"),
    ],
    ids=["unknown key", "above a limit", "unknown reference", "missing resource"],
)
def test_cfn_lint_finds_a_mistake(
    change: Change, code: str, template: dict[str, Any], tmp_path: Path
) -> None:
    change(template)
    (tmp_path / "broken.json").write_text(json.dumps(template))
    assert code in lint(tmp_path / "broken.json").stdout


def queue(template: dict[str, Any], name: str = "InputQueue") -> dict[str, Any]:
    return of(template, "SQS::Queue")[name]


def mapping(template: dict[str, Any]) -> dict[str, Any]:
    return of(template, "Lambda::EventSourceMapping")["QueueToFunction"]


def invocations(template: dict[str, Any]) -> dict[str, Any]:
    return of(template, "Lambda::EventInvokeConfig")["AsynchronousInvocations"]


def variables(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = function(template)["Environment"]["Variables"]
    return found


def statements(template: dict[str, Any]) -> list[dict[str, Any]]:
    (role,) = of(template, "IAM::Role").values()
    found: list[dict[str, Any]] = role["Policies"][0]["PolicyDocument"]["Statement"]
    return found


def gallery(template: dict[str, Any]) -> dict[str, Any]:
    return of(template, "S3::Bucket")["GalleryBucket"]


def denial(template: dict[str, Any], bucket: str = "Gallery") -> dict[str, Any]:
    policy = of(template, "S3::BucketPolicy")[f"{bucket}BucketPolicy"]
    found: dict[str, Any] = policy["PolicyDocument"]["Statement"][0]
    return found


def old_versions(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = gallery(template)["LifecycleConfiguration"]["Rules"][0]
    return found


WITHOUT_TLS = "GalleryBucket: may be read and written without TLS"
KEPT = "old versions are kept for more than"

MISTAKES: dict[str, tuple[Change, str]] = {
    "telemetry": (lambda t: variables(t).pop("ORT_DISABLE_TELEMETRY"), "reports to Microsoft"),
    "no redrive": (lambda t: queue(t).pop("RedrivePolicy"), "InputQueue: no RedrivePolicy"),
    "no redrive of results": (
        lambda t: queue(t, "ResultQueue").pop("RedrivePolicy"),
        "ResultQueue: no RedrivePolicy",
    ),
    "redrive elsewhere": (
        lambda t: queue(t)["RedrivePolicy"].update(deadLetterTargetArn="arn:x"),
        "InputQueue: no RedrivePolicy to",
    ),
    "one delivery": (lambda t: queue(t)["RedrivePolicy"].update(maxReceiveCount=1), "too few"),
    "default retention": (
        lambda t: queue(t, "DeadLetterQueue").pop("MessageRetentionPeriod"),
        "not kept for 14 days",
    ),
    "visible too soon": (lambda t: queue(t).update(VisibilityTimeout=300), "visible again"),
    "default visibility": (lambda t: queue(t).pop("VisibilityTimeout"), "visible again"),
    "no partial failures": (lambda t: mapping(t).pop("FunctionResponseTypes"), "counts as done"),
    "large batches": (lambda t: mapping(t).update(BatchSize=10), "does not fit into the time-out"),
    "events are dropped": (lambda t: invocations(t).pop("DestinationConfig"), "not retried"),
    "events are not repeated": (
        lambda t: invocations(t).update(MaximumRetryAttempts=0),
        "not retried",
    ),
    "time-out before our limit": (lambda t: function(t).update(Timeout=200), "in this order"),
    "small disk": (lambda t: function(t)["EphemeralStorage"].update(Size=512), "does not fit"),
    "unknown setting": (lambda t: variables(t).update(OUTPUT_BUKET="x"), "OUTPUT_BUKET"),
    "reserved name": (lambda t: variables(t).update(AWS_REGION="x"), "set by Lambda itself"),
    "every resource": (lambda t: statements(t)[1].update(Resource="*"), "on every resource"),
    "every action": (lambda t: statements(t)[1].update(Action="s3:*"), "may do s3:*"),
    "no results": (lambda t: statements(t).pop(2), "may not s3:PutObject"),
    "no dead letters": (
        lambda t: statements(t).pop(6),
        "may not sqs:SendMessage on DeadLetterQueue",
    ),
    "older faces stay": (lambda t: statements(t).pop(3), "may not s3:DeleteObject"),
    "every account invokes": (
        lambda t: of(t, "Lambda::Permission")["InvokePermission"].pop("SourceAccount"),
        "anybody's bucket may invoke",
    ),
    "public": (
        lambda t: of(t, "S3::Bucket")["GalleryBucket"].pop("PublicAccessBlockConfiguration"),
        "GalleryBucket: may be made public",
    ),
    "without TLS": (lambda t: t["Resources"].pop("InputBucketPolicy"), "InputBucket: may be read"),
    "results without TLS": (
        lambda t: t["Resources"].pop("OutputBucketPolicy"),
        "OutputBucket: may be read",
    ),
    "reports without TLS": (
        lambda t: t["Resources"].pop("ReportBucketPolicy"),
        "ReportBucket: may be read",
    ),
    "TLS is not enforced": (lambda t: denial(t).update(Effect="Allow"), WITHOUT_TLS),
    "TLS only for reading": (lambda t: denial(t).update(Action="s3:GetObject"), WITHOUT_TLS),
    "TLS only for the bucket": (lambda t: denial(t)["Resource"].pop(), WITHOUT_TLS),
    "TLS only for objects": (lambda t: denial(t)["Resource"].pop(0), WITHOUT_TLS),
    "TLS of another bucket": (
        lambda t: denial(t).update(Resource=denial(t, "Input")["Resource"]),
        WITHOUT_TLS,
    ),
    "TLS only for some callers": (
        lambda t: denial(t).update(Principal={"Service": "lambda.amazonaws.com"}),
        WITHOUT_TLS,
    ),
    "TLS itself is denied": (
        lambda t: denial(t)["Condition"]["Bool"].update({"aws:SecureTransport": "true"}),
        WITHOUT_TLS,
    ),
    "TLS only while the stack exists": (
        lambda t: t["Resources"]["GalleryBucketPolicy"].pop("DeletionPolicy"),
        WITHOUT_TLS,
    ),
    "no versions": (
        lambda t: gallery(t).pop("VersioningConfiguration"),
        "overwritten gallery is lost",
    ),
    "versions suspended": (
        lambda t: gallery(t)["VersioningConfiguration"].update(Status="Suspended"),
        "overwritten gallery is lost",
    ),
    "versions never expire": (lambda t: gallery(t).pop("LifecycleConfiguration"), KEPT),
    "versions expire after a year": (
        lambda t: old_versions(t)["NoncurrentVersionExpiration"].update(NoncurrentDays=365),
        KEPT,
    ),
    "versions expire only below a prefix": (
        lambda t: old_versions(t).update(Prefix="other/"),
        KEPT,
    ),
    "versions expire by a disabled rule": (
        lambda t: old_versions(t).update(Status="Disabled"),
        KEPT,
    ),
    "the gallery expires": (
        lambda t: old_versions(t).update(ExpirationInDays=30),
        "gallery itself expires",
    ),
    "lost with the stack": (
        lambda t: t["Resources"]["InputBucket"].pop("DeletionPolicy"),
        "InputBucket: is deleted with the stack",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_our_checks_find_a_mistake(name: str, template: dict[str, Any]) -> None:
    change, problem = MISTAKES[name]
    broken = copy.deepcopy(template)
    change(broken)
    found = problems(broken)
    assert [each for each in found if problem in each], found


def test_uploads_notify_the_function_or_the_queue_as_the_flow_requires(
    template: dict[str, Any],
) -> None:
    notified = of(template, "S3::Bucket")["InputBucket"]["NotificationConfiguration"]
    condition, direct, queued = notified["Fn::If"]
    assert condition == "IsDirect"
    event = "s3:ObjectCreated:*"
    function_arn, queue_arn = (
        {"Fn::GetAtt": ["Function", "Arn"]},
        {"Fn::GetAtt": ["InputQueue", "Arn"]},
    )
    assert direct == {"LambdaConfigurations": [{"Event": event, "Function": function_arn}]}
    assert queued == {"QueueConfigurations": [{"Event": event, "Queue": queue_arn}]}


def test_the_worker_may_read_what_the_index_is_made_of(template: dict[str, Any]) -> None:
    """Without the right to list, S3 answers 403 instead of 404 for a missing report."""
    policy = template["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]
    allowed = {each["Sid"]: (each["Action"], each["Resource"]) for each in policy["Statement"]}
    assert allowed["Index"] == ("s3:GetObject", {"Fn::Sub": "${ReportBucket.Arn}/*"})
    action, buckets = allowed["List"]
    assert action == "s3:ListBucket"
    assert {"Fn::GetAtt": ["ReportBucket", "Arn"]} in buckets


@pytest.mark.parametrize(
    ("flow", "own"),
    [
        ("direct", set()),
        ("queue", {"InputQueue", "QueueToFunction"}),
        ("hybrid", {"InputQueue", "ResultQueue", "WorkerPolicy"}),
    ],
)
def test_each_flow_creates_its_resources(
    flow: str, own: set[str], template: dict[str, Any], moto_url: str
) -> None:
    """moto's CloudFormation resolves every reference and condition."""
    cloud = boto3.client(
        "cloudformation",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    name = f"t-{uuid.uuid4().hex[:8]}"
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/rollcall:1"
    values = {"ImageUri": image, "Prefix": name, "Flow": flow, "FunctionName": name}
    cloud.create_stack(
        StackName=name,
        TemplateBody=PATH.read_text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloud.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    found = cloud.describe_stack_resources(StackName=name)["StackResources"]
    made = {each["LogicalResourceId"] for each in found if each.get("PhysicalResourceId")}
    resources = template["Resources"].items()
    wanted = {n: each for n, each in resources if each["Type"] not in NOT_CREATED_BY_MOTO}
    conditional = {n for n, each in wanted.items() if "Condition" in each}
    assert made == (wanted.keys() - conditional) | own
