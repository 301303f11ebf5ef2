"""Two processes never choose the same free port, even before a server listens there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.needs import REPOSITORY

from devstack import processes
from devstack.processes import StartFailed, free_port

CHOOSE = """
import sys
from devstack import processes
port = int(sys.argv[1])
processes._OWN_PORTS = range(port, port + 1)
processes.PORT_ATTEMPTS = 1
print(processes.free_port())
"""


def test_a_chosen_port_is_taken_until_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    argv = [sys.executable, "-c", CHOOSE, str(port)]
    other = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)
    assert other.returncode == 1
    assert "all are in use" in other.stderr
    monkeypatch.setattr(processes, "_OWN_PORTS", range(port, port + 1))
    monkeypatch.setattr(processes, "PORT_ATTEMPTS", 1)
    with pytest.raises(StartFailed, match="all are in use"):
        free_port()
