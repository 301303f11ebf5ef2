"""What the manifests' tests share."""

from __future__ import annotations

import pytest
from manifests.checks import CRDS, Schemas, rook_schemas
from support.needs import need


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """Rook's, which do not belong to this repository; in CI they may not be missing."""
    need(CRDS.is_file(), f"Rook's custom resource definitions are not at {CRDS}")
    return rook_schemas()
