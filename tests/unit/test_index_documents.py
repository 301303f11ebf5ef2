"""What the index stores of answers, reports and error documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.index_samples import BUCKET, T0

from rollcall.core.errors import NotAVideo
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.reports import coverage_document, error_document, person_document
from rollcall.core.types import Coverage, Person, VideoRef
from rollcall.index.documents import MAX_INTERVALS, MAX_PEOPLE, NotAboutAVideo, indexed_video

VIDEO = {"bucket": BUCKET, "key": "a b/ä.mp4", "etag": "e1"}
ADA = Person("Ada", 1.0, 9.5, 12, 0.41234, ((1.0, 3.0), (8.0, 9.5)), "clear")
UNKNOWN = Person("", 2.0, 2.0, 1, None)


def answer(**fields: Any) -> dict[str, Any]:
    """An answer of this version of the function."""
    coverage = Coverage(looks=7, longest_gap_s=9.0, faces=14, not_judged={"blurred": 3})
    return {
        "status": "recognised",
        "work_id": "w1",
        "video": VIDEO,
        "people": [person_document(ADA, {}), person_document(UNKNOWN, {})],
        "coverage": coverage_document(coverage),
        "output": {"bucket": "out", "key": "a b/ä.csv"},
        "timings_ms": {"decode": 3.0},
        "duration_s": 60.5,
        "uploaded_s": T0,
        "recognised_s": T0 + 5,
        "gallery": "g1",
        "engine": "onnx",
        "kept": "pictures",
        "corrected": True,
        **fields,
    }


EXPECTED = IndexedVideo(
    bucket=BUCKET,
    key="a b/ä.mp4",
    etag="e1",
    status="recognised",
    work_id="w1",
    uploaded_s=T0,
    finished_s=T0 + 5,
    duration_s=60.5,
    coverage={
        "looks": 7,
        "longest_gap_s": 9.0,
        "faces": 14,
        "ignored": 0,
        "not_judged": {"too small": 0, "blurred": 3, "turned": 0},
        "video_track": 1,
        "video_tracks": 1,
        "video_tracks_searched": 1,
    },
    people=(
        Appearance(0, "Ada", 1.0, 9.5, 12, 0.412, "clear", ((1.0, 3.0), (8.0, 9.5))),
        Appearance(1, "", 2.0, 2.0, 1, None, "", ((2.0, 2.0),)),
    ),
    gallery="g1",
    kept="pictures",
    corrected=True,
)


def test_an_answer() -> None:
    assert indexed_video(json.loads(json.dumps(answer()))) == EXPECTED


def test_a_report_has_more_fields_than_an_answer() -> None:
    faces = [{"time_s": 1.0, "box_px": {}, "nearest": "Ada", "distance": 0.4, "person": 0}]
    assert indexed_video(answer(faces=faces, trace_id="t", frames=7)) == EXPECTED


def test_a_report_of_an_earlier_version() -> None:
    report = answer(frames=7, faces=[])
    for new in ("uploaded_s", "recognised_s", "gallery", "engine", "kept", "corrected"):
        del report[new]
    found = indexed_video(report, T0 + 99)
    assert (found.uploaded_s, found.finished_s, found.gallery) == (T0 + 99, T0 + 99, "")
    assert (found.kept, found.corrected, found.people) == ("none", False, EXPECTED.people)


def test_the_report_of_an_error() -> None:
    video = VideoRef(BUCKET, "a.mp4", etag="e1", given_work_id="w1")
    found = indexed_video(error_document(video, NotAVideo("'a.mp4' is not a video")), T0)
    assert found == IndexedVideo(
        bucket=BUCKET,
        key="a.mp4",
        etag="e1",
        status="error",
        work_id="w1",
        error_code="not_a_video",
        error_message="'a.mp4' is not a video",
        uploaded_s=T0,
        finished_s=T0,
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "recognised",
        {},
        {"status": "recognised"},
        {"status": "recognised", "video": {"bucket": BUCKET, "key": ""}},
        {"status": "recognised", "video": {"bucket": BUCKET, "key": 5}},
        {"status": "recognised", "video": {"key": "ä" * (MAX_KEY_BYTES // 2) + "a"}},
        {"status": "ignored", "video": VIDEO},
        {"status": ["error"], "video": VIDEO},
        {"video": VIDEO},
    ],
)
def test_a_document_that_is_not_about_the_result_of_a_video(document: object) -> None:
    with pytest.raises(NotAboutAVideo):
        indexed_video(document)


def test_people_who_cannot_be_read_are_left_out_and_others_keep_their_numbers() -> None:
    people = [None, {"name": 7}, {"name": "Ada"}, {"name": " Ada  "}, {"name": "A\x00\ud800"}]
    found = indexed_video(answer(people=people)).people
    assert [(each.number, each.name) for each in found] == [(2, "Ada"), (4, "A\ufffd?")]
    assert indexed_video(answer(people={"name": "Ada"})).people == ()


def test_long_lists_and_texts_are_cut() -> None:
    many = [{"name": f"P{n}"} for n in range(MAX_PEOPLE + 5)]
    many[0] = {"name": "x" * 9999, "intervals": [[n, n] for n in range(MAX_INTERVALS + 5)]}
    found = indexed_video(answer(people=many, gallery="g" * 9999))
    assert len(found.people) == MAX_PEOPLE
    assert len(found.people[0].name) == 256
    assert len(found.people[0].intervals) == MAX_INTERVALS
    assert len(found.gallery) == 1000


def test_intervals_that_cannot_be_read_are_left_out() -> None:
    intervals = [[1, 2], [3], "45", [5, None], [7, 6], [8, float("nan")], [-1, 2], [9, True]]
    person = {"name": "Ada", "first_seen_s": 1, "last_seen_s": 2, "intervals": intervals}
    assert indexed_video(answer(people=[person])).people[0].intervals == ((1.0, 2.0),)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = [*answer(), "error"]
PERSON_FIELDS = [*person_document(ADA, {})]


@given(
    st.dictionaries(st.sampled_from(FIELDS), anything),
    st.lists(st.dictionaries(st.sampled_from(PERSON_FIELDS), anything)),
)
def test_any_values_of_the_fields_give_a_video_or_the_error(
    fields: dict[str, Any], people: list[dict[str, Any]]
) -> None:
    for document in (answer(**fields), answer(**{**fields, "video": VIDEO, "people": people})):
        try:
            found = indexed_video(document)
        except NotAboutAVideo:
            continue
        json.dumps([*found.coverage.items()], allow_nan=False)
        assert all(each.first_s <= each.last_s for each in found.people)
        found.key.encode()
