"""Fixtures of the manifests' tests."""

from __future__ import annotations

import copy

import pytest
from manifests.checks import CRDS, REPOSITORY, Document, Schemas, load, rook_schemas
from manifests.kustomize import DATABASE, MANY, MONITORING, ONE, build
from support.needs import need

CEPH = load(REPOSITORY / "ceph")


@pytest.fixture
def documents() -> list[Document]:
    """The resources of an installation with one trigger."""
    return copy.deepcopy(CEPH + build(ONE))


@pytest.fixture
def shared() -> list[Document]:
    """The resources of an installation with many triggers on PostgreSQL, and monitoring."""
    return copy.deepcopy(CEPH + build(MANY, DATABASE, MONITORING))


@pytest.fixture
def both(documents: list[Document], shared: list[Document]) -> list[list[Document]]:
    """Both installations. A kind that only one of them has is changed in that one."""
    return [documents, shared]


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """The schemas of Rook's custom resources. Their file is outside of this repository."""
    need(CRDS.is_file(), f"Rook's custom resource definitions are not at {CRDS}")
    return rook_schemas()
