"""The function for painted faces, as the application `painted_function:app()` for gunicorn.

HTTP, pipeline, store and decoder are the real ones. A call takes only milliseconds, because no face
model runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Flask

from rollcall.config import load_settings
from rollcall.core.settings import Settings
from rollcall.core.types import Student
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.function.function_service import FunctionService
from rollcall.function.python3_http import Context, Event, create_app
from rollcall.gallery.gallery_locations import CachedGallery
from rollcall.pipeline import Pipeline
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStudents
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_gallery_location, build_recogniser


def app() -> Flask:
    return create_function(load_settings(os.environ), painted_pipeline)


def create_function(
    settings: Settings,
    build_pipeline: Callable[[Settings], Pipeline],
    around_call: Callable[[Event], AbstractContextManager[None]] = nullcontext,
) -> Flask:
    """Return the application. Each call runs within the context manager of `around_call`."""
    service = FunctionService(lambda: build_pipeline(settings), settings.function_hmac_key)

    def handle(event: Event, context: Context) -> Mapping[str, Any]:
        with around_call(event):
            answer = service.answer(event.body, dict(event.headers))
        return {"statusCode": answer.status, "body": answer.body(), "headers": answer.headers()}

    return create_app(handle, f"/function/{settings.openfaas_function}")


def painted_pipeline(settings: Settings) -> Pipeline:
    return Pipeline(
        settings,
        S3Store(s3_client(settings)),
        MemoryStudents({name: Student(name, "physics", "junior") for name in PaintedFaces.COLOURS}),
        build_recogniser(settings, PaintedFaces()),
        CachedGallery(build_gallery_location(settings), settings.encodings_refresh_s),
    )
