"""The checks of the manifests and stack files find deliberate mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from manifests import names, policies
from manifests.checks import (
    REPOSITORY,
    Document,
    Schemas,
    core_problems,
    lifecycle_rules,
    parse,
    rook_problems,
)
from manifests.mutations import change_body, is_ours
from manifests.names import Manifests
from manifests.stack import seconds, shutdown_problems, stack_problems, timeout_problems
from manifests.trigger import trigger_problems

from rollcall.core.settings import Settings
from rollcall.function.shutdown import LINGER_S

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("CephBucketTopic", lambda body: body["spec"].update(persistant=True)),
        ("CephBucketTopic", lambda body: body["spec"]["endpoint"]["http"].update(url="http://x")),
        ("CephBucketTopic", lambda body: body["spec"].update(opaqueData=False)),
        ("CephBucketTopic", lambda body: body["spec"].pop("endpoint")),
        ("CephBucketNotification", lambda body: body["spec"].update(events=["s3:Created"])),
        ("CephBucketNotification", lambda body: body.update(specs={})),
        ("CephObjectStore", lambda body: body["spec"]["gateway"].update(instances="1")),
        ("CephObjectStoreUser", lambda body: body["spec"]["quotas"].update(maxBucket=4)),
        ("CephCluster", lambda body: body["spec"]["mon"].update(count=True)),
        ("ObjectBucketClaim", lambda body: body["spec"].update(bucket="x")),
        ("ObjectBucketClaim", lambda body: body["metadata"].update(label={"a": "b"})),
        ("ObjectBucketClaim", lambda body: body["metadata"].update(labels={"a": False})),
    ],
)
def test_schemas_of_rook_refuse_a_mistake(
    kind: str, change: Change, documents: list[Document], schemas: Schemas
) -> None:
    document = next(each for each in documents if each.kind == kind)
    change(document.body)
    assert list(rook_problems(document, schemas))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", lambda body: body["spec"].update(replica=1)),
        ("Deployment", lambda body: body["spec"]["template"]["spec"].update(serviceaccount="x")),
        ("Service", lambda body: body["spec"]["ports"][0].update(targetport=1)),
        ("NetworkPolicy", lambda body: body["spec"]["ingress"][0].update(form=[])),
        ("StorageClass", lambda body: body.update(kind="StorageClasses")),
        ("PersistentVolumeClaim", lambda body: body.update(apiVersion="v2")),
        ("PodDisruptionBudget", lambda body: body["spec"].update(maxUnavailabe=1)),
        ("ConfigMap", lambda body: body["data"].update(number=1)),
    ],
)
def test_core_schemas_refuse_a_mistake(
    kind: str, change: Change, both: list[list[Document]]
) -> None:
    chosen = [each for documents in both for each in documents if each.kind == kind]
    assert chosen
    for document in chosen:
        assert not list(core_problems(document))
        if is_ours(document):
            change(document.body)
            assert list(core_problems(document))


def test_a_bare_n_is_a_boolean(schemas: Schemas) -> None:
    """kubectl reads it as false, but PyYAML by default as the text "n"."""
    text = (REPOSITORY / "ceph" / "notification.yaml").read_text()
    broken = parse(text.replace("opaqueData: CHANGE_ME", "opaqueData: n"))
    assert [p for document in broken for p in rook_problems(document, schemas)]
    whole = parse(text.replace("opaqueData: CHANGE_ME", "opaqueData: 'n'"))
    assert not [p for document in whole for p in rook_problems(document, schemas)]


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(Exception, match="twice"):
        parse("a: 1\na: 2\n")


@pytest.mark.parametrize(
    ("check", "kind", "change"),
    [
        (names.topic_problems, "CephBucketTopic", {"metadata.name": "rollcall.videos"}),
        (names.topic_problems, "CephBucketTopic", {"spec.persistent": False}),
        (names.topic_problems, "CephBucketTopic", {"spec.objectStoreName": "other"}),
        (names.topic_problems, "CephBucketTopic", {"spec.opaqueData": "0123456789abcdef"}),
        (names.topic_problems, "Service", {"metadata.name": "trigger"}),
        (names.topic_problems, "Service", {"metadata.namespace": "default"}),
        (names.topic_problems, "Service", {"spec.ports": [{"port": 80}]}),
        (names.notification_problems, "CephBucketTopic", {"metadata.namespace": "rook-ceph"}),
        (names.notification_problems, "CephBucketNotification", {"metadata.name": "videos"}),
        (names.notification_problems, "CephBucketNotification", {"spec.topic": "videos"}),
        (names.notification_problems, "CephBucketNotification", {"spec.events": []}),
        (names.notification_problems, "CephBucketNotification", {"spec.filter.tagFilters": []}),
        (
            names.notification_problems,
            "CephBucketNotification",
            {"spec.filter.keyFilters": [{"name": "regex", "value": r".*\.mp4"}]},
        ),
        (
            names.notification_problems,
            "ObjectBucketClaim",
            {"metadata.labels": {"bucket-notification-new-videos": "videos"}},
        ),
        (
            names.notification_problems,
            "ObjectBucketClaim",
            {"metadata.labels": {"bucket-notification-new_videos": "new-videos"}},
        ),
        (names.claim_problems, "StorageClass", {"metadata.name": "other"}),
        (names.claim_problems, "StorageClass", {"provisioner": "ceph.rook.io/bucket"}),
        (names.claim_problems, "CephObjectStoreUser", {"metadata.name": "other"}),
        (names.claim_problems, "ObjectBucketClaim", {"spec.bucketName": "other"}),
        (names.user_problems, "CephObjectStore", {"spec.allowUsersInNamespaces": []}),
        (names.user_problems, "CephObjectStoreUser", {"spec.quotas.maxBuckets": 3}),
        (names.service_problems, "Service", {"spec.selector": {"app": "trigger"}}),
        (names.service_problems, "Service", {"spec.ports": [{"port": 1, "targetPort": 80}]}),
        (names.deployment_problems, "Deployment", {"spec.selector.matchLabels": {"a": "b"}}),
        (names.deployment_problems, "ObjectBucketClaim", {"metadata.name": "input"}),
        (names.deployment_problems, "PersistentVolumeClaim", {"metadata.name": "inbox"}),
        (policies.policy_problems, "NetworkPolicy", {"spec.podSelector.matchLabels": {"a": "b"}}),
        (policies.policy_problems, "CephObjectStore", {"metadata.name": "other"}),
        (policies.egress_problems, "NetworkPolicy", {"spec.policyTypes": ["Ingress"]}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress": []}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress": [{}]}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.0": {}}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.0.to": [{}]}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.0.to.0.podSelector": {}}),
        (
            policies.egress_problems,
            "NetworkPolicy",
            {"spec.egress.0.to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
        ),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.0.ports.0.protocol": "TCP"}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.1.ports": []}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.1.ports.0.port": 80}),
        (policies.egress_problems, "NetworkPolicy", {"spec.egress.2.ports.0.port": 80}),
        (policies.egress_problems, "CephObjectStore", {"metadata.name": "other"}),
        (policies.egress_problems, "CephObjectStore", {"metadata.namespace": "other"}),
    ],
)
def test_names_that_disagree_are_found(
    check: names.Check, kind: str, change: dict[str, Any], both: list[list[Document]]
) -> None:
    found = 0
    for documents in both:
        assert not list(check(Manifests(documents)))
        chosen = [each for each in documents if each.kind == kind and is_ours(each)]
        # Only the first claim, which has the notification, but all documents of other kinds.
        for document in chosen[:1] if kind == "ObjectBucketClaim" else chosen:
            change_body(document.body, change)
        if chosen:
            assert list(check(Manifests(documents)))
            found += 1
    assert found == (1 if kind == "PersistentVolumeClaim" else 2)


RULE = '{"ID": "videos", "Status": "Enabled", "Prefix": "", "Expiration": {"Days": 90}}'
LIFECYCLE = "spec.additionalConfig.bucketLifecycle"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("input-bucket-video", {"spec.additionalConfig": {"bucketOwner": "rollcall"}}),
        ("rollcall-reports", {"spec.additionalConfig": {"bucketOwner": "rollcall"}}),
        ("output-bucket-vid", {LIFECYCLE: f'{{"Rules": [{RULE}]}}'}),
        ("input-bucket-video", {LIFECYCLE: f'{{"Rules": [{RULE}]}}'}),
        ("input-bucket-video", {LIFECYCLE: "{"}),
        ("input-bucket-video", {LIFECYCLE: "[]"}),
        ("input-bucket-video", {LIFECYCLE: {"Rules": []}}),
        ("input-bucket-video", {LIFECYCLE: '{"Rules": []}'}),
    ],
)
def test_wrong_lifecycle_rules_are_found(
    name: str, change: dict[str, Any], documents: list[Document]
) -> None:
    assert not list(names.lifecycle_problems(Manifests(documents), lifecycle_rules()))
    (claim,) = (each for each in documents if (each.kind, each.name) == ("ObjectBucketClaim", name))
    change_body(claim.body, change)
    assert list(names.lifecycle_problems(Manifests(documents), lifecycle_rules()))


@pytest.mark.parametrize(
    ("old", "new"), [('"Prefix": ""', '"Filter": {"Prefix": ""}'), ("90", "9")]
)
def test_rules_that_differ_from_those_of_the_gateway_are_found(
    old: str, new: str, documents: list[Document]
) -> None:
    claim = next(each for each in documents if each.name == "input-bucket-video")
    config = claim.body["spec"]["additionalConfig"]
    config["bucketLifecycle"] = config["bucketLifecycle"].replace(old, new)
    assert list(names.lifecycle_problems(Manifests(documents), lifecycle_rules()))


@pytest.mark.parametrize(
    "setting", ["maxObjects,maxSize", "bucketOwner", "bucketOwner,bucketLifecycle,bucketPolicy"]
)
def test_a_wrong_setting_of_the_operator_is_found(setting: str, documents: list[Document]) -> None:
    assert not list(names.allowed_problems(Manifests(documents), "bucketOwner,bucketLifecycle"))
    assert list(names.allowed_problems(Manifests(documents), setting))


@pytest.mark.parametrize("image", ["quay.io/ceph/ceph:v20", "quay.io/ceph/ceph:v20.2.3"])
def test_another_version_of_ceph_is_found(image: str, documents: list[Document]) -> None:
    cluster = next(each for each in documents if each.kind == "CephCluster")
    change_body(cluster.body, {"spec.cephVersion.image": image})
    assert list(names.image_problems(Manifests(documents)))


@pytest.mark.parametrize(
    "change",
    [
        {"spec.replicas": 2},
        {"spec.strategy.type": "RollingUpdate"},
        {"spec.template.spec.terminationGracePeriodSeconds": 30},
        {"spec.template.spec.securityContext": {"runAsNonRoot": True}},
    ],
)
def test_a_wrong_deployment_of_the_trigger_is_found(
    change: dict[str, Any], documents: list[Document]
) -> None:
    (trigger,) = (each for each in documents if each.kind == "Deployment" and is_ours(each))
    change_body(trigger.body, change)
    assert list(trigger_problems(Manifests(documents), trigger))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("TRIGGER_LISTEN", {"name": "TRIGGER_LISTENS"}),
        ("TRIGGER_LISTEN", {"value": "0.0.0.0:8080"}),
        ("DATABASE_URL", {"value": "sqlite:////var/lib/inbox.sqlite3"}),
        ("DATABASE_URL", {"value": "sqlite:////tmp/inbox.sqlite3"}),
        ("DATABASE_URL", {"value": "sqlite:///var/lib/rollcall/inbox.sqlite3"}),
        ("S3_ENDPOINT_URL", {"value": "http://minio.default:9000"}),
        ("INPUT_BUCKET", {"value": "videos"}),
    ],
)
def test_a_wrong_environment_of_the_trigger_is_found(
    name: str, change: dict[str, str], both: list[list[Document]]
) -> None:
    for documents in both:
        (trigger,) = (each for each in documents if each.kind == "Deployment" and is_ours(each))
        assert not list(trigger_problems(Manifests(documents), trigger))
        (container,) = trigger.spec["template"]["spec"]["containers"]
        next(item for item in container["env"] if item["name"] == name).update(change)
        assert list(trigger_problems(Manifests(documents), trigger))


def test_a_policy_that_blocks_the_gateway_in_the_settings_is_found(
    both: list[list[Document]],
) -> None:
    for documents in both:
        (trigger,) = (each for each in documents if each.kind == "Deployment" and is_ours(each))
        (container,) = trigger.spec["template"]["spec"]["containers"]
        gateway = next(item for item in container["env"] if item["name"] == "OPENFAAS_GATEWAY")
        for address in ("http://gateway.faas.svc.cluster.local:8080", "http://gateway.openfaas:80"):
            gateway["value"] = address
            assert list(policies.egress_problems(Manifests(documents)))


def _stack() -> dict[str, Any]:
    (document,) = parse((REPOSITORY / "project3.yml").read_text())
    return document.body


@pytest.mark.parametrize(
    "change",
    [
        {"funktions": {}},
        {"functions.face-recognition.read_only_root_filesystem": True},
        {"functions.face-recognition.build_args": ["TEST_ENABLED=false"]},
        {"functions.face-recognition.build_args.TEST_ENABLED": False},
        {"functions.face-recognition.environment.SCAN": False},  # written as a bare n
        {"functions.face-recognition.environment.TOLERANZ": "0.5"},
        {"functions.face-recognition.environment.ORT_DISABLE_TELEMETRY": "0"},
        {"functions.face-recognition.environment": {}},
        {"functions.face-recognition.secrets": ["aws-key"]},
        {"functions.face-recognition.limits.mem": "1Gi"},
        {"functions.face-recognition.image": "rollcall:0.1.0"},
        {"configuration.copy": "rollcall"},
        {"provider.network": "x"},
    ],
)
def test_a_wrong_stack_file_is_found(change: dict[str, Any]) -> None:
    document = _stack()
    change_body(document, change)
    assert list(stack_problems(document))


@pytest.mark.parametrize("name", ["exec_timeout", "read_timeout", "write_timeout"])
def test_time_outs_in_the_wrong_order_are_found(name: str) -> None:
    (function,) = _stack()["functions"].values()
    environment = function["environment"]
    caller_s = Settings().function_timeout_s
    assert not list(timeout_problems(environment, 305, caller_s))
    assert list(timeout_problems(environment | {name: "305s"}, 305, caller_s))
    del environment[name]  # the watchdog's default is 30 s
    assert name == "exec_timeout" or list(timeout_problems(environment, 305, caller_s))


def test_a_watchdog_that_stops_after_its_function_is_found() -> None:
    (function,) = _stack()["functions"].values()
    environment = function["environment"]
    assert not list(shutdown_problems(environment, LINGER_S))
    assert list(shutdown_problems(environment | {"healthcheck_interval": "310s"}, LINGER_S))
    del environment["healthcheck_interval"]
    assert list(shutdown_problems(environment, LINGER_S))


def test_durations_are_parsed_into_seconds() -> None:
    assert [seconds(text) for text in ("300s", "5m10s", "1.5h", "20ms")] == [300, 310, 5400, 0.02]
    with pytest.raises(ValueError, match="not a duration"):
        seconds("300")
