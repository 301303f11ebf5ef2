"""Serve the OpenFaaS function at `/function/NAME`, as the gateway does, but without an image."""

from __future__ import annotations

import os
import sys

from flask import Flask

from rollcall.function.python3_http import create_app


def from_environment() -> Flask:
    """Return the application for gunicorn.

    FUNCTION_CONTEXT names the folder that contains the package `function`.
    """
    sys.path.append(os.environ["FUNCTION_CONTEXT"])
    from function.handler import handle

    return create_app(handle, f"/function/{os.environ['OPENFAAS_FUNCTION']}")
