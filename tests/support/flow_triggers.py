"""One of the triggers of a flow: its address, its links, its process and its counters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families as parse_metrics

from devstack.processes import Process, free_port
from support.flow_processes import trigger_process
from support.net_hosts import Host

SERVERS = ("function", "s3", "database")
"""What a trigger connects to."""


class FlowTrigger:
    """The trigger with this number, from 0. `host` is None if it runs on the host of the test."""

    def __init__(self, number: int, host: Host | None = None) -> None:
        self.number = number
        self.name = trigger_name(number)
        self._prefix = host.prefix if host else ()
        self.url = f"http://{host.address if host else '127.0.0.1'}:{free_port()}"
        self.process: Process

    def link(self, server: str) -> str:
        """The name of the link to one of SERVERS."""
        return f"{self.name}-{server}"

    def spawn(
        self,
        folder: Path,
        environ: Mapping[str, str],
        advertised_url: str,
        *,
        via: str,
        program: Path,
        name: str = "",
    ) -> Process:
        """Start a process of this trigger. Does not wait until it listens."""
        listen = {"TRIGGER_LISTEN": self.url.removeprefix("http://")}
        return trigger_process(
            folder,
            {**environ, **listen},
            advertised_url,
            via=via,
            program=program,
            name=name or self.name,
            prefix=self._prefix,
        )

    def counters(self) -> Counter[str]:
        """The values of its metrics, named `METRIC` or `METRIC LABEL`.

        The label is an outcome or a state. The values with the same name are added up.
        """
        text = httpx.get(self.url + "/metrics", timeout=60, trust_env=False).text
        numbers: Counter[str] = Counter()
        for family in parse_metrics(text):
            for sample in family.samples:
                label = sample.labels.get("outcome", sample.labels.get("state", ""))
                if math.isfinite(sample.value):
                    numbers[f"{sample.name} {label}".strip()] += int(sample.value)
        return numbers


def trigger_name(number: int) -> str:
    """`trigger`, `trigger2`, `trigger3`, ..."""
    return f"trigger{number + 1}" if number else "trigger"
