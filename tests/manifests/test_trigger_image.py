"""The image of the trigger, checked without a container engine."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from manifests.checks import REPOSITORY
from manifests.images import bare_python, check_context, install
from manifests.kustomize import MANY, MONITORING, ONE, build
from support.old_inbox import write_old_inbox
from support.waiting import wait_until

from devstack.processes import answers, free_port

FOLDER = REPOSITORY / "deploy" / "trigger"
DOCKERFILE = FOLDER / "Dockerfile"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packages")
    install(DOCKERFILE, FOLDER / "requirements-trigger.txt", target)
    return target


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the Dockerfile copies; it stands for /app in the image."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copytree(REPOSITORY / "rollcall", folder / "rollcall")
    shutil.copy(REPOSITORY / "trigger_openfaas.py", folder)
    return folder


def asked_paths() -> set[str]:
    """Return the paths for which Kubernetes and Prometheus ask the trigger."""
    deployments = [each for each in build(ONE, MANY) if each.kind == "Deployment"]
    found = {
        container[probe]["httpGet"]["path"]
        for deployment in deployments
        for container in deployment.spec["template"]["spec"]["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    monitors = [each for each in build(MONITORING) if each.kind == "ServiceMonitor"]
    return found | {endpoint["path"] for each in monitors for endpoint in each.spec["endpoints"]}


def status(port: int, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60).status_code


def test_the_build_context_has_exactly_the_files_that_the_dockerfile_copies() -> None:
    check_context(DOCKERFILE)


def test_the_trigger_starts_with_only_these_packages(
    packages: Path, app: Path, tmp_path: Path
) -> None:
    """Its inbox is of an earlier version, so Alembic has to find the migrations, too."""
    write_old_inbox(tmp_path / "inbox.sqlite3", [])
    port = free_port()
    python, environment = bare_python(packages)
    environment |= {
        "TRIGGER_LISTEN": f"127.0.0.1:{port}",
        "TRIGGER_TOKEN": "a-token-of-the-trigger",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'inbox.sqlite3'}",
        # Nothing listens at this address. The trigger accepts events even if its store is down.
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "S3_AWS_ACCESS_KEY_ID": "key",
        "S3_AWS_SECRET_ACCESS_KEY": "secret",
    }
    process = subprocess.Popen([*python, "trigger_openfaas.py"], cwd=app, env=environment)
    try:
        listens = answers(f"http://127.0.0.1:{port}/healthz")
        wait_until(lambda: process.poll() is not None or listens(), "the trigger to listen")
        assert process.poll() is None
        for path in asked_paths():
            # On a busy machine, the check of a part may need longer than a probe waits.
            wait_until(lambda: status(port, path) == 200, f"200 for {path}")  # noqa: B023
        # People run commands in a pod of the trigger.
        for name in ("status", "replay"):
            command = [*python, "-m", "rollcall", name]
            done = subprocess.run(command, cwd=app, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0


def test_the_image_has_neither_opencv_nor_dlib(packages: Path) -> None:
    assert not list(packages.glob("cv2*")) + list(packages.glob("*dlib*"))
