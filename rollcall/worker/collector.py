"""Handles messages of the result queue: each becomes a text file."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rollcall.core.errors import BadEvent, ObjectNotFound, PermanentError, TransientError
from rollcall.core.log_fields import about
from rollcall.core.protocols import ObjectStore
from rollcall.core.result_messages import ResultMessage, parse_result
from rollcall.core.results import render_error, safe_csv
from rollcall.core.retry import AttemptResult
from rollcall.core.settings import Settings
from rollcall.core.trace_context import derived_traceparent, trace_id_of
from rollcall.stores.sqs import Message
from rollcall.worker.counters import Counters
from rollcall.worker.result_files import ResultFiles

log = logging.getLogger(__name__)

MAX_RESULT_BYTES = 16 << 20
"""Largest CSV that is read from the output bucket (because it did not fit into its message). The
limit protects the worker's memory; a row is about 60 bytes long."""


class Collector:
    """Writes the result in each message to a file; the file of a failed video has its error."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        files: ResultFiles,
        counters: Counters,
        add_report: Callable[[str, str], None] | None = None,
    ) -> None:
        """`add_report` puts the video with this bucket and key into the index, from its report."""
        self._input_bucket = settings.input_bucket
        self._output_bucket = settings.output_bucket
        self._store = store
        self._files = files
        self._counters = counters
        self._add_report = add_report

    def handle(self, message: Message) -> AttemptResult:
        """Write the result's file, unless the folder already has a later result for the video."""
        try:
            result = parse_result(message.body.encode())
        except PermanentError as error:
            return AttemptResult("dead", error.code, str(error))
        # The worker's calls use the same trace, because it is derived from the work id.
        trace_id = trace_id_of(derived_traceparent(result.work_id)) if result.work_id else ""
        fields = {"work": result.work_id, "key": result.key, "bucket": result.bucket}
        with about(**fields, trace_id=trace_id):
            return self._write(message, result)

    def _write(self, message: Message, result: ResultMessage) -> AttemptResult:
        try:
            written = self._files.write(result.key, self._render(result), _sent_ms(message, result))
            if written and self._add_report:
                self._add_report(result.bucket, result.key)
        except PermanentError as error:
            return AttemptResult("dead", error.code, str(error))
        except TransientError as error:
            return AttemptResult("retry", error.code, str(error), error.retry_after_s)
        self._count_and_log(result, written)
        return AttemptResult("done", result.status)

    def _render(self, result: ResultMessage) -> bytes:
        """Return the file's content. Raises BadEvent for a result that is not of our buckets."""
        # Two buckets may have videos with the same key, whose results would have the same file.
        if result.bucket != self._input_bucket:
            raise BadEvent(f"the result is for bucket {result.bucket!r}, which is not INPUT_BUCKET")
        if result.status == "failed":
            return render_error(result.error_code, result.error_message)
        csv = self._read_csv(result) if result.csv is None else result.csv.encode()
        try:
            return safe_csv(csv)
        except ValueError as error:
            raise BadEvent(f"the result of {result.key!r} is not a valid CSV: {error}") from error

    def _read_csv(self, result: ResultMessage) -> bytes:
        if result.output_bucket != self._output_bucket:
            raise BadEvent(
                f"the result is in bucket {result.output_bucket!r}, which is not OUTPUT_BUCKET"
            )
        return self._store.read(self._output_bucket, result.output_key, MAX_RESULT_BYTES)

    def _count_and_log(self, result: ResultMessage, written: bool) -> None:
        if not written:
            self._counters.add(outdated=1)
            log.info(
                "dropped a result of %r: there is a later one, work %s", result.key, result.work_id
            )
        elif result.status == "failed":
            self._counters.add(written=1, failed=1)
            log.warning("%r: %s, work %s", result.key, result.error_message, result.work_id)
        else:
            self._counters.add(written=1)
            log.info("file of %r written: %s, work %s", result.key, result.status, result.work_id)


def _sent_ms(message: Message, result: ResultMessage) -> int:
    """Return the time by which the results of one video are ordered.

    The result "the video is gone" counts as older than every other result. If an event is delivered
    twice, and the video is deleted between the two calls, then the result of the first call has to
    be kept, no matter which result arrives first.
    """
    gone = result.status == "failed" and result.error_code == ObjectNotFound.code
    return 0 if gone else message.sent_ms
