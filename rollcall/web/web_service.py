"""Builds and serves the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress.server import create_server

from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.listen_errors import cannot_listen
from rollcall.core.protocols import FaceEngine, GalleryLocation, ObjectStore, StudentStore
from rollcall.core.settings import Settings
from rollcall.core.types import Box, Pixels
from rollcall.corrections.correction_parts import build_corrections
from rollcall.database.database import Database
from rollcall.index.cached_face_search import CachedFaceSearch
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.boto import dynamodb_client, public_s3_client, s3_client
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store
from rollcall.web.built_once import BuiltOnce
from rollcall.web.gallery_cache import GalleryCache
from rollcall.web.parts import WebParts
from rollcall.web.removals import Forgetting, Removals
from rollcall.web.web_app import MAX_BODY_BYTES, create_app

MAX_SENT_BYTES = 2 * MAX_BODY_BYTES
"""Longest body that waitress receives. It is kept in a temporary file before the app sees the
request. The limit is above that of the app, so that the answer to most long bodies is a page."""

CONNECTIONS = 500
"""Limit on open connections. A browser opens up to six for a page, and waitress keeps each for two
minutes. Beyond the limit, browsers wait."""

THREADS = 8
"""Requests that are handled at the same time."""


def build_parts(
    settings: Settings,
    database: Database,
    gallery: GalleryLocation,
    space: EncodingSpace,
    *,
    build_engine: Callable[[], FaceEngine],
    face_jpeg: Callable[[Pixels, Box], bytes],
    forgetting: Forgetting,
) -> WebParts:
    """The parts with the real store and the database that the trigger uses.

    `space` is the encoding space of the function's engine.
    """
    return sql_parts(
        settings,
        database,
        S3Store(s3_client(settings), public_s3_client(settings)),
        gallery,
        DynamoStudents(dynamodb_client(settings), settings.student_table),
        space,
        build_engine=build_engine,
        face_jpeg=face_jpeg,
        forgetting=forgetting,
    )


def sql_parts(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    gallery: GalleryLocation,
    students: StudentStore,
    space: EncodingSpace = DLIB,
    *,
    build_engine: Callable[[], FaceEngine],
    face_jpeg: Callable[[Pixels, Box], bytes],
    forgetting: Forgetting,
) -> WebParts:
    """The parts whose data is in the database."""
    known, changes = GalleryCache(gallery), SqlChangeLog(database)
    faces = CachedFaceSearch(database)
    corrections, rematcher = build_corrections(
        settings, database, store, gallery, students, space=space, search=faces
    )
    return WebParts(
        settings,
        database,
        SqlQueue(database),
        store,
        gallery,
        index=SqlIndex(database),
        faces=faces,
        groups=SqlUnknownGroups(database, space),
        changes=changes,
        corrections=corrections,
        rematcher=rematcher,
        known=known,
        engine=BuiltOnce(build_engine),
        face_jpeg=face_jpeg,
        removals=Removals(forgetting, changes, known),
    )


def listen(settings: Settings, web_parts: WebParts) -> Any:
    """Create a waitress server that listens on WEB_LISTEN. Raises SettingsError."""
    host, _, port = settings.web_listen.rpartition(":")
    app = create_app(web_parts)
    try:
        return serve(app, host, int(port))
    except OSError as error:
        users = "`rollcall up` or another `rollcall web`"
        raise cannot_listen("WEB_LISTEN", settings.web_listen, error, users) from error


def serve(app: Flask, host: str, port: int) -> Any:
    """Create a waitress server for the pages. Raises OSError if the address cannot be used."""
    return create_server(
        app,
        host=host,
        port=port,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,  # select() fails for file descriptors above 1023
        max_request_body_size=MAX_SENT_BYTES,
        # waitress would remove X-Forwarded-For and -Proto. `sign_in` reads them, and checks that
        # they come from one of WEB_PROXIES.
        clear_untrusted_proxy_headers=False,
        ident="rollcall",
    )
