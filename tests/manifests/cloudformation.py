"""Checks of the CloudFormation template that cfn-lint does not make.

They check that no message is lost, time-outs are in order, rights are minimal, and settings exist.
Every check gets the template as JSON and yields a sentence for each problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cfnlint.decode import decode
from manifests.stack import TELEMETRY

from rollcall.core.keys import FACES_SUFFIX
from rollcall.core.settings import Settings, parse_settings, setting_names

Template = Mapping[str, Any]

STORED_FACES = f"${{ReportBucket.Arn}}/*{FACES_SUFFIX}"

LAST_QUEUE = "DeadLetterQueue"
MIN_DELIVERIES = 3
MAX_DAYS = 30
"""Maximum number of days for which old versions of the gallery may be kept."""

VISIBILITY_FACTOR = 6
"""Minimum ratio of a message's visibility time-out to the function's time-out ("Using Lambda with
Amazon SQS", Developer Guide)."""


def load(path: Path) -> dict[str, Any]:
    template, problems = decode(str(path))
    assert not problems, problems
    return dict(json.loads(json.dumps(template)))


def problems(template: Template) -> list[str]:
    """Return the problems that all checks find."""
    checks = (queue_problems, event_problems, time_problems, right_problems, setting_problems)
    kept = [*bucket_problems(template), *version_problems(template), *send_problems(template)]
    return [each for check in checks for each in check(template)] + kept


def of(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of the resources of this type by resource name."""
    resources = template["Resources"].items()
    return {name: each["Properties"] for name, each in resources if each["Type"] == f"AWS::{kind}"}


def function(template: Template) -> dict[str, Any]:
    (properties,) = of(template, "Lambda::Function").values()
    return properties


def queue_problems(template: Template) -> Iterator[str]:
    """Check that queues keep messages for 14 days and move failed ones to the dead-letter queue."""
    for name, queue in of(template, "SQS::Queue").items():
        if queue.get("MessageRetentionPeriod") != 1209600:
            yield f"{name}: messages are not kept for 14 days"
        redrive = queue.get("RedrivePolicy")
        if name == LAST_QUEUE:
            continue
        if not redrive or redrive["deadLetterTargetArn"] != {"Fn::GetAtt": [LAST_QUEUE, "Arn"]}:
            yield f"{name}: no RedrivePolicy to {LAST_QUEUE}"
        elif min(_numbers(redrive["maxReceiveCount"])) < MIN_DELIVERIES:
            yield f"{name}: dead after too few deliveries"


def event_problems(template: Template) -> Iterator[str]:
    """Check that failed messages of a batch and failed asynchronous calls are retried and kept."""
    for name, mapping in of(template, "Lambda::EventSourceMapping").items():
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: without ReportBatchItemFailures every message counts as done"
    configured = [
        each
        for each in of(template, "Lambda::EventInvokeConfig").values()
        if each.get("MaximumRetryAttempts") == 2
        and each.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        == {"Fn::GetAtt": [LAST_QUEUE, "Arn"]}
    ]
    if not configured:
        yield "failed asynchronous invocations are not retried and then kept"


def time_problems(template: Template) -> Iterator[str]:
    """Check that all time-outs are in order, and that the largest video fits on the disk."""
    properties = function(template)
    values = properties["Environment"]["Variables"]
    timeout_s, max_s = int(properties["Timeout"]), float(values["MAX_CALL_S"])
    for name, mapping in of(template, "Lambda::EventSourceMapping").items():
        if not int(mapping["BatchSize"]) * max_s < timeout_s:
            yield f"{name}: a batch of calls of MAX_CALL_S does not fit into the time-out"
    visibility_s = of(template, "SQS::Queue")["InputQueue"].get("VisibilityTimeout", 30)
    if visibility_s < VISIBILITY_FACTOR * timeout_s:
        yield f"InputQueue: messages are visible again before {VISIBILITY_FACTOR} x {timeout_s} s"
    if not max_s < timeout_s < Settings().function_timeout_s:
        yield "MAX_CALL_S, Timeout and FUNCTION_TIMEOUT_S are not in this order"
    if properties["EphemeralStorage"]["Size"] << 20 <= int(values["MAX_VIDEO_BYTES"]):
        yield "the largest video does not fit into EphemeralStorage"


def right_problems(template: Template) -> Iterator[str]:
    """Check that no policy grants all actions or covers all resources."""
    for where, statement in _statements(template):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            if "*" in action:
                yield f"{where}: may do {action}"
        resources = statement.get("Resource", [])
        for resource in resources if isinstance(resources, list) else [resources]:
            if resource == "*" or resource == {"Fn::Sub": "*"}:
                yield f"{where}: on every resource"
    for name, permission in of(template, "Lambda::Permission").items():
        if not {"SourceArn", "SourceAccount"} <= permission.keys():
            yield f"{name}: anybody's bucket may invoke the function"
    for name, policy in of(template, "SQS::QueuePolicy").items():
        if "aws:SourceAccount" not in json.dumps(policy):
            yield f"{name}: anybody's bucket may send messages"


def send_problems(template: Template) -> Iterator[str]:
    """Check that the role may do everything that the function and Lambda do with it."""
    (role,) = of(template, "IAM::Role").values()
    given = json.dumps([each["PolicyDocument"] for each in role["Policies"]])
    wanted = {
        "sqs:SendMessage": [LAST_QUEUE, "ResultQueue"],
        "s3:PutObject": ["${OutputBucket.Arn}/*", "${ReportBucket.Arn}/*"],
        "s3:GetObject": ["${Prefix}-input/*", "${GalleryBucket.Arn}", STORED_FACES],
        "s3:ListBucket": ["${Prefix}-input"],
        "s3:DeleteObject": [STORED_FACES],
        "dynamodb:GetItem": ["StudentTable"],
        "dynamodb:DescribeTable": ["StudentTable"],
        "sqs:DeleteMessage": ["InputQueue"],
        "logs:PutLogEvents": ["/aws/lambda/${FunctionName}"],
    }
    for action, resources in wanted.items():
        for resource in [*resources, action]:
            if resource not in given:
                yield f"Role: may not {action} on {resource}"


def setting_problems(template: Template) -> Iterator[str]:
    """Check that every variable is a setting, and that none has a name that Lambda itself sets."""
    values = function(template)["Environment"]["Variables"]
    if values.get(TELEMETRY) != "1":
        yield f"the function: {TELEMETRY} is not 1, so onnxruntime reports to Microsoft"
    for name in values.keys() - {TELEMETRY, *setting_names()}:
        yield f"{name} is not a setting"
    for name in values:
        if name.startswith("AWS_"):
            yield f"{name} is set by Lambda itself"
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    parse_settings({name: texts[name] for name in texts.keys() & set(setting_names())})


def bucket_problems(template: Template) -> Iterator[str]:
    for name, bucket in of(template, "S3::Bucket").items():
        block = bucket.get("PublicAccessBlockConfiguration", {})
        if list(block.values()) != [True] * 4:
            yield f"{name}: may be made public"
        if template["Resources"][name].get("DeletionPolicy") != "Retain":
            yield f"{name}: is deleted with the stack"
        if not any(
            _refuses_http(template, policy, name) for policy in _policies_of(template, name)
        ):
            yield f"{name}: may be read and written without TLS"


def version_problems(template: Template) -> Iterator[str]:
    """Check that old versions of the gallery are kept, but at most for MAX_DAYS.

    They may contain people who have been removed.
    """
    gallery = of(template, "S3::Bucket")["GalleryBucket"]
    if gallery.get("VersioningConfiguration") != {"Status": "Enabled"}:
        yield "GalleryBucket: an overwritten gallery is lost"
    rules = gallery.get("LifecycleConfiguration", {}).get("Rules", [])
    days = [
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if rule["Status"] == "Enabled"
        and rule.keys().isdisjoint({"Prefix", "TagFilters", "ObjectSizeGreaterThan"})
        and "NoncurrentVersionExpiration" in rule
    ]
    if not days or min(days) > MAX_DAYS:
        yield f"GalleryBucket: old versions are kept for more than {MAX_DAYS} days"
    if any(rule.keys() & {"ExpirationInDays", "ExpirationDate"} for rule in rules):
        yield "GalleryBucket: the gallery itself expires"


def _policies_of(template: Template, bucket: str) -> list[str]:
    policies = of(template, "S3::BucketPolicy").items()
    return [name for name, policy in policies if policy["Bucket"] == {"Ref": bucket}]


def _refuses_http(template: Template, policy: str, bucket: str) -> bool:
    """Return whether a policy denies all access without TLS to the bucket and its objects."""
    arn = {"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}
    kept = template["Resources"][policy].get("DeletionPolicy") == "Retain"
    return kept and any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and statement.get("Action") == "s3:*"
        and all(each in statement.get("Resource", []) for each in arn)
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in template["Resources"][policy]["Properties"]["PolicyDocument"]["Statement"]
    )


def _statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the statements of roles and managed policies, each with its name."""
    found = [
        (name, each["PolicyDocument"])
        for name, role in of(template, "IAM::Role").items()
        for each in role["Policies"]
    ]
    policies = of(template, "IAM::ManagedPolicy").items()
    found += [(name, policy["PolicyDocument"]) for name, policy in policies]
    for name, document in found:
        for statement in document["Statement"]:
            real = statement["Fn::If"][1] if "Fn::If" in statement else statement
            yield f"{name}.{real['Sid']}", real


def _numbers(value: Any) -> list[int]:
    """Return the possible values of a number that may depend on a condition."""
    return [int(each) for each in value["Fn::If"][1:]] if isinstance(value, dict) else [int(value)]
