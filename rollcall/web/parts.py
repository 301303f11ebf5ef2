"""The parts that the pages use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from rollcall.core.protocols import FaceEngine, GalleryLocation, ObjectStore
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.core.types import Box, Pixels
from rollcall.core.web_protocols import (
    ChangeLog,
    Corrections,
    FaceSearch,
    UnknownGroups,
    VideoIndex,
)
from rollcall.corrections.rematcher import Rematcher
from rollcall.database.database import Database
from rollcall.web.gallery_cache import GalleryCache
from rollcall.web.removals import Removals


@dataclass(frozen=True, slots=True)
class WebParts:
    """Everything that the pages read and change. All parts are safe to share between threads.

    `web_service.sql_parts` builds those that are in the database.
    """

    settings: Settings
    database: Database
    queue: WorkQueue
    store: ObjectStore
    gallery: GalleryLocation
    index: VideoIndex
    faces: FaceSearch
    groups: UnknownGroups
    changes: ChangeLog
    corrections: Corrections
    rematcher: Rematcher
    known: GalleryCache
    """The gallery at this location, in memory."""
    engine: Callable[[], FaceEngine]
    """Builds the face engine at the first call, which takes a second."""
    face_jpeg: Callable[[Pixels, Box], bytes]
    """Makes a small picture of a face."""
    removals: Removals


def parts() -> WebParts:
    """The parts of the app that answers the current request."""
    found: WebParts = current_app.extensions["rollcall"]
    return found
