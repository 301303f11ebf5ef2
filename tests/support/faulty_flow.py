"""A running flow, and everything that is done to it on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from devstack.store_servers import CephStore
from support.proxied_flow import ProxiedFlow


class FaultyFlow(ProxiedFlow):
    """Counts what it does."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.faults: Counter[str] = Counter()
        """What was done to processes, by kind; the links count for themselves."""
        self.replayed: list[str] = []
        """Keys of the dead letters that were put back."""

    def kill_trigger(self) -> None:
        self.faults["trigger killed"] += 1
        self.trigger.kill()
        self.processes.stop(self.trigger)
        self.start_trigger()

    def kill_worker(self) -> None:
        """One of the function's; gunicorn starts another one."""
        children = _children(self.function.pid)
        if children:
            self.faults["worker killed"] += 1
            _kill(children[0])

    def kill_function(self) -> None:
        """The whole function, with all its workers."""
        self.faults["function killed"] += 1
        workers = _children(self.function.pid)
        self.function.kill()
        for pid in workers:
            _kill(pid)
        self.processes.stop(self.function)
        self.start_function()

    def kill_store(self, down_s: float) -> None:
        """Ceph's gateway really dies, since the OSD keeps its data. The embedded store would lose
        everything with its process, so it becomes unreachable for everyone but the uploads."""
        if isinstance(self.backend, CephStore):
            ceph = self.backend.ceph
            assert ceph.gateway
            self.faults["radosgw killed"] += 1
            ceph.gateway.kill()
            ceph.stop_gateway()
            time.sleep(down_s)
            ceph.start_gateway()
        else:
            self.cut(down_s, "function-s3", "trigger-s3")

    def cut(self, down_s: float, *links: str) -> None:
        for name in links:
            self.links[name].cut()
        time.sleep(down_s)
        for name in links:
            self.links[name].restore()

    def mend(self) -> None:
        for link in self.links.values():
            link.mend()

    def injected(self) -> Counter[str]:
        """All faults up to now: process or link, and kind."""
        found = Counter(self.faults)
        for name, link in self.links.items():
            found.update({f"{name} {kind}": count for kind, count in link.injected.items()})
        return found

    def replay(self) -> int:
        """As its user does, from a folder without credentials.env; how many it says."""
        self.replayed += [row.key for row in self.rows().values() if row.state == "dead"]
        command = [sys.executable, "-m", "rollcall", "replay", "--json"]
        run = subprocess.run(
            command, env=self.env(), cwd=self.folder, capture_output=True, check=True
        )
        count: int = json.loads(run.stdout)["replayed"]
        return count


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended by itself
