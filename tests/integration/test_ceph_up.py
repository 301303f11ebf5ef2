"""Run `rollcall up`, and use the commands that it prints with the real AWS CLI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.waiting import wait_until

from rollcall.core.gallery import empty_gallery
from rollcall.gallery.gallery_formats import render_gallery

DEADLINE_S = 240.0
BIN = str(Path(sys.executable).parent)


@pytest.fixture(params=["embedded", "ceph"])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The AWS commands that a running stack has printed."""
    if request.param == "ceph":
        request.getfixturevalue("ceph_programs")
    folder = tmp_path / "a folder's state"
    gallery = tmp_path / "mine.npz"
    gallery.write_bytes(render_gallery(empty_gallery()))
    argv = [sys.executable, "-m", "rollcall", "up", "--folder", str(folder), "--store"]
    with subprocess.Popen(
        [*argv, request.param, "--encodings", str(gallery)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as stack:
        assert stack.stdout
        said = []
        for line in stack.stdout:
            said.append(line.strip())
            if line.startswith("The trigger's own status"):
                break
        yield [line for line in said if re.match(r"aws s3 |export AWS_", line)] or said
        stack.terminate()
        assert stack.wait(180) == 0, stack.stdout.read()


def test_up_and_enrol_share_the_default_gallery(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "MODEL_CACHE": str(Path.home() / ".cache" / "rollcall"),
    }
    gallery = tmp_path / "home" / ".local" / "share" / "rollcall" / "gallery.npz"
    folder = tmp_path / "up"
    argv = [sys.executable, "-m", "rollcall", "up", "--folder", str(folder)]
    with subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as stack:
        assert stack.stdout
        said = next(line for line in stack.stdout if line.startswith("gallery "))
        for line in stack.stdout:
            if line.startswith("The trigger's own status"):
                break
        listed = [sys.executable, "-m", "rollcall", "gallery"]
        other = subprocess.run(listed, env=env, cwd=tmp_path, capture_output=True, text=True)
        stack.terminate()
        assert stack.wait(180) == 0
    assert said == other.stderr == f"gallery {gallery}: 0 people\n"
    assert f"ENCODINGS={gallery}\n" in (folder / "env.sh").read_text()
    assert not list(folder.rglob("*.npz"))


def test_the_printed_commands_upload_a_video_and_fetch_its_result(
    commands: list[str], tmp_path: Path
) -> None:
    export, upload, list_results, fetch = commands
    large_clip(tmp_path / "VIDEO.mp4")

    shell(tmp_path, export, upload)
    assert "-" in shell(tmp_path, export, etag_command(upload)), "not a multipart upload"
    wait_until(
        lambda: "VIDEO.csv" in shell(tmp_path, export, list_results, check=False),
        "VIDEO.csv in the list of results",
        DEADLINE_S,
        poll_s=0.5,
    )
    fetched = shell(tmp_path, export, fetch)

    assert fetched.splitlines()[0] == "name,major,year,first_seen_s,last_seen_s,frames,distance"
    for path in (tmp_path / "a folder's state").glob("aws-*"):
        assert path.stat().st_mode & 0o777 == 0o600


def etag_command(upload: str) -> str:
    """Return a command that prints the ETag of the video that the command `upload` uploads."""
    found = re.fullmatch(r"aws s3 cp (\S+) s3://([^/]+)/ (.+)", upload)
    assert found, upload
    key, bucket, options = found.groups()
    return f"aws s3api head-object --bucket {bucket} --key {key} --query ETag {options}"


def shell(folder: Path, *lines: str, check: bool = True) -> str:
    """Run the commands in a shell whose environment has the keys of another store."""
    env = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SECRET_ACCESS_KEY": "another",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], env=env, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def large_clip(path: Path) -> None:
    """Write a video of more than 8 MiB, so that it is uploaded in parts."""
    fourcc: Any = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 10, (96, 64))
    for _ in range(5):
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    writer.release()
    padding = 20 << 20  # an MP4 box that players skip
    with open(path, "ab") as file:
        file.write(padding.to_bytes(4, "big") + b"free" + bytes(padding - 8))
