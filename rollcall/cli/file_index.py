"""Puts video files that `rollcall recognise` has looked at into the index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rollcall.cli.terminal import say
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.open_database import open_database
from rollcall.index.documents import NotAboutAVideo, indexed_video
from rollcall.index.sql_index import SqlIndex

NO_BUCKET = ""
"""The bucket of a video file in the index. The key is the absolute path."""


class FileIndex:
    """Writes the results of files into the index, where earlier ones are replaced."""

    def __init__(self, database: Database, gallery: str) -> None:
        """`gallery` is the version of the gallery that is used."""
        self._index = SqlIndex(database)
        self._gallery = gallery

    def put(self, video: Path, document: Mapping[str, Any], duration_s: float = 0.0) -> None:
        """Store a document of `recognise`. A file that does not exist is left out."""
        try:
            facts = video.stat()
        except OSError:
            return
        error = {"code": "not_recognised", "message": document["error"]}
        answer = {
            **document,
            "video": {
                "bucket": NO_BUCKET,
                "key": str(video.resolve()),
                # Changes whenever the file changes.
                "etag": f"{facts.st_size:x}-{facts.st_mtime_ns:x}",
            },
            "duration_s": duration_s,
            "error": error if document["error"] else None,
            "uploaded_s": facts.st_mtime,
            "recognised_s": time.time(),
            "gallery": self._gallery,
        }
        try:
            self._index.put([indexed_video(answer)])
        except NotAboutAVideo:
            say(f"{video}: left out of the index, because its path is too long", err=True)


@contextmanager
def opened_file_index(chosen: Settings, gallery: str) -> Iterator[FileIndex]:
    """The index in the database that DATABASE_URL names, for files.

    Raises SettingsError and InboxUnavailable.
    """
    with closing(open_database(chosen)) as database:
        yield FileIndex(database, gallery)
