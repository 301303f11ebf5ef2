"""Hosts of a test, each with its own network namespace and address, and links that can be cut.

Nothing outside the namespaces is reachable from them, and they get no name. They exist only as
long as this process, or a process that was started in them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from support.needs import need

_CLONE_NEWNET = 0x4000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)

_NETWORK = "10.77.0."

_RULES = """
table inet links {
  set cut {
    type ipv4_addr
  }
  chain input {
    type filter hook input priority 0
    ip saddr @cut drop
  }
}
"""


class Host:
    """One host: a network namespace with one address in the private network."""

    def __init__(self, name: str, address: str, namespace: int) -> None:
        self.name = name
        self.address = address
        self.namespace = namespace
        """File descriptor that keeps the namespace."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the current thread to this host.

        Sockets, threads and processes that are created in the block belong to the host for ever.
        """
        before = _current_namespace()
        try:
            _enter(self.namespace)
            yield
        finally:
            _enter(before)
            os.close(before)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The beginning of a command that runs another command on this host."""
        return "nsenter", f"--net=/proc/{os.getpid()}/fd/{self.namespace}"

    def run(self, *command: str, text: str | None = None) -> None:
        with self.entered():
            subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def drop_packets_from(self, address: str, *, drop: bool) -> None:
        change = "add" if drop else "delete"
        self.run("nft", change, "element", "inet", "links", "cut", f"{{ {address} }}")


class NetHosts:
    """A context manager that connects hosts of these names to one network.

    A link that is cut loses all packets in both directions. So nobody learns of the cut, and
    connections stay open until a time-out ends them.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._hosts: dict[str, Host] = {}
        self._cut: set[tuple[str, str]] = set()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        need_namespaces()
        try:
            switch = self._add("switch", "")
            switch.run("ip", "link", "add", "bridge", "type", "bridge")
            switch.run("ip", "link", "set", "bridge", "up")
            for number, name in enumerate(self._names, start=1):
                self._connect(self._add(name, f"{_NETWORK}{number}"), switch, number)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def cut(self, one: str, other: str) -> None:
        """Lose all packets between two hosts, until `heal`."""
        if (one, other) not in self._cut:
            self._cut.add((one, other))
            self._change(one, other, drop=True)

    def isolate(self, one: str, *others: str) -> None:
        for other in others:
            self.cut(one, other)

    def heal(self) -> None:
        """Restore all links."""
        while self._cut:
            self._change(*self._cut.pop(), drop=False)

    def _change(self, one: str, other: str, *, drop: bool) -> None:
        self[one].drop_packets_from(self[other].address, drop=drop)
        self[other].drop_packets_from(self[one].address, drop=drop)

    def _add(self, name: str, address: str) -> Host:
        before = _current_namespace()
        try:
            _check(_LIBC.unshare(_CLONE_NEWNET))
            namespace = _current_namespace()
        finally:
            _enter(before)
            os.close(before)
        self._exit.callback(os.close, namespace)
        host = self._hosts[name] = Host(name, address, namespace)
        host.run("ip", "link", "set", "lo", "up")
        return host

    def _connect(self, host: Host, switch: Host, number: int) -> None:
        port, there = f"port{number}", f"/proc/{os.getpid()}/fd/{host.namespace}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", there)
        switch.run("ip", "link", "add", port, "master", "bridge", *peer)
        switch.run("ip", "link", "set", port, "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("nft", "-f", "-", text=_RULES)


def need_namespaces() -> None:
    """Skip the test if this machine lacks the programs, or this user the right, for namespaces."""
    need(bool(shutil.which("ip")), "ip is not installed: apt-get install iproute2")
    need(bool(shutil.which("nft")), "nft is not installed: apt-get install nftables")
    probe = subprocess.run(["unshare", "--net", "nft", "list", "ruleset"], capture_output=True)
    need(probe.returncode == 0, "this user may not make network namespaces")


def _current_namespace() -> int:
    # /proc/self would be the namespace of the main thread.
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    _check(_LIBC.setns(namespace, _CLONE_NEWNET))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
