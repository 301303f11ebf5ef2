"""The commands in the guides: they parse, and what they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from manifests.checks import REPOSITORY, load
from manifests.names import OTHER_SECRETS, Manifests
from manifests.stack import seconds

from rollcall.core.settings import PLACEHOLDER

GUIDES = [REPOSITORY / "ceph" / "README.md", REPOSITORY / "docs" / "deploy.md"]
MANIFESTS = Manifests(load(REPOSITORY / "ceph") + load(REPOSITORY / "deploy"))
OF_OTHERS = frozenset(
    {
        "basic-auth",  # OpenFaaS' chart
        "gateway",
        "face-recognition",  # faas-cli
        "rook-ceph-operator",  # Rook
        "rook-ceph-rgw-my-store",
    }
)


@pytest.fixture(params=GUIDES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def commands(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    blocks = re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def test_the_shell_can_read_them(commands: str) -> None:
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True)


def test_files_exist(commands: str) -> None:
    paths = re.findall(r"\s-[fk] ((?:ceph|deploy)/\S+|\S+\.yml)", commands)
    assert paths
    for path in paths:
        assert path.startswith("https://") or (REPOSITORY / path).exists(), path
    for path in re.findall(r"s/CHANGE_ME/\S+ (\S+)", commands):
        assert PLACEHOLDER in (REPOSITORY / path).read_text()


def test_resources_exist(commands: str) -> None:
    pattern = r"-n (\S+) (?:wait|rollout \w+|port-forward|exec|logs) ([a-z]+)/([\w-]+)"
    named = re.findall(pattern, commands)
    assert named
    for namespace, kind, name in named:
        found = (each for each in MANIFESTS.documents if each.kind.lower() == kind)
        present = (namespace, name) in {(each.namespace, each.name) for each in found}
        assert present or name in OF_OTHERS, f"{namespace} {kind}/{name}"


def test_secrets_exist(commands: str) -> None:
    claims = {claim.name for claim in MANIFESTS.of("ObjectBucketClaim")}
    known = claims | OF_OTHERS | {name for _, name in OTHER_SECRETS}
    assert set(re.findall(r"get secret (\S+)", commands)) <= known


def test_each_manifest_has_its_place() -> None:
    guide = GUIDES[0].read_text()
    for path in (REPOSITORY / "ceph").glob("*.yaml"):
        assert f"`{path.name}`" in guide


def test_both_guides_do_the_same() -> None:
    """The long guide repeats the short one's steps; they may not drift apart."""
    short, long = (path.read_text() for path in GUIDES)
    pinned = {text: re.findall(r"--branch (v[\d.]+) ", text) for text in (short, long)}
    assert pinned[short] == pinned[long]
    steps = re.search(r"## In this order\n(.*?)\n## Endpoint", short, re.S)
    assert steps is not None
    for line in re.findall(r"^(?:kubectl|sed) .+", steps[1], re.M):
        assert line in long or "secret tls" in line, line


def test_waits_have_a_limit(commands: str) -> None:
    for line in commands.splitlines():
        if " wait " in line or " rollout status " in line:
            (timeout,) = re.findall(r"--timeout=(\w+)", line)
            assert seconds(timeout) >= 60
