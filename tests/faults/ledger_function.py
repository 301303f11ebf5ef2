"""The function for painted faces, with a ledger of calls: `ledger_function:app()` for gunicorn.

Each call first adds a line to the file CALLS, so that tests can compare the calls that arrived with
the calls that the trigger counted. Student records come from DynamoDB.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from flask import Flask
from painted_function import create_function, painted_pipeline

from rollcall.config import load_settings
from rollcall.core.settings import Settings
from rollcall.pipeline import Pipeline
from rollcall.stores.boto import dynamodb_client
from rollcall.stores.dynamodb import DynamoStudents


def app() -> Flask:
    ledger = Path(os.environ["CALLS"])
    return create_function(
        load_settings(os.environ),
        build_pipeline,
        before_call=lambda body: _append(ledger, json.loads(body)["key"]),
    )


def build_pipeline(settings: Settings) -> Pipeline:
    students = DynamoStudents(dynamodb_client(settings), settings.student_table)
    return dataclasses.replace(painted_pipeline(settings), students=students)


def _append(ledger: Path, key: str) -> None:
    # Several workers append to the file. A single unbuffered write in append mode is atomic.
    with open(ledger, "ab", buffering=0) as file:
        file.write(json.dumps(key).encode() + b"\n")
