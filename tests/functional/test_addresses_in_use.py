"""A server that cannot listen on its address names the setting and the way out."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import REPOSITORY

from rollcall.core.listen_errors import cannot_listen


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("argv", "setting", "users"),
    [
        (["-m", "rollcall", "web"], "WEB_LISTEN", "`rollcall up` or another `rollcall web`"),
        (
            [str(REPOSITORY / "trigger_openfaas.py")],
            "TRIGGER_LISTEN",
            "`rollcall up` or another trigger",
        ),
    ],
)
def test_the_setting_and_other_programs_are_named(
    port: int, tmp_path: Path, argv: list[str], setting: str, users: str
) -> None:
    address = f"127.0.0.1:{port}"
    # In a process of its own, because waitress does not close its sockets after the error.
    result = subprocess.run(
        [sys.executable, *argv],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TRIGGER_TOKEN": "0123456789abcdef" * 2,
            setting: address,
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.endswith(
        f"error: {setting} {address} is in use by another program, perhaps by {users}; stop that"
        f" program, or set {setting} to an address with another port\n"
    )


def test_an_address_that_cannot_be_used_is_named_with_the_reason() -> None:
    refused = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    assert str(cannot_listen("WEB_LISTEN", "192.0.2.1:8091", refused, "nobody")) == (
        "WEB_LISTEN 192.0.2.1:8091 cannot be used (Cannot assign requested address); set WEB_LISTEN"
        " to an address of this machine with another port"
    )
