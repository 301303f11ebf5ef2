"""The trigger's metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from rollcall.core.errors import InboxUnavailable
from rollcall.core.protocols import WorkQueue

_CALL_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Upper bounds of the histogram. A call takes about 0.1 s for a short clip, minutes for a long
video."""


class Metrics:
    """All metrics of one trigger.

    They have their own registry, because tests run several triggers in one process.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "rollcall_events",
            "Events received, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self.calls = Counter(
            "rollcall_calls",
            "Calls of the function, by outcome and code",
            ["outcome", "code"],
            registry=self.registry,
        )
        self.call_s = Histogram(
            "rollcall_call_seconds",
            "Wall time of a call",
            buckets=_CALL_BUCKETS_S,
            registry=self.registry,
        )
        self.reconciled = Counter(
            "rollcall_reconciled",
            "Videos without a result, found by the reconciler",
            registry=self.registry,
        )
        self.not_videos = Gauge(
            "rollcall_not_videos",
            "Objects of the input bucket without a video extension, at the last scan",
            registry=self.registry,
        )
        self.stale_gallery = Gauge(
            "rollcall_gallery_stale",
            "1 if the last answer was made with an old gallery, because the new one is broken",
            registry=self.registry,
        )
        self.registry.register(_QueueCollector(queue))


class _QueueCollector:
    """Reads the counts of the queue at each scrape, so that they survive a restart."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[GaugeMetricFamily]:
        work = GaugeMetricFamily("rollcall_work", "Work in the inbox, by state", labels=["state"])
        usable = GaugeMetricFamily("rollcall_inbox_usable", "Whether the inbox answers")
        try:
            counts = self._queue.counts()
        except InboxUnavailable:
            counts = {}
        for state, count in counts.items():
            work.add_metric([state], count)
        usable.add_metric([], float(bool(counts)))
        yield work
        yield usable
