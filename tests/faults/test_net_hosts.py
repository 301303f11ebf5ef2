"""The hosts of the fault tests have their own networks, and a cut link loses packets silently."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.net_hosts import NetHosts
from support.waiting import wait_until

from devstack.processes import Process

PORT = 20_000


@pytest.fixture
def hosts() -> Iterator[NetHosts]:
    with NetHosts("a", "b", "c") as made:
        yield made


def connect(hosts: NetHosts, client: str, server: str, timeout_s: float = 60) -> socket.socket:
    with hosts[client].entered():
        return socket.create_connection((hosts[server].address, PORT), timeout_s)


@pytest.fixture
def listening(hosts: NetHosts) -> Iterator[socket.socket]:
    with hosts["b"].entered(), socket.create_server((hosts["b"].address, PORT)) as server:
        server.settimeout(60)
        yield server


def test_hosts_reach_each_other_and_nothing_else(hosts: NetHosts, listening: socket.socket) -> None:
    with connect(hosts, "a", "b") as client, listening.accept()[0] as served:
        assert client.getsockname()[0] == hosts["a"].address
        client.sendall(b"hello")
        assert served.recv(9) == b"hello"
    # 192.0.2.1 belongs to a network that is reserved for documentation.
    with hosts["a"].entered(), pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_a_cut_link_loses_packets_without_a_reset_until_it_is_healed(
    hosts: NetHosts, listening: socket.socket
) -> None:
    with connect(hosts, "a", "b") as client, listening.accept()[0] as served:
        hosts.cut("a", "b")
        client.sendall(b"late")
        served.settimeout(0.3)
        with pytest.raises(TimeoutError):
            served.recv(9)
        with pytest.raises(TimeoutError):
            connect(hosts, "a", "b", timeout_s=1)
        connect(hosts, "c", "b").close()
        hosts.heal()
        served.settimeout(60)
        assert served.recv(9) == b"late"
    connect(hosts, "a", "b").close()


def test_the_namespaces_vanish_with_the_process_that_made_them(tmp_path: Path) -> None:
    """Also after SIGKILL."""
    program = (
        "from support.net_hosts import NetHosts; import os, time\n"
        "with NetHosts('a', 'b') as hosts:\n"
        "    made = [hosts[name].namespace for name in ('switch', 'a', 'b')]\n"
        "    print(*(os.fstat(each).st_ino for each in made), flush=True)\n"
        "    time.sleep(600)\n"
    )
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": ":".join(sys.path)}
    maker = Process("maker", [sys.executable, "-c", program], environ, tmp_path)
    wait_until(lambda: len(maker.log.read_text().split()) == 3, "three namespaces")
    inodes = set(maker.log.read_text().split())
    assert inodes & namespaces_in_use()
    maker.kill()
    wait_until(lambda: not inodes & namespaces_in_use(), "the end of the namespaces")


def namespaces_in_use() -> set[str]:
    """The inodes of all network namespaces that a process uses or holds open."""
    found = set()
    for pattern in ("ns/net", "fd/*"):
        for path in Path("/proc").glob(f"[0-9]*/{pattern}"):
            try:
                target = str(path.readlink())
            except OSError:
                continue
            if target.startswith("net:["):
                found.add(target[5:-1])
    return found
