"""The checks of the overlay `many` and of its operators' resources find deliberate mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from manifests import names, policies
from manifests.checks import Document
from manifests.mutations import change_body, is_ours
from manifests.names import Manifests
from manifests.operators import operator_problems
from manifests.trigger import trigger_problems

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
    (trigger,) = (each for each in shared if each.kind == "Deployment" and is_ours(each))
    assert not list(trigger_problems(Manifests(shared), trigger))
    (changed,) = (each for each in shared if each.kind == kind and is_ours(each))
    change_body(changed.body, change)
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
    change_body(changed.body, change)
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
    change_body(document.body, change)
    assert list(operator_problems(document))
