"""The reference flow as a warm function that gets an event and writes a CSV to the output bucket.

It does what typical functions do: it downloads the whole object to a temporary folder, runs
`benchmarks.reference`, and queries DynamoDB for the person. Each worker creates its clients once.
The statuses in its answers are those that the trigger expects. `stacks.py` runs it with gunicorn.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from flask import Flask, request

from benchmarks.reference import recognise
from rollcall.config import load_settings
from rollcall.core.keys import result_key
from rollcall.core.settings import Settings
from rollcall.stores.boto import dynamodb_resource, s3_client


class ReferenceFunction:
    """Recognises one video per call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._s3 = s3_client(settings)
        self._students = dynamodb_resource(settings).Table(settings.student_table)

    def call(self, key: str) -> str:
        """Recognise the video with this key, write its CSV, and return the status."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            self._s3.download_file(self._settings.input_bucket, key, str(path))
            name = recognise(path, Path(self._settings.encodings))
        rows = [self._record(name)] if name else []
        body = _csv([["name", "major", "year"], *rows])
        self._s3.put_object(Bucket=self._settings.output_bucket, Key=result_key(key), Body=body)
        return "recognised" if name else "unknown"

    def _record(self, name: str) -> list[str]:
        answer = self._students.query(
            KeyConditionExpression="#name = :name",
            ExpressionAttributeNames={"#name": "name"},
            ExpressionAttributeValues={":name": name},
        )
        student = answer["Items"][0]
        return [name, student["major"], student["year"]]


def _csv(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def from_environment() -> Flask:
    """Return the application for gunicorn. Its path is the one that the gateway would use."""
    settings = load_settings(os.environ)
    function = ReferenceFunction(settings)
    app = Flask(__name__)

    @app.post(f"/function/{settings.openfaas_function}")
    def call() -> dict[str, Any]:
        return {"status": function.call(request.get_json()["key"])}

    @app.get("/healthz")
    def healthz() -> str:
        return "OK"

    return app
