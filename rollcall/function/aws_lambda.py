"""What Lambda hands to a handler, and how it wants to be told of failures.

A failure that may go away ends the invocation as failed, so that whoever asked repeats it: Lambda
itself for S3, SNS and EventBridge, the caller for a direct call. One that stays is an answer: it is
logged, reported and sent to the result queue, and nobody repeats it. A batch from SQS names the
messages that are to come again. See docs/decisions/0013.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rollcall.core.errors import TransientError
from rollcall.core.printable import printable
from rollcall.function.function_service import Answer, FunctionService

log = logging.getLogger(__name__)


def answer_event(service: FunctionService, event: Any) -> dict[str, Any]:
    """The function's answer and its `statusCode`, or for a batch `{"batchItemFailures": [...]}`.

    Several records give `{"statusCode", "answers"}`. Raises TransientError where the invocation
    has to be repeated.
    """
    messages = _queue_messages(event)
    if messages:
        return _answer_batch(service, messages)
    answer = _ask(service, event)
    if _may_go_away(answer):
        raise TransientError(_problem(answer), retry_after_s=answer.retry_after_s or 5)
    if answer.status != 200:
        log.error("refused for good: %s", _problem(answer))
    found = answer.document
    document = found if isinstance(found, dict) else {"answers": found}
    return {"statusCode": answer.status, **document}


def _queue_messages(event: Any) -> Sequence[Mapping[str, Any]]:
    """The records of an SQS batch; empty for any other event."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return ()
    ours = [each for each in records if isinstance(each, dict) and "messageId" in each]
    return ours if len(ours) == len(records) else ()


def _answer_batch(
    service: FunctionService, messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    answers = {
        str(message["messageId"]): _ask(service, {"Records": [message]}) for message in messages
    }
    again = [name for name, answer in answers.items() if _may_go_away(answer)]
    refused = [name for name in answers if name not in again and answers[name].status != 200]
    for name in again:
        log.warning("message %s has to come again: %s", name, _problem(answers[name]))
    for name in refused:
        log.error("message %s is refused for good: %s", name, _problem(answers[name]))
    done = len(answers) - len(again) - len(refused)
    log.info("messages: %d done, %d refused, %d to come again", done, len(refused), len(again))
    return {"batchItemFailures": [{"itemIdentifier": name} for name in again]}


def _ask(service: FunctionService, event: Any) -> Answer:
    return service.answer(json.dumps(event).encode())


def _may_go_away(answer: Answer) -> bool:
    return answer.status >= 500


def _problem(answer: Answer) -> str:
    """Code and message of every error in it. Lambda's runtime logs what is raised as it is."""
    found = answer.document
    documents = found if isinstance(found, list) else [found]
    errors = [document["error"] for document in documents if "error" in document]
    return printable("; ".join(f"{error['code']}: {error['message']}" for error in errors))
