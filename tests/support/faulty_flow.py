"""A running flow whose processes and links a test can break."""

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
    """A flow with methods that break its processes and links. It counts the faults."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.faults: Counter[str] = Counter()
        """Number of faults of processes by kind. Each link counts its own faults."""
        self.replayed: list[str] = []
        """Keys of the dead letters that were replayed."""

    def kill_trigger(self) -> None:
        self.faults["trigger killed"] += 1
        self.trigger.kill()
        self.processes.stop(self.trigger)
        self.start_trigger()

    def kill_worker(self) -> None:
        """Kill one worker of the function. gunicorn starts another one."""
        children = _children(self.function.pid)
        if children:
            self.faults["worker killed"] += 1
            _kill(children[0])

    def kill_function(self) -> None:
        """Kill gunicorn and all workers of the function, and start it again."""
        self.faults["function killed"] += 1
        workers = _children(self.function.pid)
        self.function.kill()
        for pid in workers:
            _kill(pid)
        self.processes.stop(self.function)
        self.start_function()

    def kill_store(self, down_s: float) -> None:
        """Make the store unavailable for `down_s` seconds.

        Ceph's gateway is killed, because the OSD keeps its data. The embedded store would lose its
        data, so only the links from the function and the trigger are cut. Uploads still reach it.
        """
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
        """Return the number of faults until now, by kind and by process or link."""
        faults = Counter(self.faults)
        for name, link in self.links.items():
            faults.update({f"{name} {kind}": count for kind, count in link.injected.items()})
        return faults

    def replay(self) -> int:
        """Run `rollcall replay`, and return the number of dead letters that it requeued."""
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
        return  # the process has already ended
