"""Builds the parts that correct galleries and results."""

from __future__ import annotations

from typing import NamedTuple

from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.protocols import GalleryLocation, ObjectStore, StudentStore
from rollcall.core.settings import Settings
from rollcall.core.web_protocols import FaceSearch
from rollcall.corrections.corrections import GalleryCorrections
from rollcall.corrections.corrector import Corrector
from rollcall.corrections.faces_of_verdicts import FacesOfVerdicts
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.corrections.rematcher import Rematcher
from rollcall.corrections.video_objects import VideoObjects
from rollcall.database.database import Database
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.index.video_faces import VideoFaces


class CorrectionParts(NamedTuple):
    """The corrections, and the Rematcher that corrects the videos after them."""

    corrections: GalleryCorrections
    rematcher: Rematcher


def build_corrections(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    location: GalleryLocation,
    students: StudentStore,
    *,
    space: EncodingSpace = DLIB,
    search: FaceSearch | None = None,
) -> CorrectionParts:
    """`space` is the encoding space of the function's engine. `search` replaces a search that reads
    the table each time."""
    index, groups = SqlIndex(database), SqlUnknownGroups(database, space)
    faces = search or SqlFaceSearch(database)
    objects = VideoObjects(store, settings.output_bucket, settings.report_bucket)
    writer = GalleryWriter(
        database, location, faces, max(space.tolerance, settings.tolerance or 0.0)
    )
    stored_faces, tolerance = VideoFaces(database), settings.tolerance
    corrector = Corrector(database, index, stored_faces, objects, students, tolerance)
    return CorrectionParts(
        GalleryCorrections(database, location, FacesOfVerdicts(index, objects), groups, writer),
        Rematcher(database, location, corrector, writer),
    )
