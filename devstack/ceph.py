"""A Ceph of one node on loopback: mon, mgr, one OSD that keeps everything in memory, and radosgw.

For the demo, for `rollcall up` and for the tests: what it stores is gone when it stops. cephx is
on, because radosgw does not start without. No program needs root; an ordinary user is enough.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import struct
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.processes import Process, Processes, StartFailed, answers, free_port, run

PROGRAMS = (
    "ceph",
    "ceph-mgr",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "rados",
    "radosgw",
    "radosgw-admin",
)
INSTALL = (
    "apt-get install -y --no-install-recommends ceph-mon ceph-mgr ceph-osd radosgw ceph-common"
)

OSD_BYTES = 4 << 30
"""Most that the OSD stores; it takes memory only for what is there."""

USER = "rollcall"
_NOTIFICATIONS = ("--pool", "default.rgw.log", "--namespace", "notif")

_CONF = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {data}/keyring
mon data = {data}/mon
mgr data = {data}/mgr
osd data = {data}/osd
rgw data = {data}/rgw
run dir = {data}
crash dir = {data}
admin socket =
log file =
log to stderr = true
auth allow insecure global id reclaim = false
# Nobody else takes part in the vote, so nothing is gained by collecting changes for a second.
paxos propose interval = 0.05
paxos min wait = 0.01
mgr initial modules =
osd objectstore = memstore
memstore device bytes = {osd_bytes}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
"""


class ProgramsMissing(StartFailed):
    """Ceph is not installed; the message has the line that installs it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files for a gateway that speaks TLS as well."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Keys:
    """Of the S3 user; made anew for each cluster."""

    access: str = field(default_factory=lambda: secrets.token_hex(10).upper())
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)


class Ceph:
    """One cluster. `start` may be called once; the owner of `processes` stops what it started.

    Logs go to `folder`, data into a new folder inside it, which `remove_data` removes.
    """

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        processes: Processes,
        certificate: Certificate | None = None,
    ) -> None:
        self.keys = Keys()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.tls_url = f"https://127.0.0.1:{free_port()}" if certificate else ""
        self.gateway: Process | None = None
        self._folder = folder.resolve()
        self._environ = {name: value for name, value in environ.items() if name != "CEPH_ARGS"}
        self._processes = processes
        self._certificate = certificate
        self._data = Path()

    def start(self) -> Process:
        """The gateway, which answers with the user's keys when this returns.

        Raises ProgramsMissing, and StartFailed with the end of a log.
        """
        check_programs(self._environ.get("PATH", os.defpath))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._data = Path(tempfile.mkdtemp(prefix="ceph-", dir=self._folder))
        self._write_files()
        self._start_monitor()
        self._start_osd()
        self._create_user()
        return self.start_gateway()

    def start_gateway(self) -> Process:
        """Also after `stop_gateway`: at the same address, with everything that was stored."""
        endpoints = f"endpoint={self.url.removeprefix('http://')}"
        if self._certificate:
            endpoints += (
                f" ssl_endpoint={self.tls_url.removeprefix('https://')}"
                f" ssl_certificate={self._certificate.certificate.resolve()}"
                f" ssl_private_key={self._certificate.private_key.resolve()}"
            )
        argv = ["-f", "-n", "client.rgw.a", f"--rgw-frontends=beast {endpoints}"]
        self.gateway = self._daemon("radosgw", *argv)
        self.gateway.wait_ready(answers(self.url))
        return self.gateway

    def stop_gateway(self) -> None:
        """The gateway alone, and its hold on the queues of notifications with it.

        A gateway never gives its queues back; another one could only take them 90 s later.
        """
        if self.gateway:
            self._processes.stop(self.gateway)
            self.gateway = None
            self._free_queues()

    def delivers(self, topic: str) -> bool:
        """Whether the gateway has taken the topic's queue; it looks for new ones every 30 s."""
        return f"lock.{topic}_lock" in self._rados("listxattr", topic).split()

    def remove_data(self) -> None:
        """When everything has stopped."""
        if self._data.name:
            shutil.rmtree(self._data)

    def _write_files(self) -> None:
        self._mon_port = free_port()
        self._fsid = str(uuid.uuid4())
        conf = _CONF.format(
            fsid=self._fsid, mon_port=self._mon_port, data=self._data, osd_bytes=OSD_BYTES
        )
        (self._data / "ceph.conf").write_text(conf)
        entities = ("mon.", "client.admin", "client.rgw.a", "mgr.a", "osd.0")
        keyring = self._data / "keyring"
        keyring.touch(mode=0o600)
        keyring.write_text("".join(_keyring_entry(entity) for entity in entities))
        for daemon in ("mon", "mgr", "osd", "rgw"):
            (self._data / daemon).mkdir()

    def _start_monitor(self) -> None:
        """The manager needs nothing but the monitor, so it starts beside the OSD."""
        address = f"[v2:127.0.0.1:{self._mon_port}]"
        monmap = str(self._data / "monmap")
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", address, monmap)
        keyring = str(self._data / "keyring")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._daemon("ceph-mon", "-f", "-i", "a")
        self._daemon("ceph-mgr", "-f", "-i", "a")

    def _start_osd(self) -> None:
        osd = str(uuid.uuid4())
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._run("ceph", "osd", "new", osd, "0")
        self._daemon("ceph-osd", "-f", "-i", "0")

    def _create_user(self) -> None:
        """Waits for the OSD. The keys do not stand among the arguments, which everyone can see."""
        keys = f"--access-key={self.keys.access} --secret-key={self.keys.secret}"
        self._run(
            "radosgw-admin",
            *("user", "create", "--uid", USER, "--display-name", USER),
            environ={"CEPH_ARGS": keys},
        )

    def _free_queues(self) -> None:
        """Removes the locks of the gateway that has just stopped. No other gateway runs here."""
        if "queues_list_object" not in self._rados("ls").split():
            return
        for queue in self._rados("listomapkeys", "queues_list_object").split():
            lock = f"lock.{queue}_lock"
            if lock in self._rados("listxattr", queue).split():
                self._rados("rmxattr", queue, lock)

    def _rados(self, *arguments: str) -> str:
        return self._run("rados", *_NOTIFICATIONS, *arguments)

    def _run(self, program: str, *argv: str, environ: Mapping[str, str] | None = None) -> str:
        command = [program, *self._options(program), *argv]
        return run(command, {**self._environ, **(environ or {})}, self._folder)

    def _daemon(self, program: str, *argv: str) -> Process:
        command = [program, *self._options(program), *argv]
        # All daemons get the signal at once. A gateway that ends in order would then wait for an
        # OSD that has already gone, without an end; and what they store is lost in any case.
        process = Process(
            program, command, self._environ, self._folder, parent_death_signal=signal.SIGKILL
        )
        return self._processes.add(process)

    def _options(self, program: str) -> tuple[str, ...]:
        return () if program == "monmaptool" else ("-c", str(self._data / "ceph.conf"))


def check_programs(path: str) -> None:
    """Raises ProgramsMissing. `path` is searched as PATH is."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise ProgramsMissing(
            f"Ceph is not (wholly) installed: no {', '.join(missing)}. As root: {INSTALL}"
        )


def _keyring_entry(entity: str) -> str:
    """The key's form is Ceph's: type 1 (AES), time of creation, length and 16 random bytes."""
    body = struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)
    caps = "".join(f'\tcaps {kind} = "allow *"\n' for kind in ("mon", "mgr", "osd"))
    return f"[{entity}]\n\tkey = {base64.b64encode(body).decode()}\n{caps}"
