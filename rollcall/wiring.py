"""Builds the parts of Rollcall from the settings. Only this module chooses implementations."""

from __future__ import annotations

from pathlib import Path

from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.errors import SettingsError
from rollcall.core.protocols import FaceEngine, GalleryLocation
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings, check_gallery_place
from rollcall.core.types import VideoLimits
from rollcall.gallery.gallery_locations import CachedGallery, gallery_location
from rollcall.pipeline import Pipeline
from rollcall.recognition.looker import LookObserver
from rollcall.recognition.picture_book import CutOut
from rollcall.recognition.recogniser import Recogniser
from rollcall.stores.boto import dynamodb_client, s3_client, sqs_client
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import SqsQueue
from rollcall.video.memory_limit import memory_limit_bytes
from rollcall.video.pool import DecoderPool
from rollcall.video.video_folder import sweep


def build_engine(settings: Settings) -> FaceEngine:
    """The face engine that ENGINE names. Raises SettingsError if a library is missing."""
    # The engines are imported here instead of above, because they take long to load and many
    # commands do not need them.
    if settings.engine == "face_recognition":
        try:
            from rollcall.faces.dlib_faces import DlibFaces
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"ENGINE=face_recognition needs the package {error.name}, which is not installed;"
                " install it (pip install --no-deps face_recognition==1.3.0 'setuptools<81' pillow)"
                " or use ENGINE=onnx, which gives the same encodings"
            ) from error
        return DlibFaces()
    try:
        from rollcall.faces.engine import default_engine
    except ImportError as error:
        raise SettingsError(
            f"the engine cannot be loaded ({error}); if a system library is missing, install it"
            " (on Debian: apt-get install libgl1 libglib2.0-0), or replace OpenCV with the build"
            " that needs none: pip install --force-reinstall --no-deps opencv-python-headless"
        ) from error

    cache = Path(settings.model_cache or Path.home() / ".cache" / "rollcall")
    own_model = settings.engine.partition("onnx:")[2]
    return default_engine(cache, Path(own_model) if own_model else None)


def space_of(settings: Settings) -> EncodingSpace:
    """The encoding space of the engine that ENGINE names."""
    # The space of a user's own model is stored in the model's file, so that engine has to be
    # loaded. All other engines have dlib's space.
    return build_engine(settings).space if settings.engine.startswith("onnx:") else DLIB


def build_recogniser(
    settings: Settings,
    engine: FaceEngine,
    cut_out: CutOut | None = None,
    observer: LookObserver | None = None,
) -> Recogniser:
    limits = VideoLimits(settings.max_video_s, settings.max_video_px)
    return Recogniser(
        DecoderPool(limits).open,
        engine,
        tolerance=settings.tolerance,
        scan=SCANS[settings.scan],
        max_s=settings.max_call_s,
        cut_out=cut_out,
        observer=observer,
    )


def cut_out(settings: Settings) -> CutOut | None:
    """The function that makes the pictures for KEEP_FACES=pictures; None for other values."""
    if settings.keep_faces != "pictures":
        return None
    from rollcall.faces.face_jpeg import face_jpeg  # OpenCV is slow to load

    return face_jpeg


def build_gallery_location(settings: Settings) -> GalleryLocation:
    """The location that ENCODINGS names. Raises SettingsError if it is in the input bucket."""
    check_gallery_place(settings)
    return gallery_location(settings.encodings, lambda: S3Store(s3_client(settings)))


def build_results(settings: Settings) -> SqsQueue | None:
    """The queue that RESULT_QUEUE_URL names, or None if the setting is empty."""
    url = settings.result_queue_url
    return SqsQueue(sqs_client(settings), url) if url else None


def build_pipeline(settings: Settings, processes: int = 1) -> Pipeline:
    """The pipeline with everything that it needs. Call this once, when a process starts.

    `processes` is the number of processes that share the container's memory. The more there are,
    the smaller a gallery has to be.
    """
    sweep()  # removes the folders of processes that were killed while they read a video
    engine = build_engine(settings)
    return Pipeline(
        settings,
        S3Store(s3_client(settings)),
        DynamoStudents(dynamodb_client(settings), settings.student_table),
        build_recogniser(settings, engine, cut_out(settings)),
        CachedGallery(
            build_gallery_location(settings),
            settings.encodings_refresh_s,
            memory_bytes=memory_limit_bytes(processes),
            space=engine.space,
        ),
        build_results(settings),
    )
