"""The worker as a whole: a consumer for each of its two queues, started and stopped together."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rollcall.core.errors import RollcallError, StoreUnavailable
from rollcall.core.retry import RetryPolicy
from rollcall.core.settings import Settings
from rollcall.queues.consumer import Consumer
from rollcall.stores.boto import lambda_client, s3_client
from rollcall.stores.s3 import S3Store
from rollcall.worker.collector import Collector
from rollcall.worker.counters import EMPTY_AT_FIRST, Counters
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.invoker import Invoker
from rollcall.worker.lambda_function import LambdaFunction
from rollcall.worker.queue_source import POLL_S, QUEUE_WAITS, QueueSource
from rollcall.worker.queues import Queues
from rollcall.worker.result_files import ResultFiles

if TYPE_CHECKING:
    from rollcall.index.indexer import Indexer

log = logging.getLogger(__name__)

FILE_WRITERS = 4
"""Result files that are written at the same time. Their threads mostly wait for the disk."""

REPORT_EVERY_S = 60.0
"""Seconds between two log lines with the counts."""


class Worker:
    """Calls the Lambda for events of the input queue, and writes results of the result queue.

    With an `indexer`, it also puts each result into the index. Tests set `policy`, and `poll_s`,
    the length of a long poll in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        indexer: Indexer | None = None,
        policy: RetryPolicy | None = None,
        poll_s: int = POLL_S,
    ) -> None:
        policy = policy or RetryPolicy.from_settings(settings)
        queues, folder = Queues(settings), Path(settings.results_folder)
        files = ResultFiles(folder)
        self.counters = Counters(folder)
        self._settings = settings
        self._store = S3Store(s3_client(settings))
        self._stopping = threading.Event()
        function = LambdaFunction(lambda_client(settings), settings.lambda_function)
        invoker = Invoker(function, self.counters, policy, self._stopping)
        self._indexer = indexer
        add_report = indexer.add_report if indexer else None
        collector = Collector(settings, self._store, files, self.counters, add_report)
        dead_letters = DeadLetters(queues.dead, self.counters)
        self._sources = tuple(
            QueueSource(queue, dead_letters, settings.visibility_timeout_s, poll_s)
            for queue in (queues.input, queues.result)
        )
        calls, results = self._sources
        self._consumers = (
            Consumer(calls, invoker.handle, policy, slots=settings.max_inflight, waits=QUEUE_WAITS),
            Consumer(results, collector.handle, policy, slots=FILE_WRITERS, waits=QUEUE_WAITS),
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, and return when every claimed message is settled.

        Raises StoreUnavailable if a consumer's thread has died.
        """
        self._note_empty_buckets()
        for source in self._sources:
            source.start()
        if self._indexer:
            self._indexer.start()
        for consumer in self._consumers:
            consumer.start()
        while not stop.wait(REPORT_EVERY_S) and all(each.alive() for each in self._consumers):
            log.info("%s", self.counters.snapshot())
        self._stop()
        log.info("stopped: %s", self.counters.snapshot())
        if not stop.is_set():
            raise StoreUnavailable("the worker stopped polling a queue; its log has the error")

    def _stop(self) -> None:
        self._stopping.set()
        # Both are halted first, so that the second claims nothing while the first one stops.
        for consumer in self._consumers:
            consumer.halt()
        for consumer in self._consumers:
            consumer.stop()
        for source in self._sources:
            source.close()
        if self._indexer:
            self._indexer.stop()

    def _note_empty_buckets(self) -> None:
        """Record whether both buckets are empty, unless that is recorded for this folder already.

        `check.py --flow openstack` compares counts, which only agree if the buckets were empty at
        first.
        """
        if self.counters.snapshot()[EMPTY_AT_FIRST] is not None:
            return
        buckets = (self._settings.input_bucket, self._settings.output_bucket)
        try:
            empty = not any(next(self._store.list_objects(b), None) for b in buckets)
        except RollcallError as error:
            log.warning("cannot find out whether the buckets are empty: %s", error)
        else:
            self.counters.note(EMPTY_AT_FIRST, empty)
