"""Ceph's daemons end with the process that started them, and start errors are explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

from devstack.ceph import INSTALL, PROGRAMS, Ceph, ProgramsMissing
from devstack.processes import Processes, StartFailed

OWNER = """
import os, signal, sys, time
from pathlib import Path
from devstack.ceph import Ceph
from devstack.processes import Processes

# A shell starts background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Processes() as running:
    Ceph(Path(sys.argv[1]), os.environ, running).start()
    print("ready", flush=True)
    time.sleep(600)
"""


def daemons(folder: Path) -> dict[str, int]:
    """Return the pids, by program name, of running programs whose arguments contain this path."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:  # the process has just ended
            continue
        if any(os.fsencode(folder) in argument for argument in arguments[1:]):
            found[os.fsdecode(arguments[0])] = int(path.parent.name)
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_no_daemon_outlives_its_owner(
    tmp_path: Path, how: signal.Signals, ceph_programs: None
) -> None:
    argv = [sys.executable, "-c", OWNER, str(tmp_path / "state")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"ready\n"
        inside = tmp_path / "state" / "ceph-"
        running = daemons(inside)
        assert set(running) == {"ceph-mgr", "ceph-mon", "ceph-osd", "radosgw"}
        if how == signal.SIGKILL:
            # A gateway that shut down in an orderly way would wait for this OSD forever.
            os.kill(running["ceph-osd"], signal.SIGSTOP)
        owner.send_signal(how)

    wait_until(lambda: not daemons(inside), "the end of all daemons", poll_s=0.1)


def test_an_error_names_missing_programs_and_the_command_that_installs_them(tmp_path: Path) -> None:
    with Processes() as running, pytest.raises(ProgramsMissing) as raised:
        Ceph(tmp_path, {"PATH": str(tmp_path)}, running).start()

    assert INSTALL in str(raised.value)
    assert "radosgw" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_an_error_quotes_the_message_of_a_failed_program(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\necho the disk is made of cheese >&2\nexit 3\n")
        (programs / name).chmod(0o755)

    with Processes() as running, pytest.raises(StartFailed, match="made of cheese"):
        Ceph(tmp_path / "state", {"PATH": f"{programs}:/usr/bin:/bin"}, running).start()
