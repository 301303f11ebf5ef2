"""The function for painted faces, with a ledger of calls: `ledger_function:app()` for gunicorn.

Each call adds a line to the file CALLS when it begins and another one when it ends, so that tests
can compare the calls that arrived with the calls that the triggers counted, and find calls for one
video that ran at the same time. Student records come from DynamoDB.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from flask import Flask
from painted_function import create_function, painted_pipeline
from support.call_ledger import LedgerLine, append_line
from support.faulty_proxy import LINK_HEADER, SENT_HEADER

from rollcall.config import load_settings
from rollcall.core.settings import Settings
from rollcall.function.python3_http import Event
from rollcall.pipeline import Pipeline
from rollcall.stores.boto import dynamodb_client
from rollcall.stores.dynamodb import DynamoStudents


def app() -> Flask:
    recorded = partial(record, Path(os.environ["CALLS"]))
    return create_function(load_settings(os.environ), build_pipeline, recorded)


def build_pipeline(settings: Settings) -> Pipeline:
    students = DynamoStudents(dynamodb_client(settings), settings.student_table)
    return dataclasses.replace(painted_pipeline(settings), students=students)


@contextmanager
def record(ledger: Path, event: Event) -> Iterator[None]:
    """Record the begin and the end of a call. The end is missing if the process is killed."""
    line = LedgerLine(
        call=uuid4().hex,
        key=json.loads(event.body)["key"],
        link=event.headers.get(LINK_HEADER, ""),
        sent_s=float(event.headers.get(SENT_HEADER, 0)),
        pid=os.getpid(),
    )
    append_line(ledger, line)
    try:
        yield
    finally:
        append_line(ledger, line._replace(ends=True))
