"""What the manifests' tests share."""

from __future__ import annotations

import os

import pytest
from manifests.checks import CRDS, Schemas, rook_schemas


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """Rook's, which do not belong to this repository; in CI they may not be missing."""
    if not CRDS.is_file() and not os.environ.get("CI"):
        pytest.skip(f"Rook's custom resource definitions are not at {CRDS}")
    return rook_schemas()
