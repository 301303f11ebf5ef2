"""Corrections change the gallery, the log, and all results that follow from the gallery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from support.filmed import Filmed, between, direction, open_filmed

from rollcall.core.errors import GalleryError, NameRefused, ObjectChanged, PermanentError
from rollcall.core.index_types import FaceRef, KeptFaces, ShownFaceRef, UnknownFaceRef
from rollcall.core.keys import faces_key
from rollcall.core.types import Encodings
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.core.web_protocols import Corrections
from rollcall.corrections.corrector import Corrector
from rollcall.database.removal_lock import removing
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.recognition.stored_faces import parse_faces

ADA, BEN, TWIN = direction(0), direction(1), between(direction(0), direction(2), 0.5)
"""Ada, Ben, and somebody who looks like Ada."""
ALL = ["1.mp4", "2.mp4", "3.mp4"]


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path) as filmed:
        filmed.faces = {"ada": ADA, "ben": BEN, "twin": TWIN, "eve": direction(5)}
        filmed.faces["ada later"] = between(ADA, direction(3), 0.3)
        yield filmed


@pytest.fixture
def lectures(filmed: Filmed) -> Filmed:
    """Three videos: Ada, her twin who is taken for Ada, and both with Ben and a stranger."""
    filmed.enrol(Ada=ADA, Ben=BEN)
    filmed.film("1.mp4", {"ada": [0, 1, 2], "ben": [1, 2]})
    filmed.film("2.mp4", {"twin": [0, 1, 2]})
    filmed.film("3.mp4", {"ada": [0, 1, 2, 3], "ben": [9], "eve": [5, 6]})
    assert filmed.names("2.mp4") == ["Ada"]
    return filmed


def test_not_ada_corrects_earlier_and_later_videos(lectures: Filmed) -> None:
    protocol: Corrections = lectures.corrections
    before = lectures.state(ALL)
    version = lectures.gallery.version
    change = protocol.is_not([lectures.face("2.mp4", "Ada")], "Ada", "eve")
    assert protocol.pending() == 3
    assert lectures.rematcher.run_due().changed == 1
    assert protocol.pending() == 0
    assert lectures.names("2.mp4") == ["unknown"]
    assert lectures.names("1.mp4") == ["Ada", "Ben"]
    lectures.film("later.mp4", {"twin": [0, 1]})
    lectures.film("both.mp4", {"twin": [0, 1], "ada later": [1, 4, 5]})
    assert lectures.names("later.mp4") == ["unknown"]
    assert lectures.names("both.mp4") == ["Ada", "unknown"]

    line = lectures.log.get(change)
    assert line is not None
    assert (line.who, line.action, line.name, line.videos) == ("eve", "not", "Ada", 1)
    assert line.details == {"faces": 1, "keys": ["2.mp4"]}

    assert lectures.metadata("2.mp4") == {
        **before["2.mp4"][3],  # type: ignore[dict-item]
        "gallery": lectures.gallery.version,
        "corrected": "yes",
    }
    assert lectures.report("2.mp4")["corrected"] is True
    assert lectures.indexed("2.mp4").corrected
    corrected = lectures.state(ALL)
    lectures.rebuild(ALL)
    assert lectures.state(ALL) == corrected

    undo = lectures.corrections.undo(change, "ben")
    assert lectures.rematcher.run_due().changed == 3  # the later videos too
    assert lectures.state(ALL) == before
    assert lectures.gallery.version == version
    assert lectures.names("later.mp4") == ["Ada"]
    undone, by = lectures.log.get(change), lectures.log.get(undo)
    assert undone is not None
    assert by is not None
    assert (undone.undone_by, by.undoes, by.action, by.name) == (undo, change, "undo", "Ada")
    assert (by.videos, by.details["action"]) == (3, "not")
    with pytest.raises(PermanentError, match=f"the change {change} is already undone"):
        lectures.corrections.undo(change, "ben")
    with pytest.raises(PermanentError, match="cannot be undone"):
        lectures.corrections.undo(undo, "ben")


def test_a_lookalike_in_the_same_video_stays_apart(lectures: Filmed) -> None:
    """They are never in the same frame, so nothing but the verdict tells the two apart."""
    lectures.faces["ada aged"] = between(ADA, direction(3), 0.42)
    lectures.film("apart.mp4", {"twin": [0, 1], "ada aged": [3, 4, 5]})
    assert lectures.names("apart.mp4") == ["Ada"]
    change = lectures.corrections.is_not([lectures.face("2.mp4", "Ada")], "Ada", "eve")
    lectures.rematcher.run_due()
    assert lectures.names("apart.mp4") == ["Ada", "unknown"]
    lectures.corrections.undo(change, "eve")
    lectures.rematcher.run_due()
    assert lectures.names("apart.mp4") == ["Ada"]


def test_a_stranger_gets_a_name(lectures: Filmed) -> None:
    lectures.add_student("Eve", "physics", "2")
    before = lectures.state(ALL)
    lectures.film("4.mp4", {"eve": [0]})
    lectures.film("5.mp4", {"ada": [0]})
    change = lectures.corrections.is_person([lectures.face("4.mp4")], " Eve ", "eve")
    assert lectures.corrections.pending() == 2  # 5.mp4 shows nobody who looks like Eve
    done = lectures.rematcher.run_due()
    assert (done.changed, done.unchanged) == (2, 0)
    assert lectures.names("3.mp4") == ["Ada", "Eve", "Ben"]
    assert b"Eve,physics,2," in lectures.result("3.mp4")
    assert lectures.report("3.mp4")["people"][1]["major"] == "physics"
    stored = lectures.store.read(lectures.settings.report_bucket, faces_key("3.mp4"), 1 << 20)
    assert parse_faces(stored).names == ("Ada", "Eve", "Ben")
    (example,) = lectures.gallery.examples_of("Eve")
    assert (example.source.key, example.added_by) == ("4.mp4", "eve")
    lectures.corrections.undo(change, "eve")
    lectures.rematcher.run_due()
    assert lectures.state(ALL) == before
    assert "Eve" not in lectures.gallery.people


def test_a_stranger_who_is_not_ada_does_not_become_ada(filmed: Filmed) -> None:
    filmed.enrol(Ada=ADA)
    filmed.faces["far"] = between(ADA, direction(2), 0.65)
    filmed.film("1.mp4", {"far": [0]})
    filmed.corrections.is_not([filmed.face("1.mp4")], "Ada", "eve")
    filmed.film("2.mp4", {"twin": [0]})
    assert filmed.names("2.mp4") == ["unknown"]


def test_a_group_is_named_and_one_of_its_faces_is_somebody_else(filmed: Filmed) -> None:
    filmed.enrol(Ben=BEN)
    filmed.film("1.mp4", {"ada": [0]})
    filmed.film("2.mp4", {"twin": [0]})
    before, version = filmed.state(["1.mp4", "2.mp4"]), filmed.gallery.version
    faces, others = [filmed.face("1.mp4")], [filmed.face("2.mp4")]
    change = filmed.corrections.is_person(faces, "Ada", "eve", others)
    filmed.rematcher.run_due()
    assert (filmed.names("1.mp4"), filmed.names("2.mp4")) == (["Ada"], ["unknown"])
    line = filmed.log.get(change)
    assert line is not None
    assert line.details == {"faces": 1, "keys": ["1.mp4"], "others": 1}
    filmed.corrections.undo(change, "eve")
    filmed.rematcher.run_due()
    assert filmed.state(["1.mp4", "2.mp4"]) == before
    assert filmed.gallery.version == version


def test_a_face_is_someone_else(lectures: Filmed) -> None:
    change = lectures.corrections.is_person([lectures.face("2.mp4", "Ada")], "Ben", "eve")
    lectures.rematcher.run_due()
    assert [lectures.names(key) for key in ALL][:2] == [["Ada", "Ben"], ["Ben"]]
    line = lectures.log.get(change)
    assert line is not None
    assert (line.name, line.details["before"]) == ("Ben", ["Ada"])


@pytest.mark.parametrize("distance", [0, 1e-7, 0.01])
def test_a_correction_reaches_copies_of_the_face(filmed: Filmed, distance: float) -> None:
    filmed.enrol(Ben=BEN)
    filmed.faces["copy"] = between(filmed.faces["eve"], ADA, distance)
    filmed.film("1.mp4", {"eve": [0, 1]})
    filmed.film("2.mp4", {"copy": [0, 1]})
    faces = [filmed.face("1.mp4"), filmed.face("2.mp4")]
    filmed.corrections.is_person(faces, "Eva", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("1.mp4"), filmed.names("2.mp4")) == (["Eva"], ["Eva"])
    change = filmed.corrections.is_person([filmed.face("1.mp4", "Eva")], "Ben", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("1.mp4"), filmed.names("2.mp4")) == (["Ben"], ["Ben"])
    filmed.corrections.undo(change, "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("1.mp4"), filmed.names("2.mp4")) == (["Eva"], ["Eva"])


def test_a_verdict_holds_in_its_own_video(filmed: Filmed) -> None:
    """Other looks at the face are nearer to another video in which somebody else was named."""
    filmed.enrol(Ben=BEN)
    filmed.faces["eve turned"] = between(filmed.faces["eve"], ADA, 0.2)
    filmed.faces["copy"] = between(filmed.faces["eve"], ADA, 0.17)
    filmed.film("1.mp4", {"eve": [0], "eve turned": list(range(1, 30))})
    filmed.film("2.mp4", {"copy": [0, 1]})
    filmed.corrections.is_person([filmed.face("2.mp4")], "Eva", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Eva"]
    filmed.corrections.is_person([filmed.face("1.mp4", "Eva")], "Ben", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("1.mp4"), filmed.names("2.mp4")) == (["Ben"], ["Eva"])


@pytest.mark.parametrize("looks", [4, 30])
@pytest.mark.parametrize(
    ("action", "expected"), [("not", ["unknown"]), ("ignore", []), ("is", ["Ben"])]
)
def test_a_group_that_was_named_by_mistake_is_corrected_face_by_face(
    filmed: Filmed, action: str, expected: list[str], looks: int
) -> None:
    """The videos are copies of each other in another quality."""
    random = np.random.default_rng(1)

    def near(encoding: Encodings, distance: float) -> Encodings:
        return between(encoding, random.normal(size=encoding.size), distance)

    filmed.enrol(Ben=BEN)
    turned = [near(filmed.faces["eve"], 0.15) for _ in range(looks)]
    for key in "123":
        filmed.faces |= {f"{key}/{n}": near(each, 0.04) for n, each in enumerate(turned)}
        filmed.film(f"{key}.mp4", {f"{key}/{n}": [n] for n in range(looks)})
    filmed.corrections.is_person([filmed.face(key) for key in ALL], "Eva", "eve")
    filmed.rematcher.run_due()
    assert [filmed.names(key) for key in ALL] == [["Eva"]] * 3
    shown = [filmed.face("1.mp4", "Eva")]
    if action == "not":
        filmed.corrections.is_not(shown, "Eva", "eve")
    elif action == "ignore":
        filmed.corrections.ignore(shown, "eve")
    else:
        filmed.corrections.is_person(shown, "Ben", "eve")
    filmed.rematcher.run_due()
    assert [filmed.names(key) for key in ALL] == [expected, ["Eva"], ["Eva"]]


def test_the_first_person_of_an_empty_gallery(filmed: Filmed) -> None:
    filmed.enrol()
    filmed.film("1.mp4", {"eve": [0, 1]})
    filmed.location.path.unlink()
    change = filmed.corrections.is_person([filmed.face("1.mp4")], "Eve", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Eve"]
    filmed.corrections.undo(change, "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["unknown"]
    assert filmed.gallery.people == ()


def test_an_ignored_face_is_left_out(lectures: Filmed) -> None:
    before = lectures.state(ALL)
    change = lectures.corrections.ignore([lectures.face("3.mp4")], "eve")
    lectures.rematcher.run_due()
    assert lectures.names("3.mp4") == ["Ada", "Ben"]
    assert lectures.indexed("3.mp4").coverage["ignored"] == 1
    lectures.corrections.undo(change, "eve")
    lectures.rematcher.run_due()
    assert lectures.state(ALL) == before


def test_faces_of_one_unknown_person_are_grouped(filmed: Filmed) -> None:
    filmed.enrol(Ada=ADA)
    filmed.film("1.mp4", {"eve": [0]})
    filmed.film("2.mp4", {"ben": [0]})
    assert filmed.groups.count() == 2
    faces = [filmed.face("1.mp4"), filmed.face("2.mp4")]
    with pytest.raises(PermanentError, match="choose two faces or more"):
        filmed.corrections.same(faces[:1], "eve")
    change = filmed.corrections.same(faces, "eve")
    assert filmed.groups.count() == 1
    filmed.corrections.undo(change, "eve")
    assert filmed.groups.count() == 2


def test_no_verdict_joins_groups_while_a_person_is_removed(filmed: Filmed) -> None:
    """The removal may be about to take the verdict away, and the groups keep its encodings."""
    filmed.enrol(Ada=ADA)
    filmed.film("1.mp4", {"eve": [0]})
    filmed.film("2.mp4", {"ben": [0]})
    faces = np.array([filmed.faces["eve"], filmed.faces["ben"]])
    verdict = Verdict("v", "same", "", faces, (FaceSource(), FaceSource()), "olga", 1.0)
    filmed.location.save(render_gallery(filmed.gallery.with_verdict(verdict)))
    with removing(filmed.database):
        filmed.corrections.gallery_changed()
        assert filmed.groups.count() == 2
    filmed.corrections.gallery_changed()
    assert filmed.groups.count() == 1


def test_two_faces_with_a_name_are_not_the_same_unknown_person(lectures: Filmed) -> None:
    faces = [lectures.face("1.mp4", "Ada"), lectures.face("1.mp4", "Ben")]
    with pytest.raises(PermanentError, match="merge the two people"):
        lectures.corrections.same(faces, "eve")


@pytest.mark.parametrize("kept", ["encodings", "none"])
def test_a_rename_reaches_all_videos(filmed: Filmed, kept: KeptFaces) -> None:
    filmed.add_student("Ada Lovelace", "maths", "4")
    filmed.enrol(Ada=ADA, Ben=BEN)
    filmed.film("1.mp4", {"ada": [0, 1, 2], "ben": [1, 2]}, kept=kept)
    filmed.film("2.mp4", {"ben": [1, 2]}, kept=kept)
    before, version = filmed.state(["1.mp4", "2.mp4"]), filmed.gallery.version
    first = filmed.corrections.rename("Ada", "Ada Byron", "eve")
    assert filmed.corrections.pending() == 1
    second = filmed.corrections.rename("Ada Byron", "Ada Lovelace", "eve")
    assert filmed.rematcher.run_due().changed == 1
    assert filmed.names("1.mp4") == ["Ada Lovelace", "Ben"]
    assert b"Ada Lovelace,maths,4," in filmed.result("1.mp4")
    assert {face["nearest"] for face in filmed.report("1.mp4")["faces"]} == {"Ada Lovelace", "Ben"}
    filmed.corrections.undo(second, "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Ada Byron", "Ben"]
    filmed.corrections.undo(first, "eve")
    filmed.rematcher.run_due()
    assert filmed.state(["1.mp4", "2.mp4"]) == before
    assert filmed.gallery.version == version


@pytest.mark.parametrize("kept", ["encodings", "none"])
def test_two_names_of_one_person_are_merged(filmed: Filmed, kept: KeptFaces) -> None:
    filmed.enrol(Ada=ADA, Countess=filmed.faces["twin"], Ben=BEN)
    filmed.film("1.mp4", {"ada": [0, 1, 2]}, kept=kept)
    filmed.film("2.mp4", {"twin": [0, 1, 2], "ben": [7]}, kept=kept)
    assert filmed.names("2.mp4") == ["Countess", "Ben"]
    before, version = filmed.state(["1.mp4", "2.mp4"]), filmed.gallery.version
    merge = filmed.corrections.merge("Countess", "Ada", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["Ada", "Ben"]
    assert filmed.gallery.people == ("Ada", "Ben")
    assert len(filmed.gallery.encodings_of("Ada")) == 2
    rename = filmed.corrections.rename("Ada", "Ada L", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["Ada L", "Ben"]
    filmed.corrections.undo(rename, "eve")
    filmed.corrections.undo(merge, "eve")
    filmed.rematcher.run_due()
    assert filmed.state(["1.mp4", "2.mp4"]) == before
    assert filmed.gallery.version == version


@pytest.mark.parametrize("kept", ["encodings", "none"])
def test_merged_people_of_one_video_become_one_row(filmed: Filmed, kept: KeptFaces) -> None:
    filmed.enrol(Ada=ADA, Countess=BEN)
    filmed.film("1.mp4", {"ada": [0, 1], "ben": [6, 7, 8]}, kept=kept)
    assert filmed.names("1.mp4") == ["Countess", "Ada"]
    filmed.corrections.merge("Countess", "Ada", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Ada"]
    (person,) = filmed.indexed("1.mp4").people
    assert (person.frames, person.first_s, person.last_s) == (5, 0.0, 8.0)
    faces = filmed.report("1.mp4")["faces"]
    assert {(face["person"], face["nearest"]) for face in faces} == {(0, "Ada")}


def test_a_removed_photo_comes_back(filmed: Filmed) -> None:
    filmed.enrol(Ada=ADA, Eve=direction(5), Ben=BEN)
    filmed.corrections.rename("Ben", "Benjamin", "eve")  # gives ids to the examples
    filmed.film("1.mp4", {"eve": [0]})
    before, version = filmed.state(["1.mp4"]), filmed.gallery.version
    (example,) = filmed.gallery.examples_of("Eve")
    change = filmed.corrections.remove_example("Eve", example.id, "eve")
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["unknown"]
    with filmed.database.reading() as connection:
        rows = connection.execute(text("SELECT details, undo FROM change")).all()
    assert "0.0" not in repr(rows)  # no encodings in the log
    filmed.corrections.undo(change, "eve")
    filmed.rematcher.run_due()
    assert filmed.state(["1.mp4"]) == before
    assert filmed.gallery.version == version
    assert filmed.gallery.examples_of("Eve") == (example,)
    with pytest.raises(GalleryError, match="no such photo"):
        filmed.corrections.remove_example("Eve", "0" * 16, "eve")


def test_one_face_of_a_verdict_is_removed_and_comes_back(filmed: Filmed) -> None:
    filmed.enrol(Zoe=direction(7))
    for key, face in (("1.mp4", "eve"), ("2.mp4", "twin"), ("3.mp4", "ben")):
        filmed.film(key, {face: [0.0]})
    faces = [filmed.face(f"{number}.mp4") for number in (1, 2, 3)]
    first = filmed.corrections.is_person(faces, "Eve", "eve")
    filmed.rematcher.run_due()
    before = filmed.gallery.version
    wrong = filmed.gallery.examples_of("Eve")[1]
    removed = filmed.corrections.remove_example("Eve", wrong.id, "ben")
    filmed.rematcher.run_due()
    assert [filmed.names(key) for key in ALL] == [["Eve"], ["unknown"], ["Eve"]]
    assert len(filmed.gallery.verdicts[0].sources) == 2
    line = filmed.log.get(removed)
    assert line
    assert (line.action, line.name, line.can_undo) == ("remove_photo", "Eve", True)
    assert line.details["keys"] == [wrong.source.key]
    with filmed.database.reading() as connection:
        assert "0.0" not in repr(connection.execute(text("SELECT details, undo FROM change")).all())
    filmed.corrections.undo(removed, "ben")
    filmed.rematcher.run_due()
    assert filmed.gallery.version == before
    assert [filmed.names(key) for key in ALL] == [["Eve"], ["Eve"], ["Eve"]]
    assert filmed.gallery.examples_of("Eve")[1] == wrong
    filmed.corrections.undo(first, "ben")
    assert "Eve" not in filmed.gallery.people


def test_the_last_face_of_a_verdict_comes_back_in_its_order(lectures: Filmed) -> None:
    corrections, face = lectures.corrections, lectures.face("3.mp4")
    corrections.is_person([face], "Eve", "eve")
    corrections.is_person([face], "Zoe", "eve")
    before = lectures.gallery.version
    (example,) = lectures.gallery.examples_of("Eve")
    removed = corrections.remove_example("Eve", example.id, "ben")
    assert lectures.gallery.people == ("Ada", "Ben", "Zoe")
    corrections.rename("Zoe", "Zoë", "eve")
    corrections.undo(removed, "ben")
    assert [verdict.name for verdict in lectures.gallery.verdicts] == ["Eve", "Zoë"]
    corrections.undo(lectures.log.latest(2)[1].id, "eve")
    assert lectures.gallery.version == before


def test_an_enrolment_is_undone(lectures: Filmed) -> None:
    before = lectures.state(ALL)
    lectures.corrections.rename("Ben", "Benjamin", "eve")
    gallery = lectures.gallery.with_encoding("Eve", direction(5))
    lectures.location.save(render_gallery(gallery))
    ids = [example.id for example in gallery.examples_of("Eve")]
    change = lectures.log.record("eve", "enrol", "Eve", {"photos": 1}, {"examples": ids})
    lectures.corrections.gallery_changed()
    lectures.rematcher.run_due()
    assert lectures.names("3.mp4") == ["Ada", "Eve", "Benjamin"]
    lectures.corrections.undo(change, "eve")
    lectures.corrections.undo(1, "eve")
    lectures.rematcher.run_due()
    assert lectures.state(ALL) == before


def test_what_cannot_be_corrected_says_why(lectures: Filmed) -> None:
    corrections = lectures.corrections
    lectures.film("bare.mp4", {"eve": [0]}, kept="none")
    with pytest.raises(PermanentError, match="KEEP_FACES=encodings"):
        corrections.is_person([lectures.face("bare.mp4")], "Eve", "eve")
    lectures.film("lost.mp4", {"eve": [0]})
    lectures.store.delete(lectures.settings.report_bucket, faces_key("lost.mp4"))
    with pytest.raises(PermanentError, match=r"'lost.mp4' were deleted from REPORT_BUCKET"):
        corrections.is_person([lectures.face("lost.mp4")], "Eve", "eve")
    with pytest.raises(PermanentError, match="choose at least one face"):
        corrections.ignore([], "eve")
    with pytest.raises(PermanentError, match="is called 'Ada' and not 'Ben' by now"):
        corrections.is_not([lectures.face("2.mp4", "Ada")], "Ben", "eve")
    with pytest.raises(PermanentError, match="does not show this face any more"):
        corrections.ignore([FaceRef(lectures.id_of("2.mp4"), 7)], "eve")
    with pytest.raises(PermanentError, match="not in the index any more"):
        corrections.ignore([FaceRef(999, 0)], "eve")
    with pytest.raises(NameRefused, match="looks like"):
        corrections.is_person([lectures.face("3.mp4")], "ADA", "eve")
    with pytest.raises(GalleryError, match="already in the gallery"):
        corrections.rename("Ada", "Ben", "eve")
    with pytest.raises(GalleryError, match="is called 'Ada' already"):
        corrections.rename("Ada", " Ada ", "eve")
    with pytest.raises(GalleryError, match="'Eve' is not in the gallery"):
        corrections.merge("Eve", "Ada", "eve")
    with pytest.raises(GalleryError, match="cannot be merged with the same person"):
        corrections.merge("Ada", "Ada", "eve")
    with pytest.raises(PermanentError, match="the log has no change 77"):
        corrections.undo(77, "eve")
    assert lectures.log.latest(10) == []
    assert corrections.pending() == 0


def test_a_video_that_was_just_replaced_has_to_be_shown_again(lectures: Filmed) -> None:
    face = lectures.face("2.mp4", "Ada")
    place = lectures.settings.report_bucket, faces_key("2.mp4")
    newer = lectures.store.read(place[0], faces_key("1.mp4"), 1 << 20)
    lectures.store.write(*place, newer, "", {})
    with pytest.raises(ObjectChanged, match="uploaded again; try again in a moment"):
        lectures.corrections.is_not([face], "Ada", "eve")


def test_a_number_of_an_earlier_result_is_refused(filmed: Filmed) -> None:
    """The video may be corrected between two reads of the same request."""
    filmed.faces = {"zoe": direction(7), "ada": direction(0), "pia": direction(8)}
    filmed.enrol(Ada=direction(0))
    video_id = filmed.film("4.mp4", {"zoe": [1, 2, 3, 4], "ada": [1, 2, 3], "pia": [1, 2]})
    ada = next(seen for seen in filmed.indexed("4.mp4").people if seen.name)
    face = ShownFaceRef(video_id, ada.number, ada.name, ada.intervals)
    filmed.corrections.is_not([face], "Ada", "edith")
    filmed.corrections.ignore([filmed.face("4.mp4")], "edith")
    filmed.rematcher.run_due()
    assert ada.number in {seen.number for seen in filmed.indexed("4.mp4").people}
    with pytest.raises(ObjectChanged, match=r"'4.mp4' was corrected meanwhile"):
        filmed.corrections.is_person([face], "Eve", "frank")


def test_a_face_is_found_between_the_writing_of_the_store_and_of_the_index(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number in the index is somebody else's in the stored faces then."""
    filmed.faces = {"zoe": direction(7), "pia": direction(8), "eva": direction(9)}
    filmed.enrol(Ada=direction(0))
    video_id = filmed.film("4.mp4", {"zoe": [1, 2, 3], "pia": [1, 2], "eva": [1]})
    zoe, pia, eva = (FaceRef(video_id, number) for number in range(3))
    (token,) = [seen.token for seen in filmed.indexed("4.mp4").people if seen.number == 1]
    corrections, lasting = filmed.corrections, UnknownFaceRef(video_id, token)
    corrections.ignore([zoe], "edith")
    with monkeypatch.context() as patch:
        patch.setattr(Corrector, "put", lambda *_: None)
        filmed.rematcher.run_due()
    for face in (pia, eva):
        with pytest.raises(ObjectChanged, match=r"'4.mp4' is being corrected; try again"):
            corrections.is_person([face], "Pia", "frank")
    corrections.is_person([lasting], "Pia", "frank")
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["Pia", "unknown"]
    with pytest.raises(ObjectChanged, match=r"this face of '4.mp4' is being corrected"):
        corrections.is_person([lasting], "Mia", "grace")
