"""A pipeline with in-memory stores, which recognises real video files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rollcall.core.gallery import Gallery
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings, parse_settings
from rollcall.core.types import Student, VideoLimits
from rollcall.faces.face_jpeg import face_jpeg
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.function.function_service import FunctionService
from rollcall.pipeline import Pipeline
from rollcall.recognition.recogniser import Recogniser
from rollcall.stores.memory import MemoryStore, MemoryStudents
from rollcall.video.pool import DecoderPool
from support.videos import painted_gallery

IN, OUT, REPORTS = "input-bucket-video", "output-bucket-vid", "reports"


decoders = cache(DecoderPool)
"""Return the pool that all tests share. Its processes take 250 ms to start and keep no state."""


class FixedGallery:
    """A gallery that never changes."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.facts = GalleryFacts(len(gallery.people), len(gallery), 0.0)

    def current(self) -> Gallery:
        return self._gallery


class Home:
    """A pipeline with in-memory stores, and a gallery of Alice (red face) and Bob (blue face)."""

    def __init__(self, settings: Settings) -> None:
        self.store = MemoryStore()
        self.students = MemoryStudents({"alice": Student("alice", "physics", "junior")})
        limits = VideoLimits(settings.max_video_s, settings.max_video_px)
        self.recogniser = Recogniser(
            decoders(limits).open,
            PaintedFaces(),
            tolerance=settings.tolerance,
            scan=SCANS[settings.scan],
            max_s=settings.max_call_s,
            cut_out=face_jpeg if settings.keep_faces == "pictures" else None,
        )
        gallery = FixedGallery(painted_gallery(alice="red", bob="blue"))
        self.pipeline = Pipeline(settings, self.store, self.students, self.recogniser, gallery)

    def put(self, key: str, content: Path | bytes) -> str:
        """Upload a video to the input bucket, and return its ETag."""
        body = content if isinstance(content, bytes) else content.read_bytes()
        self.store.write(IN, key, body, "video/mp4", {})
        return self.store.head(IN, key).etag

    def result(self, key: str) -> str:
        return self.store.read(OUT, key, 1 << 20).decode()


def make_home(**values: str) -> Home:
    return Home(parse_settings({"REPORT_BUCKET": REPORTS, **values}))


def answer(home: Home, content: Path | bytes, key: str = "a.mp4") -> tuple[int, str]:
    """Recognise a video, and return the HTTP status with the error code or the result's status."""
    home.put(key, content)
    service = FunctionService(lambda: home.pipeline)
    reply = service.answer(b'{"bucket": "%s", "key": "%s"}' % (IN.encode(), key.encode()))
    document = reply.document
    return reply.status, document["error"]["code"] if "error" in document else document["status"]
