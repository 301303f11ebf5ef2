"""Every manifest follows its schema, and the manifests agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifests import names, policies
from manifests.checks import (
    REPOSITORY,
    Document,
    Schemas,
    core_problems,
    is_kustomization,
    is_rook,
    lifecycle_rules,
    load,
    rook_problems,
)
from manifests.kustomize import (
    DATABASE,
    DEPLOY,
    MANY,
    MONITORING,
    ONE,
    WEB_MANY,
    WEB_ONE,
    build,
    unlisted_files,
)
from manifests.names import Manifests
from manifests.operators import is_operators, operator_problems
from manifests.trigger import trigger_problems
from manifests.web import web_problems

CEPH = load(REPOSITORY / "ceph")
ROOK = [document for document in CEPH if is_rook(document)]
KUSTOMIZATIONS = [each for each in load(DEPLOY) if is_kustomization(each)]
BUILT = {"one": [ONE, WEB_ONE], "many": [MANY, WEB_MANY, DATABASE], "monitoring": [MONITORING]}


@pytest.fixture(params=["one", "many"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """All resources of one installation."""
    return Manifests(CEPH + build(*BUILT[request.param]))


@pytest.mark.parametrize("part", ["ceph", *BUILT])
def test_core_resources_follow_the_schemas_of_kubernetes(part: str) -> None:
    documents = CEPH if part == "ceph" else build(*BUILT[part])
    core = [each for each in documents if not is_rook(each) and not is_operators(each)]
    assert core
    assert [problem for document in core for problem in core_problems(document)] == []


@pytest.mark.parametrize("document", ROOK, ids=str)
def test_custom_resources_follow_the_schemas_of_rook(document: Document, schemas: Schemas) -> None:
    assert list(rook_problems(document, schemas)) == []


@pytest.mark.parametrize("part", ["many", "monitoring"])
def test_custom_resources_have_the_fields_of_their_operators(part: str) -> None:
    ours = [document for document in build(*BUILT[part]) if is_operators(document)]
    assert ours
    assert [problem for document in ours for problem in operator_problems(document)] == []


def test_the_manifests_have_the_important_kinds(manifests: Manifests) -> None:
    kinds = {document.kind for document in manifests.documents}
    assert {"CephCluster", "CephBucketTopic", "ObjectBucketClaim", "Deployment"} <= kinds


@pytest.mark.parametrize("document", KUSTOMIZATIONS, ids=lambda each: each.file)
def test_the_kustomization_lists_every_file(document: Document) -> None:
    folder = (REPOSITORY / document.file).parent
    assert list(unlisted_files(document, folder)) == []


@pytest.mark.parametrize(
    "check",
    [
        names.claim_problems,
        names.user_problems,
        names.notification_problems,
        names.topic_problems,
        names.service_problems,
        names.deployment_problems,
        policies.policy_problems,
        policies.egress_problems,
        names.image_problems,
    ],
)
def test_names_agree_across_manifests(check: names.Check, manifests: Manifests) -> None:
    assert list(check(manifests)) == []


def test_claims_contain_the_lifecycle_rules() -> None:
    assert list(names.lifecycle_problems(Manifests(CEPH), lifecycle_rules())) == []


def test_the_settings_of_the_trigger_agree_with_the_manifests(manifests: Manifests) -> None:
    assert list(trigger_problems(manifests, _deployment(manifests, "rollcall-trigger"))) == []


def test_the_settings_of_the_pages_agree_with_the_manifests(manifests: Manifests) -> None:
    assert list(web_problems(manifests, _deployment(manifests, "rollcall-web"))) == []


@pytest.mark.parametrize("name", ["rollcall-trigger", "rollcall-web"])
def test_the_pods_have_no_privileges(manifests: Manifests, name: str) -> None:
    pod = _deployment(manifests, name).spec["template"]["spec"]
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


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(DEPLOY))
)
def test_the_first_comment_of_a_file_has_the_command_that_builds_it(path: Path) -> None:
    """The folder in the command leads to the file: it is its folder, or an overlay above it."""
    comment = re.match(r"(#.*\n)+", path.read_text())
    assert comment is not None
    folders = re.findall(r"^#   kubectl apply -k (\S+)", comment[0], re.M)
    assert folders
    bases = {
        DEPLOY / "trigger" / "base": {ONE, MANY},
        DEPLOY / "web" / "base": {WEB_ONE, WEB_MANY},
    }
    wanted = bases.get(path.parent, {path.parent})
    assert {REPOSITORY / folder for folder in folders} <= wanted


def _deployment(manifests: Manifests, name: str) -> Document:
    found = manifests.find("Deployment", "rollcall", name)
    assert found is not None
    return found
