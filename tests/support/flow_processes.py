"""Start the function and the trigger as real processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.processes import Process, Processes, answers
from devstack.stack import INHERITED
from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_locations import GalleryFile
from support.needs import REPOSITORY
from support.videos import painted_gallery

TESTS = REPOSITORY / "tests"
FUNCTION_FOLDERS = (TESTS / "faults", TESTS / "integration", TESTS)
"""Folders with the applications that gunicorn serves, and with the modules that they import."""

FUNCTION_WORKERS = 2
TRIGGER_TOKEN = "a-token-of-the-trigger"


def inherited_environ() -> dict[str, str]:
    """Return the variables that child processes inherit. No settings or keys are among them."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def start_function(
    processes: Processes,
    folder: Path,
    environ: Mapping[str, str],
    app: str,
    url: str,
    socket_fd: int | None = None,
) -> Process:
    """Serve `app` with gunicorn, and return when it answers at `url`.

    With `socket_fd` the workers listen on that open socket, so calls wait in the socket while no
    worker runs.
    """
    bind = url.removeprefix("http://") if socket_fd is None else f"fd://{socket_fd}"
    argv = [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
        *("--workers", str(FUNCTION_WORKERS), "--bind", bind, "--timeout", "60"),
        *("--pythonpath", ",".join(map(str, FUNCTION_FOLDERS)), app),
    ]
    pass_fds: Sequence[int] = () if socket_fd is None else (socket_fd,)
    process = Process("function", argv, environ, folder, pass_fds)
    processes.add(process).wait_ready(answers(url + "/healthz"))
    return process


def trigger_process(
    folder: Path,
    environ: Mapping[str, str],
    advertised_url: str,
    *,
    via: str = "ceph",
    program: Path = REPOSITORY / "trigger_openfaas.py",
    name: str = "trigger",
    prefix: Sequence[str] = (),
) -> Process:
    """Start a trigger that registers itself at the store. Does not wait until it listens.

    `prefix` is put before the command (`Host.prefix` in net_hosts.py).
    """
    argv = [
        *prefix,
        sys.executable,
        str(program),
        "--register",
        "--via",
        via,
        "--advertise",
        advertised_url,
    ]
    return Process(name, argv, environ, folder)


def enrol_painted(path: Path, **people: str) -> None:
    """Write a gallery that knows each person by a colour."""
    save(painted_gallery(**people), GalleryFile(path))
