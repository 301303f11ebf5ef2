"""No process of Rollcall sends onnxruntime's telemetry to Microsoft.

A control process that uses onnxruntime without Rollcall proves that the trace would show a report,
and how soon a report is sent.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import REPOSITORY, need
from support.videos import paint_video, painted_gallery
from support.waiting import wait_until

from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_locations import GalleryFile

DEADLINE_S = 180.0
MARGIN_S = 5.0
"""How long our process is watched after the control process has sent its report."""

CONTROL = "import onnxruntime, time; time.sleep(600)"
OURS = """
import pathlib, sys, time
from rollcall.faces.onnx_models import encoder_model, single_thread_session
single_thread_session(encoder_model(pathlib.Path(sys.argv[1])))
print("ready", flush=True)
time.sleep(600)
"""


class Traced:
    """A Python process with its own home folder, whose files and connections are traced."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        need(shutil.which("strace") is not None, "strace is not installed")
        self.home, self._trace = folder / "home", folder / "trace"
        self.home.mkdir(parents=True)
        trace = ["strace", "-f", "-qq", "-o", str(self._trace), "-e", "trace=%network,%file"]
        # No variables are inherited: variables of CI could change what onnxruntime does.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        self.process = subprocess.Popen(
            [*trace, sys.executable, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def connections(self) -> list[str]:
        """Return the system calls that contact an internet address, DNS included."""
        lines = self._trace.read_text(errors="replace").splitlines()
        contacts = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET")
        return [line for line in lines if contacts.search(line)]

    def mentions_of_microsoft(self) -> list[str]:
        """Return the files in the home folder, and the system calls, that name Microsoft."""
        lines = self._trace.read_text(errors="replace").splitlines()
        present = [str(path) for path in self.home.rglob("*") if "icrosoft" in str(path)]
        return present + [line for line in lines if "/Microsoft" in line]

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Traced]:
    traced = Traced(tmp_path / "control", "-c", CONTROL)
    yield traced
    traced.stop()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Traced]:
    traced = Traced(tmp_path / "ours", "-c", OURS, str(tmp_path / "models"))
    yield traced
    traced.stop()


def test_a_process_with_our_models_reports_nothing(ours: Traced, control: Traced) -> None:
    assert ours.process.stdout
    assert ours.process.stdout.readline() == "ready\n"
    wait_until(control.connections, "the control's report", DEADLINE_S)
    wait_until(control.mentions_of_microsoft, "the control's file", DEADLINE_S)
    time.sleep(MARGIN_S)
    assert ours.process.poll() is None
    assert ours.connections() == []
    assert ours.mentions_of_microsoft() == []


def test_the_command_reports_nothing(tmp_path: Path) -> None:
    video = tmp_path / "red.mp4"
    paint_video(video, ["red"])
    gallery = tmp_path / "gallery.npz"
    command = ["-m", "rollcall", "recognise", "--encodings", str(gallery), str(video)]
    save(painted_gallery(alice="red"), GalleryFile(gallery))
    traced = Traced(tmp_path / "command", *command)
    try:
        said, _ = traced.process.communicate(timeout=DEADLINE_S)
        assert traced.process.returncode == 0, said
        assert (traced.connections(), traced.mentions_of_microsoft()) == ([], [])
    finally:
        traced.stop()
