"""Every manifest follows its schema, and the manifests agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifests import names
from manifests.checks import (
    REPOSITORY,
    Document,
    Schemas,
    core_problems,
    is_kustomization,
    is_rook,
    kustomize_problems,
    lifecycle_rules,
    load,
    rook_problems,
)
from manifests.names import Manifests

TRIGGER = REPOSITORY / "deploy" / "trigger"
DOCUMENTS = load(REPOSITORY / "ceph") + load(TRIGGER)
ROOK = [document for document in DOCUMENTS if is_rook(document)]
CORE = [each for each in DOCUMENTS if not is_rook(each) and not is_kustomization(each)]


@pytest.mark.parametrize("document", CORE, ids=str)
def test_core_resources_follow_the_schemas_of_kubernetes(document: Document) -> None:
    assert list(core_problems(document)) == []


@pytest.mark.parametrize("document", ROOK, ids=str)
def test_custom_resources_follow_the_schemas_of_rook(document: Document, schemas: Schemas) -> None:
    assert list(rook_problems(document, schemas)) == []


def test_the_manifests_have_the_important_kinds() -> None:
    kinds = {document.kind for document in DOCUMENTS}
    assert {"CephCluster", "CephBucketTopic", "ObjectBucketClaim", "Deployment"} <= kinds


def test_the_kustomization_lists_every_file() -> None:
    (kustomization,) = (each for each in DOCUMENTS if is_kustomization(each))
    assert list(kustomize_problems(kustomization, TRIGGER)) == []


@pytest.mark.parametrize(
    "check",
    [
        names.claim_problems,
        names.user_problems,
        names.notification_problems,
        names.topic_problems,
        names.service_problems,
        names.deployment_problems,
        names.policy_problems,
        names.egress_problems,
        names.image_problems,
    ],
)
def test_names_agree_across_manifests(check: names.Check) -> None:
    assert list(check(Manifests(DOCUMENTS))) == []


def test_claims_contain_the_lifecycle_rules() -> None:
    assert list(names.lifecycle_problems(Manifests(DOCUMENTS), lifecycle_rules())) == []


def test_the_settings_of_the_trigger_agree_with_the_manifests() -> None:
    trigger = _trigger()
    assert list(names.trigger_problems(Manifests(DOCUMENTS), trigger)) == []


def test_the_pod_of_the_trigger_has_no_privileges() -> None:
    trigger = _trigger()
    pod = trigger.spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("path", sorted((REPOSITORY / "ceph").glob("*.yaml")), ids=lambda p: p.name)
def test_the_first_comment_of_a_file_has_the_command_that_applies_it(path: Path) -> None:
    name = f"ceph/{path.name}"
    comment = re.match(r"(#.*\n)+", path.read_text())
    assert comment is not None
    assert re.search(rf"#   (kubectl apply -f|sed .*) {name}", comment[0])


def _trigger() -> Document:
    found = Manifests(DOCUMENTS).find("Deployment", "rollcall", "rollcall-trigger")
    assert found is not None
    return found
