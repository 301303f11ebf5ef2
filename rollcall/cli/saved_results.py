"""Collects what `rollcall recognise --save` and `--html` write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollcall.cli.picture_drawing import face_cut_out, small_frame
from rollcall.cli.result_page import PageVideo, write_page
from rollcall.cli.result_pictures import (
    PersonPicture,
    PicturesNotSaved,
    person_pictures,
    safe_name,
    save_pictures,
)
from rollcall.core.printable import printable
from rollcall.core.types import Box, Pixels, Recognition
from rollcall.recognition.frame_book import FrameBook

CutOut = Callable[[Pixels, Box], bytes]


class ResultFiles:
    """The pictures and the page of one call. Either may be None, if it is not wanted."""

    def __init__(self, folder: Path | None, page: Path | None) -> None:
        """Raises PicturesNotSaved if the page could not be written at the end."""
        if page and not os.access(page.parent, os.W_OK | os.X_OK):
            exists = page.parent.is_dir()
            reason = "the folder is not writable" if exists else "create its folder first"
            raise PicturesNotSaved(f"{str(page)!r} cannot be written: {reason}")
        self._folder = folder
        self._page = page
        self._frames = FrameBook(small_frame) if folder else None
        self._videos: list[PageVideo] = []
        self._folders: list[str] = []
        self._pictures = 0

    @property
    def hooks(self) -> tuple[CutOut, FrameBook | None]:
        """The parts that make pictures during a search (`wiring.build_recogniser`)."""
        return face_cut_out, self._frames

    def add(self, video: Path, document: dict[str, Any], recognition: Recognition | None) -> None:
        """Write the pictures of a video, and keep what the page needs. Raises PicturesNotSaved."""
        people: list[PersonPicture] = []
        if recognition:
            people = person_pictures(recognition, document["people"])
            if self._folder and self._frames:
                name = safe_name(video.stem, self._folders)
                self._folders.append(name)
                frames = self._frames.chosen(recognition)
                title, target = printable(video.name), self._folder / name
                self._pictures += save_pictures(target, title, recognition, frames, people)
        if self._page:
            end_s = recognition.end_s if recognition else 0.0
            self._videos.append(PageVideo(document, end_s, people))

    def finish(self, gallery: str) -> list[str]:
        """Write the page if there is a video, and say what was written. Raises PicturesNotSaved."""
        written = []
        if self._folder:
            count = f"{self._pictures} picture" + ("" if self._pictures == 1 else "s")
            written.append(f"{count} saved in {self._folder}")
        if self._page and self._videos:
            write_page(self._page, self._videos, gallery)
            written.append(f"page written to {self._page}")
        return written
