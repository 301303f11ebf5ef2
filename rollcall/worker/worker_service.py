"""The worker as a whole: two queues, their pumps, and the counts, started and stopped together."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from rollcall.core.errors import RollcallError, StoreUnavailable
from rollcall.core.settings import Settings
from rollcall.stores.boto import lambda_client, s3_client
from rollcall.stores.s3 import S3Store
from rollcall.worker.collector import Collector
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.invoker import Invoker
from rollcall.worker.lambda_function import LambdaFunction
from rollcall.worker.pump import Pump
from rollcall.worker.queues import Queues
from rollcall.worker.result_files import ResultFiles

log = logging.getLogger(__name__)

FILE_WRITERS = 4
"""They mostly wait for the disk."""

REPORT_S = 60.0


class Worker:
    """Owns its folder of results."""

    def __init__(self, settings: Settings) -> None:
        queues, folder = Queues(settings), Path(settings.results_folder)
        files = ResultFiles(folder)
        self.counters = Counters(folder)
        self._settings = settings
        self._store = S3Store(s3_client(settings))
        invoker = Invoker(
            LambdaFunction(lambda_client(settings), settings.lambda_function), self.counters
        )
        collector = Collector(settings, self._store, files, self.counters)
        dead_letters = DeadLetters(queues.dead, self.counters)
        limits = {
            "max_attempts": settings.max_attempts,
            "visibility_s": settings.visibility_timeout_s,
        }
        self._pumps = (
            Pump(queues.input, invoker.handle, dead_letters, slots=settings.max_inflight, **limits),
            Pump(queues.result, collector.handle, dead_letters, slots=FILE_WRITERS, **limits),
        )

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, and then ends what is in hand.

        Raises StoreUnavailable when a poller ended by itself.
        """
        self._look_at_buckets()
        for pump in self._pumps:
            pump.start()
        while not stop.wait(REPORT_S) and all(pump.alive() for pump in self._pumps):
            log.info("%s", self.counters.known())
        for pump in self._pumps:
            pump.no_more()
        for pump in self._pumps:
            pump.join()
        log.info("stopped: %s", self.counters.known())
        if not stop.is_set():
            raise StoreUnavailable("a poller ended by itself; the log says why")

    def _look_at_buckets(self) -> None:
        """Once in the life of the folder: a first run is checked from empty buckets on."""
        if self.counters.known()["buckets_empty_at_first"] is not None:
            return
        buckets = (self._settings.input_bucket, self._settings.output_bucket)
        try:
            empty = not any(next(self._store.list_objects(b), None) for b in buckets)
        except RollcallError as error:
            log.warning("not known whether the buckets are empty: %s", error)
        else:
            self.counters.note("buckets_empty_at_first", empty)
