"""Connects the function to its object store and its student table."""

import os

from rollcall.config import load_settings
from rollcall.pipeline import Pipeline
from rollcall.tracing import open_tracer
from rollcall.wiring import build_pipeline

# Loaded at import: with a wrong setting the function does not start, instead of failing each call.
settings = load_settings(os.environ)
tracer = open_tracer("rollcall-function", os.environ)


def connect() -> Pipeline:
    """Build the pipeline, at the first call.

    It gets the number of gunicorn's workers, because they share the container's memory.
    """
    return build_pipeline(settings, int(os.environ.get("WEB_CONCURRENCY", "1")))
