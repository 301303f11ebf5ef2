"""The function as OpenFaaS' gateway shows it, at `/function/NAME`, without gateway and image."""

from __future__ import annotations

import os
import sys

from flask import Flask

from rollcall.function.python3_http import create_app


def from_environment() -> Flask:
    """For gunicorn: FUNCTION_CONTEXT is the folder that holds the package `function`."""
    sys.path.append(os.environ["FUNCTION_CONTEXT"])
    from function.handler import handle

    return create_app(handle, f"/function/{os.environ['OPENFAAS_FUNCTION']}")
