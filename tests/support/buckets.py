"""Empty the buckets between tests."""

from __future__ import annotations

from rollcall.cli.workload import objects_to_clear, remove_objects
from rollcall.core.settings import Settings


def clear_buckets(settings: Settings) -> None:
    """Remove every object from the input, output and report buckets."""
    remove_objects(settings, objects_to_clear(settings))
