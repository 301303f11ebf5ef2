"""The processing of a video, from its key to its result."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.ffmpeg import H264, ffmpeg, moving_card
from support.home import IN, OUT, REPORTS, Home, make_home
from support.videos import paint_video

from rollcall import pipeline
from rollcall.core.errors import (
    BucketNotAllowed,
    DecoderCrashed,
    NotAVideo,
    ObjectChanged,
    ObjectNotFound,
    ScratchUnavailable,
    StoreUnavailable,
    VideoTooLarge,
)
from rollcall.core.protocols import Video, VideoFile
from rollcall.core.types import DetectedFace, ObjectInfo, Pixels, Student, VideoRef

HEADER = "name,major,year,first_seen_s,last_seen_s,frames,distance\r\n"


def run(home: Home, key: str = "a.mp4") -> dict[str, object]:
    return home.pipeline.run(VideoRef(IN, key))


def test_a_known_person_gets_a_row_with_their_record(home: Home, tmp_path: Path) -> None:
    etag = home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    answer = run(home)
    assert answer["status"] == "recognised"
    assert answer["output"] == {"bucket": OUT, "key": "a.csv"}
    assert home.result("a.csv").startswith(HEADER + "alice,physics,junior,0.00,0.00,1,0.")
    metadata = home.store.metadata(OUT, "a.csv")
    assert metadata["source-etag"] == etag
    assert metadata["engine"] == "painted"
    assert len(metadata["gallery"]) == 16


def test_a_person_without_a_record_keeps_the_name(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["blue"]))
    run(home)
    assert home.result("a.csv").splitlines()[1].startswith("bob,,,")


def test_a_stranger_is_unknown_and_never_the_first_of_the_gallery(
    home: Home, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["green"]))
    assert run(home)["status"] == "unknown"
    assert home.result("a.csv").splitlines()[1].startswith("unknown,,,0.00,")


def test_without_faces_the_result_is_only_the_header(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", []))
    assert run(home)["status"] == "no_face"
    assert home.result("a.csv") == HEADER


def test_a_second_person_is_not_lost(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red", "blue"]))
    people = run(home)["people"]
    assert {person["name"] for person in people} == {"alice", "bob"}  # type: ignore[attr-defined, index]


def test_a_face_that_appears_late_is_found(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", [], ["red"], frames_each=120))
    (person,) = run(home)["people"]  # type: ignore[misc]
    assert person["name"] == "alice"
    assert 11.5 <= person["first_seen_s"] <= 22


def test_a_long_video_is_searched_to_its_end(home: Home, tmp_path: Path) -> None:
    """Each person is in the picture for ten seconds, one after the other."""
    scenes = ["red"], [], ["blue"]
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", *scenes, frames_each=101))
    answer = run(home)
    assert {person["name"] for person in answer["people"]} == {"alice", "bob"}  # type: ignore[attr-defined, index]
    assert answer["coverage"]["longest_gap_s"] <= 10.1  # type: ignore[index]
    assert answer["coverage"]["stopped_at_s"] is None  # type: ignore[index]


def test_ranges_of_a_long_video_give_the_same_result_as_the_whole_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = ["red"], ["red", "blue"], ["green"]
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", *scenes, frames_each=110))
    whole = run(home)
    monkeypatch.setattr(pipeline, "RANGES_FROM_BYTES", 1)
    parts = run(home)
    assert (parts["people"], parts["coverage"]) == (whole["people"], whole["coverage"])


@pytest.mark.parametrize("scan", ["auto", "identify"])
def test_a_short_video_ends_at_its_first_clear_frame(scan: str, tmp_path: Path) -> None:
    home = make_home(SCAN=scan)
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"], ["blue"], frames_each=30))
    answer = run(home)
    assert [person["name"] for person in answer["people"]] == ["alice"]  # type: ignore[attr-defined, index]
    assert answer["coverage"]["stopped_at_s"] == 0  # type: ignore[index]
    assert answer["coverage"]["looks"] == 1  # type: ignore[index]
    assert answer["coverage"]["longest_gap_s"] == pytest.approx(6, abs=0.1)  # type: ignore[index]


def test_timeline_searches_the_whole_video(tmp_path: Path) -> None:
    home = make_home(SCAN="timeline")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"], ["blue"], frames_each=30))
    found = {p["name"]: p for p in run(home)["people"]}  # type: ignore[attr-defined, index]
    assert found["alice"]["intervals"] == [pytest.approx([0.0, 3.0], abs=0.11)]
    assert found["bob"]["intervals"] == [pytest.approx([3.0, 6.0], abs=0.11)]
    assert (found["bob"]["first_seen_s"], found["bob"]["last_seen_s"]) == tuple(
        found["bob"]["intervals"][0]
    )


def test_both_halves_of_a_long_video_make_one_timeline(tmp_path: Path) -> None:
    """A person in the middle, where the second half begins, has one interval and not two."""
    home = make_home(SCAN="timeline")
    scenes = ["red"], ["red", "blue"], ["blue"], ["red"]
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", *scenes, frames_each=103))
    found = {p["name"]: p["intervals"] for p in run(home)["people"]}  # type: ignore[attr-defined, index]
    assert found["alice"] == [
        pytest.approx([0.0, 20.6], abs=0.11),
        pytest.approx([30.9, 41.2], abs=0.11),
    ]
    assert found["bob"] == [pytest.approx([10.3, 30.9], abs=0.11)]


def test_the_rest_of_a_truncated_video_is_searched(tmp_path: Path) -> None:
    """The index promises a second half that is not in the file."""
    home = make_home(SCAN="timeline")
    whole = paint_video(tmp_path / "a.mp4", ["red"], ["blue"], frames_each=200)
    front = ffmpeg(f"-i '{whole}' -c copy -movflags +faststart", tmp_path / "front.mp4")
    body = front.read_bytes()
    for part in (0.3, 0.85):
        home.put("a.mp4", body[: int(len(body) * part)])
        answer = run(home)
        found = {p["name"] for p in answer["people"]}  # type: ignore[attr-defined, index]
        assert found == ({"alice"} if part < 0.5 else {"alice", "bob"})
        gap_s = answer["coverage"]["longest_gap_s"]  # type: ignore[index]
        assert gap_s > (11 if part < 0.5 else 2)


def test_a_damaged_long_video_that_shows_nobody_is_refused(tmp_path: Path) -> None:
    """Somebody may have been in the damaged half, whichever it is."""
    whole = moving_card(tmp_path / "a.mp4", f"-vf hue=s=0 {H264} -g 50 -movflags +faststart", 40)
    body = whole.read_bytes()
    for start, end in ((0.2, 0.35), (0.65, 0.8)):
        first, last = int(start * len(body)), int(end * len(body))
        home = make_home(SCAN="timeline")
        home.put("a.mp4", body[:first] + bytes(last - first) + body[last:])
        with pytest.raises(NotAVideo, match="damaged"):
            run(home)


def test_nothing_is_kept_from_one_video_to_the_next(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    home.put("b.mp4", paint_video(tmp_path / "b.mp4", []))
    run(home, "a.mp4")
    assert run(home, "b.mp4")["status"] == "no_face"


def test_a_repeat_gives_the_same_result_under_the_same_key(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    run(home)
    first = home.result("a.csv")
    run(home)
    assert home.result("a.csv") == first
    assert [info.key for info in home.store.list_objects(OUT)] == ["a.csv"]


def test_a_formula_in_a_record_becomes_text(home: Home, tmp_path: Path) -> None:
    home.students.students["alice"] = Student("alice", "=cmd()", "+1")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    run(home)
    assert home.result("a.csv").splitlines()[1].startswith("alice,'=cmd(),'+1,")


def test_the_report_has_every_face_and_no_encodings(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red", "green"]))
    run(home)
    report = json.loads(home.store.read(REPORTS, "a.mp4.json", 1 << 20))
    assert {face["nearest"] for face in report["faces"]} >= {"alice"}
    assert all(face["box_px"]["right"] > face["box_px"]["left"] for face in report["faces"])
    assert report["timings_ms"].keys() >= {"download", "decode", "faces", "write"}
    assert "encoding" not in json.dumps(report)


def test_the_error_of_a_video_is_reported(home: Home) -> None:
    home.put("a.mp4", b"no video")
    with pytest.raises(NotAVideo):
        run(home)
    report = json.loads(home.store.read(REPORTS, "a.mp4.json", 1 << 20))
    assert report["error"]["code"] == "not_a_video"
    assert not list(home.store.list_objects(OUT))


def test_another_bucket_is_never_read(home: Home) -> None:
    with pytest.raises(BucketNotAllowed):
        home.pipeline.run(VideoRef("payroll", "a.mp4"))
    assert not list(home.store.list_objects(REPORTS))


def test_a_missing_object_is_gone(home: Home) -> None:
    with pytest.raises(ObjectNotFound):
        run(home)


def test_a_post_event_before_the_object_exists_is_ignored(home: Home) -> None:
    answer = home.pipeline.run(VideoRef(IN, "a.mp4", event_name="ObjectCreated:Post"))
    assert answer["status"] == "ignored"
    assert not list(home.store.list_objects(OUT))


def test_a_large_object_is_not_downloaded(tmp_path: Path) -> None:
    home = make_home(MAX_VIDEO_BYTES="100")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    home.store.download = None  # type: ignore[assignment, method-assign]
    with pytest.raises(VideoTooLarge, match="MAX_VIDEO_BYTES"):
        run(home)


def test_a_video_that_is_replaced_before_its_download_is_retried(
    home: Home, tmp_path: Path
) -> None:
    """If the object changed after the HEAD request, the result would name the wrong etag."""
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    download = home.store.download

    def replaced_first(info: ObjectInfo, path: Path) -> None:
        home.put("a.mp4", b"other bytes")
        download(info, path)

    home.store.download = replaced_first  # type: ignore[method-assign]
    with pytest.raises(ObjectChanged):
        run(home)


def test_no_result_without_the_student_table(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))

    def down(name: str) -> Student | None:
        raise StoreUnavailable("the table does not answer")

    home.students.get = down  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        run(home)
    assert not list(home.store.list_objects(OUT))


def padded(video: Path, by_bytes: int) -> bytes:
    """The MP4 followed by a `free` box, which players skip."""
    return video.read_bytes() + (8 + by_bytes).to_bytes(4, "big") + b"free" + bytes(by_bytes)


def test_only_ranges_of_a_large_video_are_read(home: Home, tmp_path: Path) -> None:
    body = padded(paint_video(tmp_path / "a.mp4", ["red"]), 64 << 20)
    home.put("a.mp4", body)
    read: list[int] = []
    read_range = home.store.read_range
    home.store.read_range = lambda info, start, end: (  # type: ignore[method-assign]
        read.append(end - start),
        read_range(info, start, end),
    )[1]
    assert home.pipeline.run(VideoRef(IN, "a.mp4"))["status"] == "recognised"
    assert 0 < sum(read) < len(body) // 8


def test_a_large_video_that_is_replaced_while_it_is_read_is_retried(
    home: Home, tmp_path: Path
) -> None:
    home.put("a.mp4", padded(paint_video(tmp_path / "a.mp4", ["red"]), 16 << 20))
    head = home.store.head

    def head_then_replace(bucket: str, key: str) -> ObjectInfo:
        info = head(bucket, key)
        home.store.write(IN, "a.mp4", b"another", "video/mp4", {})
        return info

    home.store.head = head_then_replace  # type: ignore[method-assign]
    with pytest.raises(ObjectChanged):
        home.pipeline.run(VideoRef(IN, "a.mp4"))


@pytest.mark.parametrize(("crashes", "status"), [(1, "recognised"), (2, "")])
def test_a_crash_of_the_decoder_is_tried_once_more(
    home: Home, tmp_path: Path, crashes: int, status: str
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    left = [DecoderCrashed("signal 11")] * crashes
    opened = home.recogniser._open_video

    def crash_first(
        file: VideoFile, *, whole: bool, max_s: float, cpu_s: float, track: int
    ) -> AbstractContextManager[Video]:
        if left:
            raise left.pop()
        return opened(file, whole=whole, max_s=max_s, cpu_s=cpu_s, track=track)

    home.recogniser._open_video = crash_first
    if status:
        assert home.pipeline.run(VideoRef(IN, "a.mp4"))["status"] == status
    else:
        with pytest.raises(NotAVideo, match="crash"):
            home.pipeline.run(VideoRef(IN, "a.mp4"))


def test_a_slow_call_for_an_old_upload_writes_nothing(home: Home, tmp_path: Path) -> None:
    """The result of the old upload must not replace that of the new upload."""
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    engine = home.recogniser.engine
    detect = engine.detect

    def replace_then_detect(pixels: Pixels) -> tuple[DetectedFace, ...]:
        home.put("a.mp4", paint_video(tmp_path / "b.mp4", ["blue"]))
        return detect(pixels)

    engine.detect = replace_then_detect  # type: ignore[method-assign]
    with pytest.raises(ObjectChanged):
        run(home)
    with pytest.raises(ObjectNotFound):
        home.result("a.csv")


def test_a_slow_call_for_a_damaged_upload_does_not_report_its_error(
    home: Home, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    good = paint_video(tmp_path / "b.mp4", ["blue"])

    def damaged(pixels: Pixels) -> tuple[DetectedFace, ...]:
        home.put("a.mp4", good)
        raise NotAVideo("on purpose")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home.recogniser.engine, "detect", damaged)
        with pytest.raises(ObjectChanged):
            run(home)
    assert not list(home.store.list_objects(REPORTS))
    assert run(home)["status"] == "recognised"


def test_a_full_disk_is_a_transient_error(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))

    def full(info: ObjectInfo, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    home.store.download = full  # type: ignore[method-assign]
    with pytest.raises(ScratchUnavailable, match="No space left"):
        run(home)


def test_a_slow_download_is_a_transient_error(tmp_path: Path) -> None:
    home = make_home(MAX_CALL_S="1")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", []))
    download = home.store.download
    home.store.download = lambda info, path: (time.sleep(1.2), download(info, path))[1]  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="MAX_CALL_S"):
        run(home)
