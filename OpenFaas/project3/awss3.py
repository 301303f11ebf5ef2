"""Connects the function with its object store and its student table."""

import os

from rollcall.config import load_settings
from rollcall.pipeline import Pipeline
from rollcall.wiring import build_pipeline

# At import, so that a wrong setting stops the start instead of failing every call.
settings = load_settings(os.environ)


def connect() -> Pipeline:
    """The pipeline, built at the first call. Gunicorn's workers share the container's memory."""
    return build_pipeline(settings, int(os.environ.get("WEB_CONCURRENCY", "1")))
