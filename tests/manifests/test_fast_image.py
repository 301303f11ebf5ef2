"""The image of project3-fast.yml, checked without a container engine."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from manifests.checks import REPOSITORY
from manifests.images import bare_python, install
from support.waiting import wait_until

from devstack.build_context import assemble
from devstack.processes import answers, free_port

FOLDER = REPOSITORY / "OpenFaas" / "project3"
DOCKERFILE = FOLDER / "Dockerfile"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packages")
    install(DOCKERFILE, FOLDER / "requirements-fast.txt", target)
    return target


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the image; it stands for /home/app."""
    return assemble(tmp_path_factory.mktemp("app"), "project3-fast.yml")


@pytest.fixture
def url(packages: Path, app: Path) -> Iterator[str]:
    """The image's `fprocess`, started on a free port as the watchdog would start it."""
    (fprocess,) = re.findall(r'fprocess="(.+)"', DOCKERFILE.read_text())
    port = free_port()
    # The watchdog splits the command at spaces as well.
    words = fprocess.replace("127.0.0.1:5000", f"127.0.0.1:{port}").split(" ")
    python, environment = bare_python(packages)
    assert words[0] == "python"
    process = subprocess.Popen([*python, *words[1:]], cwd=app, env=environment)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0


def test_the_image_s_own_check_passes(packages: Path, app: Path, tmp_path: Path) -> None:
    (check,) = re.findall(r'&& python -c "(.+)" \\$', DOCKERFILE.read_text(), re.M)
    python, environment = bare_python(packages)
    environment = environment | {"MODEL_CACHE": str(tmp_path)}
    subprocess.run([*python, "-c", check], cwd=app, env=environment, check=True)
    assert len(list(tmp_path.glob("*.onnx"))) == 2


def test_dlib_is_not_compiled() -> None:
    """dlib comes as a binary package, because compiling it takes ten minutes and a compiler."""
    wanted = (FOLDER / "requirements-fast.txt").read_text()
    assert re.search(r"^dlib-bin", wanted, re.M)
    assert not re.search(r"^dlib\b(?!-)|^face_recognition\b(?!_)", wanted, re.M)
    assert "g++" not in DOCKERFILE.read_text()


def test_the_image_answers_like_the_template_of_openfaas(url: str) -> None:
    event = {"Event": "s3:TestEvent", "Bucket": "b"}
    wait_until(answers(url), "the function to listen")
    answer = httpx.post(url, json=event, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["status"] == "ignored"
    assert httpx.post(url, content=b"not an event", timeout=60).status_code == 400
    assert httpx.post(url + "some/path", json=event, timeout=60).status_code == 200
