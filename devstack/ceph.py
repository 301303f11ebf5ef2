"""A Ceph cluster of one node on loopback, for the demo, `rollcall up` and the tests.

It consists of a monitor, a manager, one OSD that stores everything in memory, and radosgw. Its
data is lost when it stops. cephx is enabled, because radosgw does not start without it. No program
needs root.
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
"""Capacity of the OSD. It uses memory only for the objects that it holds."""

USER = "rollcall"
# radosgw stores persistent notifications here, one queue object for each topic.
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
# There is only one monitor, so collecting changes for a second before a vote saves nothing.
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
    """Ceph is not installed. The message contains the command that installs it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files with which the gateway also listens with TLS."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the S3 user. They are random."""

    access: str = field(default_factory=lambda: secrets.token_hex(10).upper())
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)


class Ceph:
    """One cluster. `start` may be called only once. The daemons stop when `processes` is left.

    Logs are written to `folder`, and data to a new subfolder, which `remove_data` removes.
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
        """Start all daemons, and return the gateway when it answers and the S3 user exists.

        Raises ProgramsMissing, or StartFailed with the end of a log.
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
        """Start the gateway. After `stop_gateway` it gets the same address and the same objects."""
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
        """Stop only the gateway, and release its locks on the notification queues.

        A gateway does not release these locks when it stops, so the next gateway would have to wait
        90 s until they expire.
        """
        if self.gateway:
            self._processes.stop(self.gateway)
            self.gateway = None
            self._free_queues()

    def delivers(self, topic: str) -> bool:
        """Return whether the gateway already delivers the events of this topic.

        A gateway looks for new topics only every 30 s.
        """
        return f"lock.{topic}_lock" in self._rados("listxattr", topic).split()

    def remove_data(self) -> None:
        """Delete the stored data. All daemons must have been stopped."""
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
        address = f"[v2:127.0.0.1:{self._mon_port}]"
        monmap = str(self._data / "monmap")
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", address, monmap)
        keyring = str(self._data / "keyring")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._daemon("ceph-mon", "-f", "-i", "a")
        # The manager only needs the monitor, so it starts while the OSD is being set up.
        self._daemon("ceph-mgr", "-f", "-i", "a")

    def _start_osd(self) -> None:
        osd = str(uuid.uuid4())
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._run("ceph", "osd", "new", osd, "0")
        self._daemon("ceph-osd", "-f", "-i", "0")

    def _create_user(self) -> None:
        # The command blocks until the OSD is up. The keys are passed in a variable, because every
        # user of the machine can see the arguments.
        keys = f"--access-key={self.keys.access} --secret-key={self.keys.secret}"
        self._run(
            "radosgw-admin",
            *("user", "create", "--uid", USER, "--display-name", USER),
            environ={"CEPH_ARGS": keys},
        )

    def _free_queues(self) -> None:
        # All locks belong to the gateway that has just stopped, because the cluster has only one.
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
        # When their parent dies, all daemons get this signal at the same time. With SIGTERM the
        # gateway would wait forever for the OSD, which has also ended. The data is lost anyway.
        process = Process(
            program, command, self._environ, self._folder, parent_death_signal=signal.SIGKILL
        )
        return self._processes.add(process)

    def _options(self, program: str) -> tuple[str, ...]:
        return () if program == "monmaptool" else ("-c", str(self._data / "ceph.conf"))


def check_programs(path: str) -> None:
    """Raise ProgramsMissing unless all programs of Ceph are in `path`, a value of PATH."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise ProgramsMissing(
            f"Ceph is not completely installed; missing: {', '.join(missing)}."
            f" As root, run: {INSTALL}"
        )


def _keyring_entry(entity: str) -> str:
    # Ceph's key format: type 1 (AES), creation time (s, ns), length, and 16 random bytes.
    body = struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)
    caps = "".join(f'\tcaps {kind} = "allow *"\n' for kind in ("mon", "mgr", "osd"))
    return f"[{entity}]\n\tkey = {base64.b64encode(body).decode()}\n{caps}"
