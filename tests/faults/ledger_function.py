"""The function with painted faces and real records, for gunicorn: `ledger_function:app()`.

Each call is a line in the file CALLS before it begins, so that what the trigger says about its
calls can be compared with what arrived.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from painted_function import painted_pipeline

from rollcall.config import load_settings
from rollcall.core.settings import Settings
from rollcall.function.function_service import FunctionService
from rollcall.function.python3_http import Context, Event, create_app
from rollcall.pipeline import Pipeline
from rollcall.stores.boto import dynamodb_client
from rollcall.stores.dynamodb import DynamoStudents


def app() -> Flask:
    settings = load_settings(os.environ)
    service = FunctionService(lambda: build(settings), settings.function_hmac_key)
    ledger = Path(os.environ["CALLS"])

    def handle(event: Event, context: Context) -> Mapping[str, Any]:
        _note(ledger, json.loads(event.body)["key"])
        answer = service.answer(event.body, dict(event.headers))
        return {"statusCode": answer.status, "body": answer.body(), "headers": answer.headers()}

    return create_app(handle, f"/function/{settings.openfaas_function}")


def build(settings: Settings) -> Pipeline:
    students = DynamoStudents(dynamodb_client(settings), settings.student_table)
    return dataclasses.replace(painted_pipeline(settings), students=students)


def _note(ledger: Path, key: str) -> None:
    """One write to a file opened for appending is whole, also beside those of other processes."""
    with open(ledger, "ab", buffering=0) as file:
        file.write(json.dumps(key).encode() + b"\n")
