"""Imports onnxruntime with its telemetry switched off. Every module imports it from here.

Without ORT_DISABLE_TELEMETRY, the wheels of onnxruntime write a device id below
`~/.cache/Microsoft` on import, and later send it to Microsoft with a description of the machine.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
