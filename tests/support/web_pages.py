"""The pages with a database in a file and a store in memory: served, or by a test client."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient

from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.faces.face_jpeg import face_jpeg
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.forgetting import Mention, PersonRemoval, reports_in, results_in
from rollcall.gallery.gallery_locations import GalleryFile
from rollcall.stores.memory import MemoryStore, MemoryStudents
from rollcall.web.parts import WebParts
from rollcall.web.web_app import create_app
from rollcall.web.web_service import serve, sql_parts
from support.databases import open_file


def make_parts(database: Database, folder: Path, **others: Any) -> WebParts:
    """The real parts with an in-memory store and a gallery in the folder.

    `others` replace parts by the names of their fields, and settings by the names of settings.
    """
    names = set(WebParts.__slots__)
    settings = Settings(**{name: value for name, value in others.items() if name not in names})
    store, gallery = MemoryStore(), GalleryFile(folder / "gallery.npz")
    parts = sql_parts(
        settings,
        database,
        store,
        gallery,
        MemoryStudents(),
        build_engine=PaintedFaces,
        face_jpeg=face_jpeg,
        forgetting=PersonOfTheStore(settings, store, gallery),
    )
    return replace(parts, **{name: value for name, value in others.items() if name in names})


@dataclass(frozen=True)
class PersonOfTheStore:
    """A Forgetting for the gallery, the results and the reports."""

    settings: Settings
    store: MemoryStore
    gallery: GalleryFile

    def mentions(self, name: str, dry_run: bool) -> Iterator[Mention]:
        removal = PersonRemoval(name, dry_run=dry_run)
        yield from removal.remove_from_gallery(self.gallery)
        for searched in (
            results_in(self.settings.output_bucket),
            reports_in(self.settings.report_bucket),
        ):
            yield from removal.remove_from_bucket(self.store, searched)

    def unreached(self) -> list[str]:
        return ["the student table was not searched"]

    @property
    def repeat_after_s(self) -> float:
        return 3600.0


@contextmanager
def web_parts(folder: Path, **others: Any) -> Iterator[WebParts]:
    """Parts with a database in the folder. `others` as in `make_parts`."""
    with closing(open_file(folder / "inbox.sqlite3")) as database:
        yield make_parts(database, folder, **others)


@contextmanager
def serve_pages(parts: WebParts, app: Flask | None = None) -> Iterator[str]:
    """Serve the pages on a free port as `rollcall web` does, and yield their URL."""
    server = serve(app or create_app(parts), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def close() -> None:
        server.close()
        for channel in list(server.active_channels.values()):  # browsers keep connections open
            channel.handle_close()

    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        # First the answers in progress end, because each of them wakes the thread of the server.
        server.task_dispatcher.shutdown()
        server.trigger.pull_trigger(close)
        thread.join(60)
        assert not thread.is_alive()


def pages_client(parts: WebParts) -> FlaskClient:
    """A test client of the pages."""
    app = create_app(parts)
    app.testing = True
    return app.test_client()


def csrf_token(client: FlaskClient) -> str:
    """The token that the session of the client needs for changes."""
    page = client.get("/").get_data(as_text=True)
    return page.partition('name="csrf-token" content="')[2].partition('"')[0]


def post(client: FlaskClient, path: str, values: Mapping[str, Any] | None = None) -> Any:
    """Send a form, as a page would."""
    form = {**(values or {}), "csrf_token": csrf_token(client)}
    return client.post(path, data=form)


def local_path(location: str) -> str:
    """The path of a redirect."""
    return urlsplit(location).path
