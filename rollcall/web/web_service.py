"""Builds and serves the pages."""

from __future__ import annotations

from typing import Any

from waitress.server import create_server

from rollcall.core.errors import SettingsError
from rollcall.core.protocols import GalleryLocation
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.boto import public_s3_client, s3_client
from rollcall.stores.s3 import S3Store
from rollcall.web.parts import WebParts
from rollcall.web.web_app import create_app

THREADS = 8
"""Requests that are handled at the same time."""


def build_parts(settings: Settings, database: Database, gallery: GalleryLocation) -> WebParts:
    """The parts with the real store and the database that the trigger uses."""
    store = S3Store(s3_client(settings), public_s3_client(settings))
    return WebParts(settings, database, SqlQueue(database), store, gallery)


def listen(settings: Settings, web_parts: WebParts) -> Any:
    """Create a waitress server that listens on WEB_LISTEN. Raises SettingsError."""
    host, _, port = settings.web_listen.rpartition(":")
    try:
        return create_server(
            create_app(web_parts), host=host, port=int(port), threads=THREADS, ident="rollcall"
        )
    except OSError as error:
        raise SettingsError(f"WEB_LISTEN {settings.web_listen}: {error.strerror}") from error
