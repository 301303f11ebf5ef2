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
from support.flow_database import OnePostgres
from support.postgres_pair import PostgresPair
from support.proxied_flow import ProxiedFlow


class FaultyFlow(ProxiedFlow):
    """A flow with methods that break its processes and links. It counts the faults."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.faults: Counter[str] = Counter()
        """Number of faults of processes by kind. Each link counts its own faults."""
        self.replayed: list[str] = []
        """Keys of the dead letters that were replayed."""
        self.killed_workers: dict[int, float] = {}
        """When a worker of the function was killed, by its pid; in seconds of `time.monotonic`."""
        self._trigger_kills: list[float] = []
        self._database_faults_before = 0

    def kill_trigger(self, number: int = 0) -> None:
        """Kill a trigger, and start it again."""
        self.crash_trigger(number)
        self.start_trigger(number)

    def crash_trigger(self, number: int = 0) -> None:
        """Kill a trigger. Until it is started again, the others get all events."""
        self.faults["trigger killed"] += 1
        process = self.triggers[number].process
        process.kill()
        self._trigger_kills.append(time.monotonic())
        self.processes.stop(process)

    def kill_database(self, down_s: float) -> None:
        """Kill PostgreSQL, and start it again after `down_s` seconds."""
        assert isinstance(self.database, OnePostgres)
        self.faults["database killed"] += 1
        self.database.kill(down_s)

    def database_was_cut(self) -> None:
        """Note that a test cuts the network between a trigger and the database."""
        self.faults["database cut off"] += 1

    def fail_over(self) -> None:
        """Kill the primary, and promote its standby, which has to exist.

        If the primary has no standby, make one from a copy first.
        """
        assert isinstance(self.database, PostgresPair)
        if not self.database.standby.alive():
            self.database.add_standby()
        self.faults["database killed"] += 1
        self.database.primary.kill()
        self.database.promote()

    def kill_worker(self) -> None:
        """Kill one worker of the function. gunicorn starts another one."""
        children = _children(self.function.pid)
        if children:
            self.faults["worker killed"] += 1
            self._kill_worker(children[0])

    def kill_function(self) -> None:
        """Kill gunicorn and all workers of the function, and start it again."""
        self.faults["function killed"] += 1
        workers = _children(self.function.pid)
        self.function.kill()
        for pid in workers:
            self._kill_worker(pid)
        self.processes.stop(self.function)
        self.start_function()

    def _kill_worker(self, pid: int) -> None:
        # The time is read first. On a busy machine, the call may be repeated before the next step.
        self.killed_workers[pid] = time.monotonic()
        _kill(pid)

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
            self.cut(down_s, "function-s3", *self.links_to("s3"))

    def cut(self, down_s: float, *links: str) -> None:
        for name in links:
            self.links[name].cut()
        time.sleep(down_s)
        for name in links:
            self.links[name].restore()

    def links_to(self, server: str) -> list[str]:
        """The names of the links from all triggers to a server."""
        return [each.link(server) for each in self.triggers]

    def cut_calls(self) -> dict[str, list[float]]:
        """When calls lost their trigger, by link.

        A trigger with SQLite repeats the calls that it made before it was killed, because no other
        trigger can have repeated them.
        """
        links = self.links_to("function")
        kills = self._trigger_kills if self.database is None else []
        return {name: [*self.links[name].cuts, *kills] for name in links}

    def take_baseline(self) -> None:
        super().take_baseline()
        self._database_faults_before = self._database_faults()

    def database_was_broken(self) -> bool:
        """Whether the database or the links to it had faults since the baseline.

        Then the answer to a commit may have been lost.
        """
        return self._database_faults() > self._database_faults_before

    def _database_faults(self) -> int:
        names = [name for name in self.links if name.endswith("-database")]
        broken = sum(self.links[name].injected.total() for name in names)
        return broken + self.faults["database killed"] + self.faults["database cut off"]

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
