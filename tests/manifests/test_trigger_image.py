"""The trigger's image without a container engine: its packages suffice, and it comes up."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from manifests.checks import REPOSITORY
from manifests.images import bare_python, copied, install

from devstack.processes import free_port

FOLDER = REPOSITORY / "deploy" / "trigger"
DOCKERFILE = FOLDER / "Dockerfile"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packages")
    install(DOCKERFILE, FOLDER / "requirements-trigger.txt", target)
    return target


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/app of the image: what the Dockerfile copies into it, and nothing else."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copytree(REPOSITORY / "rollcall", folder / "rollcall")
    shutil.copy(REPOSITORY / "trigger_openfaas.py", folder)
    return folder


def test_the_build_context_holds_what_is_copied() -> None:
    """Dockerfile.dockerignore shuts out everything but this."""
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert ignore[0] == "*"
    assert set(copied(DOCKERFILE)) == allowed
    for name in allowed:
        assert (REPOSITORY / name).exists()


def test_it_comes_up_with_these_packages_alone(packages: Path, app: Path, tmp_path: Path) -> None:
    port = free_port()
    python, environment = bare_python(packages)
    environment |= {
        "TRIGGER_LISTEN": f"127.0.0.1:{port}",
        "TRIGGER_TOKEN": "a-token-of-the-trigger",
        "INBOX": str(tmp_path / "inbox.sqlite3"),
        # Nobody listens there: the trigger takes events without its store.
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "S3_AWS_ACCESS_KEY_ID": "key",
        "S3_AWS_SECRET_ACCESS_KEY": "secret",
    }
    process = subprocess.Popen([*python, "trigger_openfaas.py"], cwd=app, env=environment)
    try:
        assert _healthy(f"http://127.0.0.1:{port}/healthz", process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_neither_opencv_nor_dlib_is_in_it(packages: Path) -> None:
    assert not list(packages.glob("cv2*")) + list(packages.glob("*dlib*"))


def _healthy(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(url).status_code == 200
        except httpx.ConnectError:
            time.sleep(0.1)
    return False
