"""Requests from the page of a video: boxes for the player, pictures of faces, and downloads."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from typing import Any

from flask import Blueprint, current_app, jsonify, make_response, request, send_file
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from rollcall.core.errors import ObjectNotFound, ObjectTooLarge, RollcallError
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.printable import printable
from rollcall.index.face_queries import FaceQueries
from rollcall.recognition.stored_faces import MAX_FACES_BYTES
from rollcall.web.face_pictures import FacePictures, NumbersDiffer, VideoPictures
from rollcall.web.lanes import labelled
from rollcall.web.parts import parts
from rollcall.web.video_boxes import OtherPeople, boxes_of
from rollcall.web.video_texts import web_vtt

pages = Blueprint("video_downloads", __name__)


@pages.record
def _add_cache(state: BlueprintSetupState) -> None:
    state.app.extensions["rollcall_pictures"] = FacePictures()


MAX_RESULT_BYTES = 16 << 20
MAX_REPORT_BYTES = 64 << 20


@pages.get("/videos/<int:video_id>/boxes.json")
def boxes(video_id: int) -> Response:
    """The faces by time, and why the video cannot be played, if that is so."""
    found = _video(video_id)
    problem, gone = _problem(found)
    faces, note = ([], "") if gone or not found.people else _boxes(found)
    document = {
        "problem": problem,
        "gone": gone,
        "note": note,
        "faces": faces,
        "labels": {seen.number: label for seen, label in labelled(found.people)},
    }
    response = jsonify(document)
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.headers["Cache-Control"] = "private, no-cache"
    return response.make_conditional(request)


@pages.get("/videos/<int:video_id>/faces/<int:number>.jpg")
def face(video_id: int, number: int) -> Response:
    """The best picture of a person; with `t`, the one that is nearest to this time."""
    found = _video(video_id)
    if found.kept != "pictures" or not parts().settings.report_bucket:
        raise NotFound
    near_s = request.args.get("t", type=float)
    # After an undone correction, the people are the same again, but not what was stored before.
    row_id = FaceQueries(parts().database).newest_row(video_id)
    version = f"{_people_version(found)}/{row_id}/{found.finished_s}/{found.gallery}"
    etag = hashlib.sha256(f"{video_id}/{number}/{near_s}/{version}".encode()).hexdigest()[:32]
    if request.if_none_match.contains(etag):
        answer = Response(status=304)
    else:
        cache: FacePictures = current_app.extensions["rollcall_pictures"]
        stored = cache.get((video_id, version), lambda: _read_pictures(found))
        jpeg = stored.picture_of(number, near_s)
        if jpeg is None:
            raise NotFound
        answer = make_response(jpeg)
        answer.content_type = "image/jpeg"
    answer.set_etag(etag)
    # Corrections renumber the people, so the browser asks each time whether its copy is current.
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


@pages.get("/videos/<int:video_id>/result.csv")
def result(video_id: int) -> Response:
    key = result_key(_video_in_store(video_id).key)
    body = _read(parts().settings.output_bucket, key, MAX_RESULT_BYTES, "result")
    return _download(body, "text/csv", key)


@pages.get("/videos/<int:video_id>/report.json")
def report(video_id: int) -> Response:
    key = report_key(_video_in_store(video_id).key)
    body = _read(parts().settings.report_bucket, key, MAX_REPORT_BYTES, "report")
    return _download(body, "application/json", key)


@pages.get("/videos/<int:video_id>/people.vtt")
def captions(video_id: int) -> Response:
    """The people as captions, for players."""
    found = _video(video_id)
    return _download(web_vtt(found).encode(), "text/vtt", found.key + ".vtt")


def _video(video_id: int) -> IndexedVideo:
    found = parts().index.get(video_id)
    if found is None:
        raise NotFound
    return found


def _people_version(found: IndexedVideo) -> str:
    """A text that changes if the numbers of the people may mean other people."""
    people = [(seen.number, seen.name, seen.intervals) for seen in found.people]
    return hashlib.sha256(repr((found.etag, people)).encode("utf-8", "replace")).hexdigest()[:16]


def _video_in_store(video_id: int) -> IndexedVideo:
    found = _video(video_id)
    if found.is_file:
        raise NotFound(
            "This video is a file, so the store has no result of it; `rollcall results` shows it."
        )
    return found


def _boxes(found: IndexedVideo) -> tuple[list[Any], str]:
    """The faces of the report, and a sentence if there are none."""
    bucket = parts().settings.report_bucket
    if not bucket:
        return [], "No boxes are shown in the video, because REPORT_BUCKET is empty."
    try:
        body = parts().store.read(bucket, report_key(found.key), MAX_REPORT_BYTES)
        return boxes_of(json.loads(body), found), ""
    except OtherPeople:
        return [], "No boxes are shown in the video, because its result is being written again."
    except ObjectNotFound:
        return [], "No boxes are shown in the video, because its report does not exist."
    except (ValueError, RecursionError):
        return [], "No boxes are shown in the video, because its report cannot be read."
    except RollcallError as error:
        return [], f"No boxes are shown in the video: {error}."


def _problem(found: IndexedVideo) -> tuple[str, bool]:
    """Why the video cannot be played, or is another one by now, and whether it was deleted."""
    try:
        info = parts().store.head(found.bucket, found.key)
    except ObjectNotFound:
        text = "The video has been deleted since, so it cannot be played."
        return text, True
    except RollcallError as error:
        return f"The video cannot be played at the moment: {error}.", False
    if found.etag and info.etag != found.etag:
        text = (
            "The video has been replaced since. The player shows the new one; the people and times"
            " are those of the earlier one."
        )
        return text, False
    return "", False


def _read_pictures(found: IndexedVideo) -> VideoPictures:
    bucket, key = parts().settings.report_bucket, faces_key(found.key)
    try:
        return VideoPictures.parse(parts().store.read(bucket, key, MAX_FACES_BYTES), found)
    except NumbersDiffer:
        raise NotFound from None
    except (ObjectNotFound, ObjectTooLarge):
        return VideoPictures.none()


def _read(bucket: str, key: str, max_bytes: int, what: str) -> bytes:
    if not bucket:
        raise NotFound(f"No {what} is stored, because REPORT_BUCKET is empty.")
    try:
        return parts().store.read(bucket, key, max_bytes)
    except ObjectNotFound as error:
        raise ObjectNotFound(f"the {what} of this video does not exist: {error}") from error


def _download(body: bytes, content_type: str, key: str) -> Response:
    # A header is one line, and a key may have line breaks.
    name = printable(key.rpartition("/")[2])
    return send_file(BytesIO(body), content_type, as_attachment=True, download_name=name)
