"""A message of the result queue: one text file."""

from __future__ import annotations

import logging

from rollcall.core.errors import BadEvent, ObjectNotFound, PermanentError, TransientError
from rollcall.core.protocols import ObjectStore
from rollcall.core.result_messages import ResultMessage, parse_result
from rollcall.core.results import render_error, safe_csv
from rollcall.core.retry import Verdict
from rollcall.core.settings import Settings
from rollcall.stores.sqs import Message
from rollcall.worker.counters import Counters
from rollcall.worker.result_files import ResultFiles

log = logging.getLogger(__name__)

MAX_RESULT_BYTES = 16 << 20
"""Of a CSV that was too long for its message."""


class Collector:
    """Handles messages of the result queue. A failed video has a file as well: what went wrong."""

    def __init__(
        self, settings: Settings, store: ObjectStore, files: ResultFiles, counters: Counters
    ) -> None:
        self._input = settings.input_bucket
        self._output = settings.output_bucket
        self._store = store
        self._files = files
        self._counters = counters

    def handle(self, message: Message) -> Verdict:
        try:
            result = parse_result(message.body.encode())
            sent_ms = 0 if _says_gone(result) else message.sent_ms
            written = self._files.write(result.key, self._text(result), sent_ms)
        except PermanentError as error:
            return Verdict("dead", error.code, str(error))
        except TransientError as error:
            return Verdict("retry", error.code, str(error), error.retry_after_s)
        if not written:
            self._counters.add(outdated=1)
            said = (result.key, result.work_id)
            log.info("%r has a newer result already, this one is dropped, work %s", *said)
        elif result.status == "failed":
            self._counters.add(written=1, failed=1)
            log.warning("%r: %s, work %s", result.key, result.error_message, result.work_id)
        else:
            self._counters.add(written=1)
            log.info("file of %r written: %s, work %s", result.key, result.status, result.work_id)
        return Verdict("done", result.status)

    def _text(self, result: ResultMessage) -> bytes:
        """Two input buckets would share file names, so only the one of the settings is taken."""
        if result.bucket != self._input:
            raise BadEvent(f"the result is of {result.bucket!r}, which is not INPUT_BUCKET")
        if result.status == "failed":
            return render_error(result.error_code, result.error_message)
        body = self._fetched(result) if result.csv is None else result.csv.encode()
        try:
            return safe_csv(body)
        except ValueError as error:
            raise BadEvent(f"the result of {result.key!r} is not ours: {error}") from error

    def _fetched(self, result: ResultMessage) -> bytes:
        if result.output_bucket != self._output:
            raise BadEvent(f"the result is in {result.output_bucket!r}, which is not OUTPUT_BUCKET")
        return self._store.read(self._output, result.output_key, MAX_RESULT_BYTES)


def _says_gone(result: ResultMessage) -> bool:
    """Counts as sent before everything else. An event that comes twice finds its video deleted
    the second time, and its result, whichever of both arrives first, is the one to keep."""
    return result.status == "failed" and result.error_code == ObjectNotFound.code
