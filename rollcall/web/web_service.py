"""Builds and serves the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress.server import create_server

from rollcall.core.errors import SettingsError, UnexpectedError
from rollcall.core.protocols import FaceEngine, GalleryLocation, ObjectStore
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.boto import public_s3_client, s3_client
from rollcall.stores.s3 import S3Store
from rollcall.web.built_once import BuiltOnce
from rollcall.web.gallery_cache import GalleryCache
from rollcall.web.parts import WebParts
from rollcall.web.removals import Forgetting, Removals
from rollcall.web.web_app import create_app

THREADS = 8
"""Requests that are handled at the same time."""


def build_parts(
    settings: Settings,
    database: Database,
    gallery: GalleryLocation,
    build_engine: Callable[[], FaceEngine],
    forgetting: Forgetting,
) -> WebParts:
    """The parts with the real store and the database that the trigger uses."""
    store = S3Store(s3_client(settings), public_s3_client(settings))
    return sql_parts(settings, database, store, gallery, build_engine, forgetting)


def sql_parts(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    gallery: GalleryLocation,
    build_engine: Callable[[], FaceEngine],
    forgetting: Forgetting,
) -> WebParts:
    """The parts whose data is in the database."""
    known, changes = GalleryCache(gallery), SqlChangeLog(database)
    return WebParts(
        settings,
        database,
        SqlQueue(database),
        store,
        gallery,
        index=SqlIndex(database),
        faces=SqlFaceSearch(database),
        groups=SqlUnknownGroups(database),
        changes=changes,
        corrections=_Absent("rollcall.corrections.corrections"),
        known=known,
        engine=BuiltOnce(build_engine),
        removals=Removals(forgetting, changes, known),
    )


class _Absent:
    """Stands for a part until its module exists."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        raise UnexpectedError(f"{self._module} does not exist yet, so {name!r} cannot be called")


def listen(settings: Settings, web_parts: WebParts) -> Any:
    """Create a waitress server that listens on WEB_LISTEN. Raises SettingsError."""
    host, _, port = settings.web_listen.rpartition(":")
    app = create_app(web_parts)
    try:
        return serve(app, host, int(port))
    except OSError as error:
        raise SettingsError(f"WEB_LISTEN {settings.web_listen}: {error.strerror}") from error


def serve(app: Flask, host: str, port: int) -> Any:
    """Create a waitress server for the pages. Raises OSError if the address cannot be used."""
    return create_server(app, host=host, port=port, threads=THREADS, ident="rollcall")
