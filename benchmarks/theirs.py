"""The package `face_recognition`, without the warning about what it imports."""

from __future__ import annotations

import importlib
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # First, because without it `face_recognition` ends the process with exit code 0.
    importlib.import_module("pkg_resources")
    face_recognition = importlib.import_module("face_recognition")
