"""The images and their pods have only the rights that they need."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from manifests.checks import REPOSITORY, parse
from manifests.kustomize import MANY, ONE, WEB_MANY, WEB_ONE, build
from manifests.stack import TELEMETRY

DOCKERFILES = [
    REPOSITORY / "OpenFaas" / "project3" / "Dockerfile",
    REPOSITORY / "deploy" / "trigger" / "Dockerfile",
    REPOSITORY / "deploy" / "web" / "Dockerfile",
]
STACKS = ("project3.yml", "project3-fast.yml")
SECRET = re.compile(r"(?i)(secret|token|password|hmac|_key)\w*\s*[=:]\s*\S")


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of the last stage, which becomes the image."""
    text = path.read_text().replace("\\\n", " ")
    stage = text[text.rindex("\nFROM ") :]
    found = [line.split(None, 1) for line in stage.splitlines() if re.match(r"[A-Z]+ ", line)]
    return [(name, rest) for name, rest in found]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
class TestImage:
    def test_the_user_is_a_number_and_not_root(self, path: Path) -> None:
        """With `runAsNonRoot`, Kubernetes does not start an image whose user is a name."""
        users = [rest for name, rest in instructions(path) if name == "USER"]
        assert users
        uid, _, gid = users[-1].partition(":")
        assert int(uid) > 0
        assert int(gid) > 0

    def test_nothing_is_installed_or_copied_as_that_user(self, path: Path) -> None:
        names = [name for name, _ in instructions(path)]
        assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])

    def test_the_image_starts_without_a_shell(self, path: Path) -> None:
        commands = [rest for name, rest in instructions(path) if name in ("CMD", "ENTRYPOINT")]
        assert commands
        for command in commands:
            program, *_ = json.loads(command)
            assert program not in ("sh", "bash", "/bin/sh", "/bin/bash")

    def test_the_watchdog_starts_the_function_without_a_shell(self, path: Path) -> None:
        """The watchdog splits the command at spaces."""
        for process in re.findall(r'fprocess="([^"]*)"', path.read_text()):
            assert not re.search(r"[|&;<>$`'\\]", process)

    def test_the_last_stage_runs_no_package_manager_and_no_download(self, path: Path) -> None:
        runs = [rest for name, rest in instructions(path) if name == "RUN"]
        assert not [run for run in runs if re.search(r"\b(apt|apt-get|pip|curl|wget)\b", run)]
        assert not [rest for name, rest in instructions(path) if name == "ADD"]

    def test_no_secret_is_built_in(self, path: Path) -> None:
        given = [rest for name, rest in instructions(path) if name in ("ENV", "ARG")]
        assert not [text for text in given if SECRET.search(text)]


IMAGES = [*DOCKERFILES, REPOSITORY / "aws_lambda" / "Dockerfile"]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_image_disables_the_telemetry_of_onnxruntime(path: Path) -> None:
    """The variable has to be set before the first RUN, because the build imports onnxruntime."""
    steps = instructions(path)
    first_run = [name for name, _ in steps].index("RUN")
    given = " ".join(rest for name, rest in steps[:first_run] if name == "ENV").split()
    assert f"{TELEMETRY}=1" in given


def test_the_unit_of_the_worker_disables_the_telemetry_of_onnxruntime() -> None:
    unit = (REPOSITORY / "openstack" / "rollcall-worker.service").read_text()
    assert f"{TELEMETRY}=1" in " ".join(re.findall(r"^Environment=(.+)$", unit, re.M)).split()


@pytest.mark.parametrize("stack", STACKS)
def test_the_function_has_a_read_only_root_file_system(stack: str) -> None:
    function = _function(stack)
    assert function["readonly_root_filesystem"] is True


@pytest.mark.parametrize("stack", STACKS)
def test_the_function_gets_its_secrets_as_files(stack: str) -> None:
    function = _function(stack)
    assert not [name for name in function["environment"] if SECRET.search(f"{name}=x")]
    assert {"function-hmac-key", "s3-aws-secret-access-key"} <= set(function["secrets"])


@pytest.mark.parametrize("stack", STACKS)
def test_the_function_has_limits_for_cpu_and_memory(stack: str) -> None:
    assert {"cpu", "memory"} <= _function(stack)["limits"].keys()


OVERLAYS = [ONE, MANY, WEB_ONE, WEB_MANY]


@pytest.mark.parametrize(
    "overlay", OVERLAYS, ids=lambda path: f"{path.parent.parent.name}-{path.name}"
)
class TestPod:
    def test_the_deployment_only_references_secrets(self, overlay: Path) -> None:
        for item in _container(overlay)["env"]:
            if SECRET.search(f"{item['name']}=x"):
                assert "secretKeyRef" in item["valueFrom"], item["name"]
            assert not re.search(r"://[^/]*@", item.get("value", "")), item["name"]

    def test_it_writes_only_to_volumes(self, overlay: Path) -> None:
        container = _container(overlay)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {
            each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")
        }
        assert writable == {"/tmp"} | (
            {"/var/lib/rollcall"} if overlay in (ONE, WEB_ONE) else set()
        )

    def test_it_is_probed_and_stopped_without_a_shell(self, overlay: Path) -> None:
        container = _container(overlay)
        hooks = container.get("lifecycle", {})
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert "httpGet" in container[name]
        assert hooks.keys() <= {"preStop"}
        assert all(hook.keys() == {"sleep"} for hook in hooks.values())
        assert "command" not in container


def _function(stack: str) -> dict[str, Any]:
    (document,) = parse((REPOSITORY / stack).read_text(), stack)
    (function,) = document.body["functions"].values()
    return dict(function)


def _container(overlay: Path) -> dict[str, Any]:
    (deployment,) = (each for each in build(overlay) if each.kind == "Deployment")
    (container,) = deployment.spec["template"]["spec"]["containers"]
    return dict(container)
