"""Break a copy of a document, to show that a check finds the mistake."""

from __future__ import annotations

from typing import Any

from manifests.checks import Document


def is_ours(document: Document) -> bool:
    """Whether this is the resource of its kind that most tests change."""
    return document.name not in (
        "rook-ceph-tools",
        "rook-ceph-rgw-my-store-external",
        # These have tests of their own.
        "rollcall-trigger-database",
        "rollcall-database",
    )


def change_body(body: Any, change: dict[str, Any]) -> None:
    """Set values by their paths, such as `spec.ports.0.port`."""
    for path, value in change.items():
        *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))
        target = body
        for part in parents:
            target = target[part]
        target[last] = value
