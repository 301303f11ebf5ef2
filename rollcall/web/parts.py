"""The parts that the pages use."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from rollcall.core.protocols import GalleryLocation, ObjectStore
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.database.database import Database


@dataclass(frozen=True, slots=True)
class WebParts:
    """Everything that the pages read and change. All parts are safe to share between threads."""

    settings: Settings
    database: Database
    queue: WorkQueue
    store: ObjectStore
    gallery: GalleryLocation


def parts() -> WebParts:
    """The parts of the app that answers the current request."""
    found: WebParts = current_app.extensions["rollcall"]
    return found
