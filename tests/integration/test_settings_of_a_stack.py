"""`make demo` and `rollcall up` use the settings in the environment and in `credentials.env`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.needs import REPOSITORY
from support.waiting import wait_until

from devstack.flows import FLOWS
from rollcall.cli.check import Checker
from rollcall.cli.students import upload_students
from rollcall.core.expectations import parse_mapping
from rollcall.core.settings import parse_settings, setting_names
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

CREDENTIALS = """\
AWS_ACCESS_KEY_ID=AKIAFILLEDIN
AWS_SECRET_ACCESS_KEY=CHANGE_ME
S3_ENDPOINT_URL=http://ceph.example:7480
S3_AWS_ACCESS_KEY_ID=CHANGE_ME
S3_AWS_SECRET_ACCESS_KEY=CHANGE_ME
INPUT_QUEUE_URL=CHANGE_ME
REPORT_BUCKET=my-reports
TOLERANCE=0.05
"""


@pytest.fixture
def data(sample: Path, tmp_path: Path) -> Path:
    """Data with one video, whose person is not recognised at a tolerance of 0.05."""
    folder = tmp_path / "data"
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / "lecture_1.mp4").symlink_to(sample / "videos" / "lecture_1.mp4")
    for name in ("encoding", "student_data.json"):
        (folder / name).symlink_to(sample / name)
    (folder / "mapping").write_text("lecture_1.mp4:unknown\n")
    return folder


def environment(**settings: str) -> dict[str, str]:
    return {
        name: text for name, text in os.environ.items() if name not in setting_names()
    } | settings


@pytest.mark.parametrize("flow", FLOWS)
def test_the_demo_uses_a_half_filled_credentials_file(
    flow: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "credentials.env").write_text(CREDENTIALS)
    argv = [sys.executable, "-m", "devstack.demo", "--flow", flow, "--data", str(data)]
    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not used, because this stack has its own: S3_ENDPOINT_URL." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1/1 correct in ")


@pytest.mark.parametrize("flow", FLOWS)
def test_each_flow_uses_the_settings_of_the_user(flow: str, data: Path, tmp_path: Path) -> None:
    chosen = parse_settings(
        {
            "REPORT_BUCKET": "my-reports",
            "STUDENT_TABLE": "my_students",
            "INPUT_BUCKET": "my-videos",
            "OUTPUT_BUCKET": "my-results",
            "OPENFAAS_FUNCTION": "my-function",
            "LAMBDA_FUNCTION": "my-function",
            "TRIGGER_TOKEN": "my long token/+%41",
            "FUNCTION_HMAC_KEY": "0123456789abcdef" * 2,
            "MODEL_CACHE": str(tmp_path / "models"),
            "SCAN": "timeline",
        }
    )
    overrides = {"ENCODINGS": str((data / "encoding").resolve())}
    with FLOWS[flow](tmp_path / "run", os.environ, overrides, chosen=chosen) as stack:
        upload_students(stack.settings, data / "student_data.json")
        store = S3Store(s3_client(stack.settings))
        store.upload(data / "videos" / "lecture_1.mp4", "my-videos", "lecture_1.mp4")
        mapping = parse_mapping("lecture_1.mp4:electrical_engineering,senior")
        (row,) = Checker(stack.settings, mapping).wait(240)
        assert row.right, row
        rows = store.read("my-results", "lecture_1.csv", 1 << 20).decode().splitlines()
        # The report is written after the result.
        wait_until(lambda: list(store.list_objects("my-reports")), "the report")
        report = store.read("my-reports", "lecture_1.mp4.json", 1 << 20)
        if flow == "openfaas":
            url = stack.values["TRIGGER_LISTEN"]
            page = httpx.get(f"http://{url}/", auth=("any", chosen.trigger_token), timeout=60)
            assert page.status_code == 200
    assert rows[1].startswith("president_obama,electrical_engineering,senior,0.00,2.00,3,")
    assert b"president_obama" in report
    assert list((tmp_path / "models").glob("*.onnx"))


def test_up_passes_the_settings_on_and_creates_the_report_bucket(tmp_path: Path) -> None:
    (tmp_path / "credentials.env").write_text(CREDENTIALS)
    argv = [sys.executable, "-m", "rollcall", "up", "--folder", "state"]
    own = environment(TRIGGER_TOKEN="my-own-trigger-token", SCAN="timeline")
    with subprocess.Popen(
        argv, cwd=tmp_path, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout
        said = ""
        for line in up.stdout:
            said += line
            if line.startswith("The trigger's own status"):
                break
        try:
            assert "Not used, because this stack has its own: S3_ENDPOINT_URL." in said
            assert "my-own-trigger-token" not in said
            lines = (tmp_path / "state" / "env.sh").read_text().splitlines()
            words = [shlex.split(line)[1].partition("=") for line in lines]
            values = {name: text for name, _, text in words}
            chosen = parse_settings(values)
            assert (chosen.tolerance, chosen.scan) == (0.05, "timeline")
            assert chosen.trigger_token == "my-own-trigger-token"
            assert chosen.report_bucket == "my-reports"
            assert list(S3Store(s3_client(chosen)).list_objects("my-reports")) == []
            found = re.search(r"for operators: (\S+)", said)
            assert found
            answer = httpx.get(found[1], auth=("any", "my-own-trigger-token"), timeout=60)
            assert answer.status_code == 200
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(180) == 0
