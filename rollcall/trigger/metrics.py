"""The trigger's metrics for Prometheus. docs/metrics.md describes each of them.

Two kinds have to be combined differently if there are several triggers. Counters and histograms
count what this process did, so they are added. Gauges that are read from the database are the same
in every trigger, so their maximum is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rollcall.core.errors import TransientError
from rollcall.core.figures import Figures, FigureSource
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.retry import AttemptResult
from rollcall.core.work import Work
from rollcall.trigger.shared_call import SharedCall

CALL_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Upper bounds of the histogram. A call takes about 0.1 s for a short clip, minutes for a long
video."""

LAG_BUCKETS_S = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
"""From a short clip in an idle system to a video that waited for a day."""

ATTEMPT_BUCKETS = (1, 2, 3, 5, 10, 20, 50, 100)
"""MAX_ATTEMPTS is 20 by default, and at most 100."""

RESULTS = ("recognised", "unknown", "no_face")
"""The statuses of videos that have a result."""

QUERY_WAIT_S = 5.0
"""Longest wait for the database. Prometheus waits ten seconds for all metrics."""


class Metrics:
    """All metrics of one trigger.

    They have their own registry, because tests run several triggers in one process.
    """

    def __init__(self, source: FigureSource, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self.events = self._counter("rollcall_events", "Events received, by outcome", ["outcome"])
        self.calls = self._counter(
            "rollcall_calls", "Calls of the function, by outcome and code", ["outcome", "code"]
        )
        self.call_s = self._histogram(
            "rollcall_call_seconds", "Wall time of a call", CALL_BUCKETS_S
        )
        self._lag_s = self._histogram(
            "rollcall_lag_seconds", "Time from the upload of a video to its result", LAG_BUCKETS_S
        )
        self._attempts = self._histogram(
            "rollcall_attempts", "Attempts that ended work needed", ATTEMPT_BUCKETS
        )
        self._stage_s = self._counter(
            "rollcall_stage_seconds", "Time that the function spent, by stage", ["stage"]
        )
        self._staged = self._counter(
            "rollcall_videos_staged", "Videos whose stages are in rollcall_stage_seconds_total"
        )
        self.reconciled = self._counter(
            "rollcall_reconciled", "Videos without a result, found by the reconciler"
        )
        self.not_videos = self._gauge(
            "rollcall_not_videos",
            "Objects of the input bucket without a video extension, at the last scan",
        )
        self._scanned = self._gauge(
            "rollcall_reconcile_last_success_timestamp_seconds",
            "Unix time at which the last complete scan of the buckets ended; 0 before the first",
        )
        self._stale_gallery = self._gauge(
            "rollcall_gallery_stale",
            "1 if the last answer was made with an old gallery, because the new one is broken",
        )
        self.gallery: GalleryFacts | None = None
        """The gallery of the last answer; None before the first."""
        self.gallery_is_stale = False
        self.scanned_s = 0.0
        """Unix time at which the last complete scan ended; 0 before the first."""
        self.figures = SharedCall(source.read, keep_s=0.0, wait_s=QUERY_WAIT_S)
        self.registry.register(_Collector(self._gauges))

    def note_answer(self, result: AttemptResult) -> None:
        """Record what an answer of the function says about gallery and stages."""
        self.gallery_is_stale = result.stale_gallery
        self._stale_gallery.set(result.stale_gallery)
        if result.gallery:
            self.gallery = result.gallery
        for stage, seconds in result.stage_s.items():
            self._stage_s.labels(stage).inc(seconds)
        if result.stage_s:
            self._staged.inc()

    def note_end(self, work: Work, result: AttemptResult) -> None:
        """Record that work is done, or a dead letter. Call this after the queue has stored it."""
        self._attempts.observe(work.attempts)
        if result.code in RESULTS:
            # A rerun is asked for long after the upload, so it counts from the request.
            known = work.uploaded_s > 0 and work.origin != "rerun"
            since_s = work.uploaded_s if known else work.received_s
            # The clocks of the store and of this machine may differ.
            self._lag_s.observe(max(0.0, self._clock() - since_s))

    def note_scan(self, ended_s: float) -> None:
        """Record that a complete scan of the buckets ended at this Unix time."""
        self.scanned_s = ended_s
        self._scanned.set(ended_s)

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        yield from _gallery_gauges(self.gallery, self._clock())
        try:
            figures = self.figures.result()
        except TransientError:
            yield _gauge("rollcall_database_up", _UP_MEANS, 0)
            return
        yield _gauge("rollcall_database_up", _UP_MEANS, 1)
        yield from _figure_gauges(figures)

    def _counter(self, name: str, meaning: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, meaning, list(labels), registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(name, meaning, buckets=tuple(buckets), registry=self.registry)


_UP_MEANS = "1 if the database answers"


def _figure_gauges(figures: Figures) -> Iterator[GaugeMetricFamily]:
    work = "Work in the database, by state; bad counts events that could not be parsed"
    yield _labelled("rollcall_work", work, "state", figures.work)
    dead = figures.by_code("dead")
    yield _labelled("rollcall_dead_letters", "Dead letters, by code of the error", "code", dead)
    done = figures.by_code("done")
    results = {status: done.get(status, 0) for status in RESULTS}
    yield _labelled("rollcall_results", "Videos that have a result, by status", "status", results)
    waiting = "Time since the oldest waiting video was accepted; 0 if none waits"
    yield _gauge("rollcall_oldest_waiting_seconds", waiting, figures.oldest_waiting_s)
    notices = "Messages for RESULT_WEBHOOK_URL that are not delivered, by state"
    yield _labelled("rollcall_notices", notices, "state", figures.notices)
    oldest = "Time since the oldest undelivered message was written; 0 if there is none"
    yield _gauge("rollcall_notice_oldest_seconds", oldest, figures.oldest_notice_s)
    if figures.oldest_transaction_s is not None:
        age = "Age of the oldest open transaction in the PostgreSQL database"
        name = "rollcall_database_oldest_transaction_seconds"
        yield _gauge(name, age, figures.oldest_transaction_s)
    if figures.unindexed is not None:
        unindexed = "Results that are not in the index yet; counting stops at 10,000"
        yield _gauge("rollcall_unindexed", unindexed, figures.unindexed)


def _gallery_gauges(gallery: GalleryFacts | None, now_s: float) -> Iterator[GaugeMetricFamily]:
    if gallery is None:
        return
    yield _gauge("rollcall_gallery_people", "People in the gallery", gallery.people)
    yield _gauge("rollcall_gallery_encodings", "Encodings in the gallery", gallery.encodings)
    if gallery.changed_s:
        age_s = max(0.0, now_s - gallery.changed_s)
        yield _gauge("rollcall_gallery_age_seconds", "Time since the gallery was changed", age_s)


class _Collector(Collector):
    """Makes gauges at each scrape, so that they survive a restart."""

    def __init__(self, collect: Callable[[], Iterator[GaugeMetricFamily]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return self._collect()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return nothing. Otherwise the registry would query the database at registration."""
        return iter(())


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


def _labelled(
    name: str, meaning: str, label: str, values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family
