"""Run the `RUN pip` lines of Dockerfiles on this machine, and install into a folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from manifests.checks import REPOSITORY
from support.needs import need

MINUTES_10 = 600


def pip_lines(dockerfile: Path) -> list[list[str]]:
    """Return the arguments of every `RUN pip ...` line."""
    found = re.findall(r"^RUN pip (.+)$", dockerfile.read_text(), re.M)
    assert found, f"no `RUN pip` in {dockerfile}"
    return [shlex.split(line) for line in found]


def copied(dockerfile: Path) -> list[str]:
    """Return the sources that the Dockerfile copies from the build context."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile.read_text(), re.M)
    words = [[word for word in shlex.split(line) if not word.startswith("--")] for line in lines]
    return [source for line in words for source in line[:-1]]


def check_context(dockerfile: Path) -> None:
    """Check that the ignore file lets through exactly what the Dockerfile copies."""
    ignore = dockerfile.with_name("Dockerfile.dockerignore").read_text().split()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert ignore[0] == "*"
    assert set(copied(dockerfile)) == allowed
    for name in allowed:
        assert (REPOSITORY / name).exists()


def install(dockerfile: Path, requirements: Path, target: Path) -> None:
    """Run the `RUN pip` lines, but with local paths for `/packages` and for the requirements."""
    local_paths = {"/packages": str(target), requirements.name: str(requirements)}
    for arguments in pip_lines(dockerfile):
        given = [local_paths.get(argument, argument) for argument in arguments]
        assert str(target) in given, f"installs elsewhere: {arguments}"
        assert given[0] == "install"
        pip_install(given[1:])


def pip_install(arguments: list[str]) -> None:
    """Run `pip install` with these arguments; skip the test if no package index can be reached."""
    command = [sys.executable, "-m", "pip", "install", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES_10)
    need(not (run.returncode and offline(run.stderr)), "no package index can be reached")
    assert run.returncode == 0, run.stderr


def bare_python(*packages: Path) -> tuple[list[str], dict[str, str]]:
    """Return a Python command and its environment, in which only these packages can be imported."""
    path = os.pathsep.join(map(str, packages))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOME": "/nonexistent"}
    # -S leaves out this machine's own site-packages.
    return [sys.executable, "-S", "-W", "ignore"], environment


def offline(stderr: str) -> bool:
    """Return whether pip's output says that it reached no package index."""
    return "No matching distribution" in stderr and "connection" in stderr.lower()
