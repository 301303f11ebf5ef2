"""The checks of the manifests and stack files find deliberate mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from manifests import names, policies
from manifests.checks import (
    REPOSITORY,
    Document,
    Schemas,
    core_problems,
    lifecycle_rules,
    load,
    parse,
    rook_problems,
)
from manifests.kustomize import DATABASE, MANY, MONITORING, ONE, build
from manifests.names import Manifests
from manifests.operators import operator_problems
from manifests.stack import seconds, shutdown_problems, stack_problems, timeout_problems
from manifests.trigger import trigger_problems

from rollcall.core.settings import Settings
from rollcall.function.shutdown import LINGER_S

Change = Callable[[dict[str, Any]], object]


CEPH = load(REPOSITORY / "ceph")


@pytest.fixture
def documents() -> list[Document]:
    """The resources of an installation with one trigger."""
    return copy.deepcopy(CEPH + build(ONE))


@pytest.fixture
def shared() -> list[Document]:
    """The resources of an installation with many triggers on PostgreSQL, and monitoring."""
    return copy.deepcopy(CEPH + build(MANY, DATABASE, MONITORING))


@pytest.fixture
def both(documents: list[Document], shared: list[Document]) -> list[list[Document]]:
    """Both installations. A kind that only one of them has is changed in that one."""
    return [documents, shared]


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
        if _ours(document):
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
        chosen = [each for each in documents if each.kind == kind and _ours(each)]
        # Only the first claim, which has the notification, but all documents of other kinds.
        for document in chosen[:1] if kind == "ObjectBucketClaim" else chosen:
            _set(document.body, change)
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
    _set(claim.body, change)
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
    _set(cluster.body, {"spec.cephVersion.image": image})
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
    (trigger,) = (each for each in documents if each.kind == "Deployment" and _ours(each))
    _set(trigger.body, change)
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
        (trigger,) = (each for each in documents if each.kind == "Deployment" and _ours(each))
        assert not list(trigger_problems(Manifests(documents), trigger))
        (container,) = trigger.spec["template"]["spec"]["containers"]
        next(item for item in container["env"] if item["name"] == name).update(change)
        assert list(trigger_problems(Manifests(documents), trigger))


SPREAD = "spec.template.spec.topologySpreadConstraints"
CONTAINER = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", {"spec.replicas": 1}),
        ("Deployment", {"spec.strategy": {"type": "Recreate"}}),
        ("Deployment", {"spec.strategy.rollingUpdate.maxUnavailable": 1}),
        ("Deployment", {"spec.strategy.rollingUpdate.maxSurge": 0}),
        ("Deployment", {SPREAD: []}),
        ("Deployment", {f"{SPREAD}.0.whenUnsatisfiable": "ScheduleAnyway"}),
        ("Deployment", {f"{SPREAD}.0.maxSkew": 3}),
        ("Deployment", {f"{SPREAD}.1.topologyKey": "kubernetes.io/arch"}),
        ("Deployment", {f"{SPREAD}.1.labelSelector.matchLabels": {"app": "trigger"}}),
        ("Deployment", {f"{CONTAINER}.lifecycle": {}}),
        ("Deployment", {f"{CONTAINER}.lifecycle.preStop.sleep.seconds": 20}),
        ("Deployment", {"spec.template.spec.volumes.0.persistentVolumeClaim": {"claimName": "a"}}),
        ("Deployment", {f"{CONTAINER}.env.0": {"name": "DATABASE_URL", "value": "postgresql://h"}}),
        ("Deployment", {f"{CONTAINER}.env.1.value": "prefer"}),
        ("PodDisruptionBudget", {"spec.maxUnavailable": 3}),
        ("PodDisruptionBudget", {"spec.selector.matchLabels": {"app": "trigger"}}),
        ("PodDisruptionBudget", {"metadata.namespace": "default"}),
    ],
)
def test_a_single_point_of_failure_is_found(
    kind: str, change: dict[str, Any], shared: list[Document]
) -> None:
    (trigger,) = (each for each in shared if each.kind == "Deployment" and _ours(each))
    assert not list(trigger_problems(Manifests(shared), trigger))
    (changed,) = (each for each in shared if each.kind == kind and _ours(each))
    _set(changed.body, change)
    assert list(trigger_problems(Manifests(shared), trigger))


@pytest.mark.parametrize(
    ("check", "kind", "name", "change"),
    [
        (names.deployment_problems, "Cluster", "", {"metadata.name": "database"}),
        (names.deployment_problems, "Cluster", "", {"metadata.namespace": "default"}),
        (
            names.deployment_problems,
            "Deployment",
            "rollcall-trigger",
            {f"{CONTAINER}.env.0.valueFrom.secretKeyRef.key": "url"},
        ),
        (policies.policy_problems, "Cluster", "", {"metadata.name": "database"}),
        (
            policies.policy_problems,
            "NetworkPolicy",
            "rollcall-database",
            {"spec.ingress.0.from.0": {}},
        ),
        (policies.policy_problems, "NetworkPolicy", "rollcall-database", {"spec.ingress": []}),
        (
            policies.policy_problems,
            "NetworkPolicy",
            "rollcall-database",
            {"spec.ingress.1.ports": [{"port": 5432}]},
        ),
        (
            policies.policy_problems,
            "NetworkPolicy",
            "rollcall-database",
            {"spec.ingress.0.ports.0.port": 5433},
        ),
        (
            policies.policy_problems,
            "NetworkPolicy",
            "rollcall-database",
            {"spec.podSelector.matchLabels": {"cnpg.io/cluster": "other"}},
        ),
        (
            policies.egress_problems,
            "NetworkPolicy",
            "rollcall-trigger-database",
            {"spec.egress": []},
        ),
        (
            policies.egress_problems,
            "NetworkPolicy",
            "rollcall-trigger-database",
            {"spec.egress.0.to": [{}]},
        ),
        (
            policies.egress_problems,
            "NetworkPolicy",
            "rollcall-trigger-database",
            {"spec.egress.0.ports.0.port": 6432},
        ),
        (
            policies.egress_problems,
            "NetworkPolicy",
            "rollcall-trigger-database",
            {"metadata.namespace": "default"},
        ),
        (
            policies.egress_problems,
            "NetworkPolicy",
            "rollcall-trigger-database",
            {"spec.policyTypes": ["Ingress"]},
        ),
    ],
)
def test_a_database_that_cannot_be_reached_is_found(
    check: names.Check, kind: str, name: str, change: dict[str, Any], shared: list[Document]
) -> None:
    assert not list(check(Manifests(shared)))
    (changed,) = (each for each in shared if each.kind == kind and name in ("", each.name))
    _set(changed.body, change)
    assert list(check(Manifests(shared)))


SYNCHRONOUS = "spec.postgresql.synchronous"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Cluster", {f"{SYNCHRONOUS}.dataDurability": "preferred"}),
        ("Cluster", {f"{SYNCHRONOUS}.dataDurability": "always"}),
        ("Cluster", {f"{SYNCHRONOUS}.failoverQuorum": False}),
        ("Cluster", {f"{SYNCHRONOUS}.number": 2}),
        ("Cluster", {f"{SYNCHRONOUS}.standbys": 1}),
        ("Cluster", {"spec.minSyncReplicas": 1}),
        ("Cluster", {"spec.instances": "3"}),
        ("Cluster", {"spec.affinity.podAntiAffinityType": "preferred"}),
        ("Cluster", {"apiVersion": "postgresql.cnpg.io/v2"}),
        ("ServiceMonitor", {"spec.endpoints.0.scheme ": "http"}),
        ("ServiceMonitor", {"spec.endpoints.0.interval": 30}),
        ("ServiceMonitor", {"spec.endpoints": []}),
        ("PrometheusRule", {"spec.groups.0.rules.0.summary": "x"}),
        ("PrometheusRule", {"spec.groups.0.rules.0.for": "5 minutes"}),
        ("PrometheusRule", {"spec.groups.0.rules.0": {"expr": "up"}}),
        ("PrometheusRule", {"spec.groups.0.rules.0.annotations": {"summary": 1}}),
    ],
)
def test_a_wrong_resource_of_an_operator_is_found(
    kind: str, change: dict[str, Any], shared: list[Document]
) -> None:
    (document,) = (each for each in shared if each.kind == kind)
    assert not list(operator_problems(document))
    _set(document.body, change)
    assert list(operator_problems(document))


def test_a_policy_that_blocks_the_gateway_in_the_settings_is_found(
    both: list[list[Document]],
) -> None:
    for documents in both:
        (trigger,) = (each for each in documents if each.kind == "Deployment" and _ours(each))
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
    _set(document, change)
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


def _ours(document: Document) -> bool:
    return document.name not in (
        "rook-ceph-tools",
        "rook-ceph-rgw-my-store-external",
        # These have tests of their own.
        "rollcall-trigger-database",
        "rollcall-database",
    )


def _set(body: Any, change: dict[str, Any]) -> None:
    for path, value in change.items():
        *parents, last = (int(part) if part.isdecimal() else part for part in _parts(path))
        target = body
        for part in parents:
            target = target[part]
        target[last] = value


def _parts(path: str) -> Iterator[str]:
    return iter(path.split("."))
