"""The function on AWS Lambda: its events, its answers, and how failures are reported.

After a temporary failure the invocation fails, so that the caller repeats it; for S3, SNS and
EventBridge the caller is Lambda itself. A permanent failure is an answer: it is logged, reported,
sent to the result queue, and never repeated. For a batch from SQS, the answer lists the messages
that SQS has to deliver again. docs/decisions/0013 gives the reasons.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rollcall.core.errors import TransientError, UnexpectedError
from rollcall.core.printable import printable
from rollcall.function.function_service import Answer, FunctionService

log = logging.getLogger(__name__)


def answer_event(service: FunctionService, event: Any) -> dict[str, Any]:
    """Return the function's answer to an event, with `statusCode`.

    For several records the answer is `{"statusCode", "answers"}`, for a batch from SQS
    `{"batchItemFailures": [...]}`. Raises TransientError if the invocation has to be repeated.
    """
    messages = _queue_messages(event)
    if messages:
        return _answer_batch(service, messages)
    answer = _call(service, event)
    if _is_temporary(answer):
        # Lambda reports the name of the exception's class. By this name the worker recognises an
        # unexpected error.
        kind = UnexpectedError if answer.status == UnexpectedError.status else TransientError
        raise kind(_describe_errors(answer), retry_after_s=answer.retry_after_s or 5)
    if answer.status != 200:
        log.error("the event failed permanently: %s", _describe_errors(answer))
    document = answer.document
    if not isinstance(document, dict):
        document = {"answers": document}
    return {"statusCode": answer.status, **document}


def _queue_messages(event: Any) -> Sequence[Mapping[str, Any]]:
    """Return the records of an SQS batch; empty for any other event."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return ()
    is_batch = all(isinstance(record, dict) and "messageId" in record for record in records)
    return records if is_batch else ()


def _answer_batch(
    service: FunctionService, messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    answers = {
        str(message["messageId"]): _call(service, {"Records": [message]}) for message in messages
    }
    repeated, failed = [], []
    for message_id, answer in answers.items():
        if _is_temporary(answer):
            repeated.append(message_id)
            log.warning("message %s is repeated: %s", message_id, _describe_errors(answer))
        elif answer.status != 200:
            failed.append(message_id)
            log.error("message %s failed permanently: %s", message_id, _describe_errors(answer))
    done = len(answers) - len(repeated) - len(failed)
    log.info(
        "messages: %d done, %d failed permanently, %d repeated", done, len(failed), len(repeated)
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in repeated]}


def _call(service: FunctionService, event: Any) -> Answer:
    return service.answer(json.dumps(event).encode())


def _is_temporary(answer: Answer) -> bool:
    return answer.status >= 500


def _describe_errors(answer: Answer) -> str:
    """Return code and message of every error in the answer.

    The text is made printable, because Lambda's runtime logs the message of an exception unchanged.
    """
    document = answer.document
    documents = document if isinstance(document, list) else [document]
    errors = [each["error"] for each in documents if "error" in each]
    return printable("; ".join(f"{error['code']}: {error['message']}" for error in errors))
