"""The function with painted faces in place of real ones, for gunicorn: `painted_function:app()`.

Everything else is the product's own: HTTP, pipeline, store, decoder. A test of the flow needs no
face models then, and a call takes milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from rollcall.config import load_settings
from rollcall.core.settings import Settings
from rollcall.core.types import Student
from rollcall.function.function_service import FunctionService
from rollcall.function.python3_http import Context, Event, create_app
from rollcall.gallery.gallery_places import CachedGallery
from rollcall.pipeline import Pipeline
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStudents, PaintedFaces
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_place, build_recogniser


def app() -> Flask:
    settings = load_settings(os.environ)
    service = FunctionService(lambda: painted_pipeline(settings), settings.function_hmac_key)

    def handle(event: Event, context: Context) -> Mapping[str, Any]:
        answer = service.answer(event.body, dict(event.headers))
        return {"statusCode": answer.status, "body": answer.body(), "headers": answer.headers()}

    return create_app(handle, f"/function/{settings.openfaas_function}")


def painted_pipeline(settings: Settings) -> Pipeline:
    return Pipeline(
        settings,
        S3Store(s3_client(settings)),
        MemoryStudents({name: Student(name, "physics", "junior") for name in PaintedFaces.COLOURS}),
        build_recogniser(settings, PaintedFaces()),
        CachedGallery(build_place(settings), settings.encodings_refresh_s),
    )
