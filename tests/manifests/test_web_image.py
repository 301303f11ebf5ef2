"""The image of the pages, checked without a container engine."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from manifests.checks import REPOSITORY
from manifests.images import bare_python, check_context, install
from support.waiting import wait_until

from devstack.processes import answers, free_port

FOLDER = REPOSITORY / "deploy" / "web"
DOCKERFILE = FOLDER / "Dockerfile"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packages")
    install(DOCKERFILE, FOLDER / "requirements-web.txt", target)
    return target


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the Dockerfile copies; it stands for /app in the image."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copytree(REPOSITORY / "rollcall", folder / "rollcall")
    return folder


def test_the_build_context_has_exactly_the_files_that_the_dockerfile_copies() -> None:
    check_context(DOCKERFILE)


def test_the_pages_start_with_only_these_packages(
    packages: Path, app: Path, tmp_path: Path
) -> None:
    port = free_port()
    python, environment = bare_python(packages)
    environment |= {
        "WEB_LISTEN": f"127.0.0.1:{port}",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'inbox.sqlite3'}",
        # Nothing listens at this address. The pages open even if the store is down.
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "S3_AWS_ACCESS_KEY_ID": "key",
        "S3_AWS_SECRET_ACCESS_KEY": "secret",
        "ENCODINGS": str(tmp_path / "gallery.npz"),
        "MODEL_CACHE": str(tmp_path / "models"),
        "ORT_DISABLE_TELEMETRY": "1",
    }
    check = (
        "import os, pathlib, rollcall.faces.engine as faces;"
        " faces.default_engine(pathlib.Path(os.environ['MODEL_CACHE']))"
    )
    subprocess.run([*python, "-c", check], cwd=app, env=environment, check=True)
    process = subprocess.Popen([*python, "-m", "rollcall", "web"], cwd=app, env=environment)
    try:
        listens = answers(f"http://127.0.0.1:{port}/healthz")
        wait_until(lambda: process.poll() is not None or listens(), "the pages to listen")
        for path in ("/", "/static/htmx.js", "/static/style.css"):
            url = f"http://127.0.0.1:{port}{path}"
            assert httpx.get(url, timeout=60).status_code == 200, path
        # People run commands in the pod of the pages (docs/operate.md).
        for command, said in (
            (["index", "status"], "people: 0"),
            (["results"], "no video was found"),
            (["gallery"], "no gallery at"),
        ):
            argv = [*python, "-m", "rollcall", *command]
            done = subprocess.run(argv, cwd=app, env=environment, capture_output=True, text=True)
            assert said in done.stdout + done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0
