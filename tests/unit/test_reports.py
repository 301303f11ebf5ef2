"""Removing a person from a report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollcall.core.errors import NotAVideo
from rollcall.core.reports import corrected_report, error_document, report_without
from rollcall.core.types import Person, Recognition, Student, VideoRef


def report(people: list[str], nearest: list[str | None]) -> bytes:
    document = {
        "status": "recognised",
        "video": {"key": "alice.mp4"},
        "people": [{"name": name, "frames": 3} for name in people],
        "faces": [{"time_s": 1.0, "nearest": name} for name in nearest],
    }
    return json.dumps(document).encode()


def without(body: bytes, name: str = "alice") -> tuple[dict[str, Any], int]:
    rest, count = report_without(body, name)
    return json.loads(rest), count


def test_only_people_and_faces_of_that_name_are_removed() -> None:
    document, count = without(report(["alice", "bob"], ["alice", "bob", None, "alice"]))
    assert count == 3
    assert document["people"] == [{"name": "bob", "frames": 3}]
    assert [face["nearest"] for face in document["faces"]] == ["bob", None]
    assert (document["status"], document["video"]) == ("recognised", {"key": "alice.mp4"})


def test_the_other_faces_keep_their_persons() -> None:
    people = [{"name": name} for name in ("bob", "alice", "unknown", "carol")]
    persons = [0, 1, None, 2, 3, 1]
    faces = [{"nearest": "dan", "person": person} for person in persons]
    document, count = without(json.dumps({"people": people, "faces": faces}).encode())
    assert count == 3
    assert [entry["name"] for entry in document["people"]] == ["bob", "unknown", "carol"]
    assert [face["person"] for face in document["faces"]] == [0, None, 1, 2]


def test_persons_stay_right_after_a_face_that_was_only_near_to_somebody() -> None:
    people = [{"name": "bob"}]
    faces = [{"nearest": "alice", "person": 0}, {"nearest": "bob", "person": 0}]
    document, count = without(json.dumps({"people": people, "faces": faces}).encode())
    assert (count, document["faces"]) == (1, [{"nearest": "bob", "person": 0}])


def test_a_correction_changes_only_what_is_about_people() -> None:
    before = {
        "work_id": "w",
        "output": {"key": "a.csv"},
        "kept": "encodings",
        "corrected": False,
        "gallery": "old",
        "people": [{"name": "unknown"}],
        "status": "unknown",
        "faces": [1],
    }
    person = Person("alice", 1.0, 2.0, 3, 0.25, ((1.0, 2.0),), "clear")
    recognition = Recognition((person,), (), 3, 9.0)
    students = {"alice": Student("alice", "physics", "junior")}
    after = corrected_report(before, recognition, students, "new")
    assert (after["gallery"], after["corrected"], after["status"]) == ("new", True, "recognised")
    assert (after["people"][0]["name"], after["people"][0]["major"]) == ("alice", "physics")
    assert after["faces"] == []
    assert {name: after[name] for name in ("work_id", "output", "kept")} == {
        name: before[name] for name in ("work_id", "output", "kept")
    }


@pytest.mark.parametrize(
    ("people", "status"),
    [(["alice"], "no_face"), (["alice", "unknown"], "unknown"), (["alice", "b"], "recognised")],
)
def test_the_status_follows_from_the_remaining_people(people: list[str], status: str) -> None:
    assert without(report(people, []))[0]["status"] == status


@pytest.mark.parametrize("body", [report(["bob"], ["bob"]), b'{"status": "error"}'])
def test_a_report_without_the_person_is_unchanged(body: bytes) -> None:
    assert report_without(body, "alice") == (body, 0)


def test_the_report_of_an_error_names_nobody() -> None:
    body = json.dumps(error_document(VideoRef("b", "k"), NotAVideo("alice"))).encode()
    assert report_without(body, "alice") == (body, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"3",
        b"null",
        b"[" * 100_000,
        b'{"people": 3}',
        b'{"people": [3]}',
        b'{"people": [{}]}',
        b'{"people": {"alice": 1}}',
        b'{"faces": [{"near": 1}]}',
        b'{"faces": [{"nearest": "bob", "person": 0}]}',
        b'{"faces": [{"nearest": "bob", "person": "0"}], "people": [{"name": "bob"}]}',
    ],
)
def test_other_bodies_are_value_errors(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        report_without(body, "alice")
