"""Sentences about functions of the pages that the settings switch off."""

from __future__ import annotations

from rollcall.core.settings import Settings


def missing_on_pages(settings: Settings) -> list[str]:
    """A sentence for each part of the pages that the settings switch off."""
    if not settings.report_bucket:
        return [
            "REPORT_BUCKET is empty, so results cannot be corrected and no faces are stored; set"
            " REPORT_BUCKET=rollcall-reports to change that."
        ]
    if settings.keep_faces == "none":
        return [
            "KEEP_FACES is none, so the pages show names without pictures, names cannot be"
            " corrected by a face, and no photo finds a person in earlier videos. Set"
            " KEEP_FACES=pictures, or KEEP_FACES=encodings, which stores no pictures."
        ]
    return []
