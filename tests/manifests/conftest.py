"""Fixtures of the manifests' tests."""

from __future__ import annotations

import pytest
from manifests.checks import CRDS, Schemas, rook_schemas
from support.needs import need


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """The schemas of Rook's custom resources. Their file is outside of this repository."""
    need(CRDS.is_file(), f"Rook's custom resource definitions are not at {CRDS}")
    return rook_schemas()
