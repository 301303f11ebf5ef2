"""The commands in the guides are valid shell, and the files and resources that they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from manifests.checks import REPOSITORY, load
from manifests.kustomize import DATABASE, MANY, MONITORING, WEB_MANY, build
from manifests.names import OTHER_SECRETS, Manifests, allowed_problems
from manifests.stack import seconds

from rollcall.core.settings import PLACEHOLDER

GUIDES = [REPOSITORY / "ceph" / "README.md", REPOSITORY / "docs" / "deploy.md"]
MANIFESTS = Manifests(load(REPOSITORY / "ceph") + build(MANY, WEB_MANY, DATABASE, MONITORING))
OF_OTHER_PROJECTS = frozenset(
    {
        "basic-auth",  # OpenFaaS' chart
        "gateway",
        "face-recognition",  # faas-cli
        "rook-ceph-operator",  # Rook
        "cnpg-controller-manager",  # CloudNativePG
        "rook-ceph-rgw-my-store",
    }
)


@pytest.fixture(params=GUIDES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def commands(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    blocks = re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def test_the_commands_are_valid_shell(commands: str) -> None:
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True)


def test_the_named_files_exist(commands: str) -> None:
    paths = re.findall(r"\s-[fk] ((?:ceph|deploy)/\S+|\S+\.yml)", commands)
    assert paths
    for path in paths:
        assert path.startswith("https://") or (REPOSITORY / path).exists(), path
    for path in re.findall(r"s/CHANGE_ME/\S+ (\S+)", commands):
        assert PLACEHOLDER in (REPOSITORY / path).read_text()


def test_the_named_resources_exist(commands: str) -> None:
    pattern = r"-n (\S+) (?:wait|rollout \w+|port-forward|exec|logs) ([a-z]+)/([\w-]+)"
    named = re.findall(pattern, commands)
    assert named
    for namespace, kind, name in named:
        found = (each for each in MANIFESTS.documents if each.kind.lower() == kind)
        present = (namespace, name) in {(each.namespace, each.name) for each in found}
        assert present or name in OF_OTHER_PROJECTS, f"{namespace} {kind}/{name}"


def test_the_named_secrets_exist(commands: str) -> None:
    claims = {claim.name for claim in MANIFESTS.of("ObjectBucketClaim")}
    known = claims | OF_OTHER_PROJECTS | {name for _, name in OTHER_SECRETS}
    assert set(re.findall(r"get secret (\S+)", commands)) <= known


def test_the_guide_mentions_each_manifest() -> None:
    guide = GUIDES[0].read_text()
    for path in (REPOSITORY / "ceph").glob("*.yaml"):
        assert f"`{path.name}`" in guide


def test_both_guides_have_the_same_steps() -> None:
    """The long guide repeats the steps of the short guide."""
    short, long = (path.read_text() for path in GUIDES)
    pinned = {text: re.findall(r"--branch (v[\d.]+) ", text) for text in (short, long)}
    assert pinned[short] == pinned[long]
    steps = re.search(r"## In this order\n(.*?)\n## Endpoint", short, re.S)
    assert steps is not None
    for line in re.findall(r"^(?:kubectl|sed) .+", steps[1], re.M):
        assert line in long or "secret tls" in line, line


def test_the_operator_allows_the_fields_that_the_claims_use(commands: str) -> None:
    (setting,) = re.findall(r'"ROOK_OBC_ALLOW_ADDITIONAL_CONFIG_FIELDS":"([^"]*)"', commands)
    assert list(allowed_problems(MANIFESTS, setting)) == []
    head = (REPOSITORY / "ceph" / "buckets.yaml").read_text()
    assert f'"ROOK_OBC_ALLOW_ADDITIONAL_CONFIG_FIELDS":"{setting}"' in head


def position(commands: str, pattern: str) -> int:
    """Return the line number of the only command that matches this pattern."""
    (line,) = [n for n, line in enumerate(commands.splitlines()) if re.search(pattern, line)]
    return line


def test_definitions_are_established_before_the_operator_uses_them(commands: str) -> None:
    """operator.yaml holds a Driver and an OperatorConfig; csi-operator.yaml defines these kinds."""
    defined = position(commands, r"apply .*-f \S+/csi-operator\.yaml")
    waited = position(commands, r"wait --for=condition=Established .*crd/drivers\.csi\.ceph\.io")
    used = position(commands, r"apply .*-f \S+/operator\.yaml")
    assert defined < waited < used
    assert "crd/operatorconfigs.csi.ceph.io" in commands.splitlines()[waited]
    ours = position(commands, r"Established crd/cephclusters\.ceph\.rook\.io")
    assert position(commands, r"apply --server-side .*crds\.yaml") < ours < used


def test_the_commands_delete_resources_in_the_right_order(commands: str) -> None:
    """Rook needs the storage class to release a claim, and does not delete a user with buckets."""
    silenced = position(commands, r"label objectbucketclaim input-bucket-video bucket-notif\S+-$")
    notification = position(commands, r"delete -f ceph/notification\.yaml")
    claims = position(commands, r"delete -f ceph/buckets\.yaml")
    waited = position(commands, r"wait objectbucketclaim --all --for=delete")
    storage = position(commands, r"delete -f ceph/storage-class\.yaml")
    assert silenced < notification < claims < waited < storage
    deletions = [line for line in commands.splitlines() if line.startswith("kubectl delete")]
    assert not [each for each in deletions if re.search(r"object-user|namespace", each)]
    assert all(each.count(" -f ") + each.count(" -k ") == 1 for each in deletions)
    for line in deletions[:-1]:
        assert "--timeout=" in line, line


def test_the_removed_label_is_a_label_of_the_claim(commands: str) -> None:
    (name, label) = re.findall(r"label objectbucketclaim (\S+) (\S+)-$", commands, re.M)[0]
    claim = MANIFESTS.find("ObjectBucketClaim", "rollcall", name)
    assert claim is not None
    assert label in claim.body["metadata"]["labels"]


def test_every_wait_has_a_time_out(commands: str) -> None:
    for line in commands.splitlines():
        if " wait " in line or " rollout status " in line:
            (timeout,) = re.findall(r"--timeout=(\w+)", line)
            assert seconds(timeout) >= 60
