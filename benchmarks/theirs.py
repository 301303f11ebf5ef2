"""Imports the package `face_recognition` without the warning about `pkg_resources`."""

from __future__ import annotations

import importlib
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # `pkg_resources` is imported first, because an ImportError is clear. If that module is missing,
    # `face_recognition` prints a misleading message and ends the process with exit code 0.
    importlib.import_module("pkg_resources")
    face_recognition = importlib.import_module("face_recognition")
