"""Verdicts in a gallery: what they change about matching, and how they come and go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.gallery_checks import MAX_VERDICT_FACES
from rollcall.core.tolerance import gallery_tolerance
from rollcall.core.types import Encodings, Match
from rollcall.core.verdicts import (
    MAX_TEXT_CHARS,
    VERDICT_KINDS,
    Example,
    FaceSource,
    Verdict,
    VerdictKind,
)
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery

VIDEO = FaceSource(bucket="videos", key="a.mp4", etag="e", time_s=1.5)


def at(*coordinates: float) -> Encodings:
    """An encoding that begins with these numbers; the others are 0."""
    point = np.zeros(DLIB.size)
    point[: len(coordinates)] = coordinates
    return point


def verdict(verdict_id: str, kind: VerdictKind, name: str, *faces: Encodings) -> Verdict:
    return Verdict(verdict_id, kind, name, np.array(faces), (VIDEO,) * len(faces), "eve", 7.0)


ADA, BEN = at(), at(1.0)
KNOWN = Gallery(["ada", "ben"], np.array([ADA, BEN]))


def nearest(gallery: Gallery, point: Encodings) -> Match:
    (match,) = gallery.nearest(point[None])
    assert match is not None
    return match


def name(gallery: Gallery, point: Encodings) -> str:
    return nearest(gallery, point).name


# --- is


def test_is_adds_the_faces_to_the_person() -> None:
    found = KNOWN.with_verdict(verdict("v", "is", "ben", at(0.1), at(0.2)))
    assert nearest(found, at(0.1)) == Match("ben", 0.0, pytest.approx(0.1))
    assert len(found.encodings_of("ben")) == 3
    assert [each.verdict for each in found.examples_of("ben")] == ["", "v", "v"]
    assert found.examples[-1].source == VIDEO
    assert (found.examples[-1].added_by, found.examples[-1].added_s) == ("eve", 7.0)


def test_is_can_name_a_new_person() -> None:
    assert KNOWN.with_verdict(verdict("v", "is", "Cleo", at(0, 3))).people == ("Cleo", "ada", "ben")


def test_the_examples_of_a_verdict_have_the_same_ids_each_time() -> None:
    said = verdict("v", "is", "ben", at(0.1), at(0.2))
    first, second = KNOWN.with_verdict(said), KNOWN.with_verdict(said)
    ids = [each.id for each in first.examples_of("ben")[1:]]
    assert ids == [each.id for each in second.examples_of("ben")[1:]]
    assert len(set(ids)) == 2


# --- not


def test_not_excludes_the_person_for_faces_nearer_to_the_negative_example() -> None:
    found = KNOWN.with_verdict(verdict("v", "not", "ada", at(0.4)))
    assert name(KNOWN, at(0.4)) == "ada"
    assert nearest(found, at(0.4)) == Match("ben", pytest.approx(0.6), float("inf"))
    assert name(found, at(0.3)) == "ben"
    assert nearest(found, at(0.1)) == Match("ada", pytest.approx(0.1), pytest.approx(0.8))


def test_not_leaves_nobody_if_everybody_is_excluded() -> None:
    found = Gallery(["ada"], ADA[None]).with_verdict(verdict("v", "not", "ada", at(0.4)))
    assert found.nearest(np.array([at(0.4), at(0.1)]))[0] is None
    assert name(found, at(0.1)) == "ada"


def test_the_margin_is_to_the_next_person_who_is_not_excluded() -> None:
    three = KNOWN.with_encoding("cleo", at(0.5, 0.1))
    found = three.with_verdict(verdict("v", "not", "cleo", at(0.5, 0.11)))
    match = nearest(found, at(0.45, 0.11))
    assert match.name == "ada"
    assert match.margin == pytest.approx(np.hypot(0.55, 0.11) - np.hypot(0.45, 0.11))


def test_not_about_somebody_who_is_not_in_the_gallery_changes_no_match() -> None:
    found = KNOWN.with_verdict(verdict("v", "not", "cleo", at(0.4)))
    assert nearest(found, at(0.4)) == nearest(KNOWN, at(0.4))


def reference(
    gallery: Gallery, verdicts: list[Verdict], point: Encodings
) -> tuple[str | None, float]:
    """The nearest person by the rule in words, computed one distance at a time."""
    people: dict[str, list[Encodings]] = {}
    for each, encoding in zip(gallery.names, gallery.encodings, strict=True):
        people.setdefault(each, []).append(encoding)
    for said in verdicts:
        if said.kind in ("is", "ignore"):
            people.setdefault(said.name, []).extend(said.encodings)
    best: tuple[str | None, float] = (None, np.inf)
    for each, rows in people.items():
        own = min(float(np.linalg.norm(row - point)) for row in rows)
        negatives = [
            float(np.linalg.norm(row - point))
            for said in verdicts
            if (said.kind, said.name) == ("not", each)
            for row in said.encodings
        ]
        if own < best[1] and own <= min(negatives, default=np.inf):
            best = (each, own)
    return best


@given(
    st.lists(
        st.tuples(
            st.sampled_from(VERDICT_KINDS),
            st.sampled_from("abcd"),
            st.integers(1, 3),
        ),
        max_size=8,
    ),
    st.integers(0, 2**32),
)
def test_matching_follows_the_rule_in_words(
    said: list[tuple[VerdictKind, str, int]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = Gallery(list("aabcd"), random.normal(0, 0.06, (5, DLIB.size)))
    gallery, verdicts = base, []
    for number, (kind, person, count) in enumerate(said):
        person = person if kind in ("is", "not") else ""
        faces = random.normal(0, 0.06, (count, DLIB.size))
        verdicts.append(verdict(str(number), kind, person, *faces))
        gallery = gallery.with_verdict(verdicts[-1])
    points = random.normal(0, 0.06, (6, DLIB.size))
    points[:2] = [each.encodings[0] for each in verdicts[:2]] or points[:2]
    for point, match in zip(points, gallery.nearest(points), strict=True):
        expected, distance = reference(base, verdicts, point)
        assert (match.name if match else None) == expected
        if match:
            assert match.distance == pytest.approx(distance)
            assert match.ignored is (expected == "")


# --- ignore and same


def test_an_ignored_face_competes_like_a_person() -> None:
    found = KNOWN.with_verdict(verdict("v", "ignore", "", at(0.3)))
    assert nearest(found, at(0.25)) == Match("", pytest.approx(0.05), pytest.approx(0.2), True)
    assert not nearest(found, at(0.1)).ignored
    assert found.people == ("ada", "ben")
    assert len(found) == 2


def test_several_ignored_faces_do_not_spoil_the_margin_of_each_other() -> None:
    said = [verdict(str(number), "ignore", "", at(0.3, 0.01 * number)) for number in range(2)]
    found = KNOWN.with_verdict(said[0]).with_verdict(said[1])
    assert nearest(found, at(0.3)).margin == pytest.approx(0.3)


def test_same_changes_no_match() -> None:
    found = KNOWN.with_verdict(verdict("v", "same", "", at(0.3), at(0.4)))
    assert nearest(found, at(0.3)) == nearest(KNOWN, at(0.3))


# --- verdicts that contradict each other


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("is", "ada"), ("not", "ada")], "ben"),
        ([("not", "ada"), ("is", "ada")], "ada"),
        ([("is", "ada"), ("is", "ben")], "ben"),
        ([("is", "ada"), ("is", "ben"), ("is", "ada")], "ada"),
        ([("is", "ada"), ("ignore", "")], ""),
        ([("ignore", ""), ("is", "ada")], "ada"),
        ([("is", "ada"), ("ignore", ""), ("not", "ada")], ""),
        ([("is", "ada"), ("not", "ada"), ("is", "ada")], "ada"),
    ],
)
def test_the_later_verdict_about_a_face_counts(
    said: list[tuple[VerdictKind, str]], expected: str
) -> None:
    for apart in (0, 1e-7, 0.009):
        found = KNOWN
        for number, (kind, person) in enumerate(said):
            found = found.with_verdict(verdict(str(number), kind, person, at(0.4, apart * number)))
        assert name(found, at(0.4, apart * (len(said) - 1))) == expected
        assert found.names[:2] == KNOWN.names


# --- undo


EVERY_KIND = (
    verdict("v1", "is", "ada", at(0.3), at(0.35)),
    verdict("v2", "not", "ben", at(0.6)),
    verdict("v3", "ignore", "", at(0, 2)),
    verdict("v4", "same", "", at(0, 3), at(0, 4)),
)


def with_all() -> Gallery:
    gallery = KNOWN
    for said in EVERY_KIND:
        gallery = gallery.with_verdict(said)
    return gallery


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_without_all_verdicts_the_gallery_is_as_before(order: tuple[int, ...]) -> None:
    gallery, versions = with_all(), set()
    for index in order:
        versions.add(gallery.version)
        gallery = gallery.without_verdict(EVERY_KIND[index].id)
    assert len(versions) == 4
    assert (gallery.version, gallery.names, gallery.verdicts) == (KNOWN.version, KNOWN.names, ())


@pytest.mark.parametrize("verdict_id", ["", "v9"])
def test_without_an_unknown_verdict_nothing_changes(verdict_id: str) -> None:
    assert with_all().without_verdict(verdict_id).version == with_all().version


def test_the_version_depends_on_every_part_of_a_verdict() -> None:
    said = verdict("v", "not", "ada", at(0.4))
    others = [
        verdict("w", "not", "ada", at(0.4)),
        verdict("v", "not", "ben", at(0.4)),
        verdict("v", "is", "ada", at(0.4)),
        verdict("v", "not", "ada", at(0.5)),
        verdict("v", "ignore", "", at(0.4)),
        verdict("v", "same", "", at(0.4)),
    ]
    versions = {KNOWN.with_verdict(each).version for each in [said, *others]}
    assert len(versions | {KNOWN.version}) == 8


def test_forgetting_a_person_drops_the_verdicts_that_name_the_person() -> None:
    gallery = with_all().with_verdict(verdict("v5", "not", "ada", at(0.7)))
    left = gallery.without(" ada ")
    assert left.people == ("ben",)
    assert [each.id for each in left.verdicts] == ["v2", "v3", "v4"]
    assert (gallery.mentions("ada"), left.mentions("ada"), gallery.mentions("ben")) == (4, 0, 2)
    assert [each.id for each in gallery.without("ben").verdicts] == ["v1", "v3", "v4", "v5"]


# --- examples


def test_forgetting_a_person_drops_the_faces_in_other_verdicts_too() -> None:
    """They were said before somebody said who it is. No name leads to them."""
    found, face, other = KNOWN, at(0, 0.5), at(0, 0.9)
    before = [
        verdict("same", "same", "", face, other),
        verdict("ignored", "ignore", "", face),
        verdict("not ben", "not", "ben", face, other),
        verdict("is ben", "is", "ben", face, other),
        verdict("nobody", "same", "", other),
    ]
    for each in (*before, verdict("is dora", "is", "dora", face)):
        found = found.with_verdict(replace(each, id=each.id.replace(" ", "-")))
    assert name(found, face) == "dora"
    left = found.without("dora")
    assert [(each.id, len(each.sources)) for each in left.verdicts] == [
        ("not-ben", 1),
        ("is-ben", 1),
        ("nobody", 1),
    ]
    assert face.tobytes() not in render_gallery(left)
    assert np.array_equal(left.encodings_of("ben"), [BEN, other])


def test_forgetting_a_person_drops_the_same_face_in_a_copy_of_the_video() -> None:
    """Its encoding is nearly the same, so the later verdict overrules the earlier one there too."""
    copy, face = at(0, 0.5), at(0.01, 0.5)
    found = KNOWN.with_verdict(verdict("b", "is", "ben", copy))
    found = found.with_verdict(verdict("d", "is", "dora", face))
    assert name(found, copy) == "dora"
    left = found.without("dora")
    assert left.verdicts == ()
    assert np.array_equal(left.encodings_of("ben"), [BEN])


def test_forgetting_a_person_keeps_faces_that_turned_out_to_be_somebody_elses() -> None:
    face = at(0, 0.5)
    wrong, right = verdict("w", "is", "dora", face), verdict("r", "is", "ben", face)
    left = KNOWN.with_verdict(wrong).with_verdict(right).without("dora")
    assert [each.id for each in left.verdicts] == ["r"]
    assert nearest(left, face) == Match("ben", 0.0, pytest.approx(0.5))


def test_forgetting_a_person_keeps_enrolled_photos_of_others() -> None:
    twins = Gallery(["ada", "ben"], np.array([ADA, ADA]))
    assert twins.without("ada").names == ("ben",)


def test_old_galleries_get_ids_at_the_first_change() -> None:
    assert {each.id for each in KNOWN.examples} == {""}
    changed = KNOWN.with_encoding("cleo", at(0, 5))
    assert len({each.id for each in changed.examples} - {""}) == 3
    assert changed.with_encoding("dan", at(0, 6)).examples[:3] == changed.examples


def test_one_encoding_can_be_removed_by_its_id() -> None:
    example = Example("e1", FaceSource(photo="cleo.jpg"))
    changed = KNOWN.with_encoding("ada", at(0.1), example)
    assert changed.without_examples(["e1"]).version == KNOWN.version
    assert changed.without_examples([""]).version == changed.version
    assert changed.without_examples(["e2"]).version == changed.version


def test_an_encoding_that_is_removed_also_leaves_its_verdict() -> None:
    gallery = with_all()
    ids = [each.id for each in gallery.examples if each.verdict == "v1"]
    one_left = gallery.without_examples([ids[0]])
    assert np.array_equal(one_left.verdicts[0].encodings, [at(0.35)])
    assert len(one_left.verdicts[0].sources) == 1
    none_left = one_left.without_examples([ids[1]])
    assert [each.id for each in none_left.verdicts] == ["v2", "v3", "v4"]
    assert gallery.without_examples(ids).version == none_left.version


def test_a_renamed_person_keeps_encodings_and_verdicts() -> None:
    gallery = with_all().renamed("ada", "Ada Lovelace")
    assert gallery.people == ("Ada Lovelace", "ben")
    assert [each.name for each in gallery.verdicts] == ["Ada Lovelace", "ben", "", ""]
    assert name(gallery, at(0.3)) == "Ada Lovelace"
    assert gallery.renamed("Ada Lovelace", "ada").version == with_all().version
    assert gallery.renamed("Ada Lovelace", "ADA LOVELACE").people == ("ADA LOVELACE", "ben")


@pytest.mark.parametrize(
    ("old", "new", "error", "part"),
    [
        ("cleo", "dan", GalleryError, "'cleo' is not in the gallery"),
        ("ada", "ben", GalleryError, "merge"),
        ("ada", "BEN", NameRefused, "looks like"),
        ("ada", "unknown", NameRefused, "stands for"),
    ],
)
def test_names_that_a_person_cannot_get(
    old: str, new: str, error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        KNOWN.renamed(old, new)


def test_merging_two_people_can_be_undone_by_the_ids() -> None:
    gallery = with_all().with_encoding("ada", at(0.05))
    examples = [each.id for each in gallery.examples_of("ben")]
    verdicts = [each.id for each in gallery.verdicts if each.name == "ben"]
    merged = gallery.reassigned(examples, verdicts, "ada")
    assert merged.people == ("ada",)
    assert [each.name for each in merged.verdicts] == ["ada", "ada", "", ""]
    assert merged.reassigned(examples, verdicts, "ben").version == gallery.version


def test_the_faces_of_a_verdict_move_only_with_the_verdict() -> None:
    gallery = with_all()
    ids = [each.id for each in gallery.examples if each.verdict == "v1"]
    assert gallery.reassigned(ids, [], "ben").version == gallery.version
    moved = gallery.reassigned([], ["v1", "v3", "v9"], "ben")
    assert moved.names == ("ada", "ben", "ben", "ben")
    assert [each.name for each in moved.verdicts] == ["ben", "ben", "", ""]


# --- what a gallery refuses


@pytest.mark.parametrize(
    "said",
    [
        verdict("v", "is", "", at()),
        verdict("v", "not", "", at()),
        verdict("v", "ignore", "ada", at()),
        verdict("v", "same", "ada", at()),
        verdict("v", "is", "unknown", at()),
        verdict("../v", "not", "ada", at()),
        verdict("", "not", "ada", at()),
        verdict("v", "nonsense", "ada", at()),  # type: ignore[arg-type]
        verdict("v", "not", "ada", at(np.nan)),
        verdict("v", "is", "ada", np.zeros(3)),
        verdict("v", "not", "ada", np.zeros(3)),
        Verdict("v", "not", "ada", np.zeros((0, 128)), ()),
        Verdict("v", "not", "ada", np.zeros((2, 128)), (VIDEO,)),
        verdict("v", "same", "", *[at()] * (MAX_VERDICT_FACES + 1)),
    ],
)
def test_verdicts_that_cannot_be_used_are_refused(said: Verdict) -> None:
    with pytest.raises(GalleryError):
        KNOWN.with_verdict(said)


def test_a_verdict_is_given_once() -> None:
    with pytest.raises(GalleryError, match="not unique"):
        with_all().with_verdict(verdict("v2", "not", "ada", at()))


def test_texts_that_could_not_be_read_again_are_refused() -> None:
    with pytest.raises(GalleryError, match="characters"):
        FaceSource(key="k" * (MAX_TEXT_CHARS + 1))
    for make in (
        lambda: FaceSource(photo="\ud800.jpg"),
        lambda: Example("e", added_by="\udcff"),
        lambda: replace(verdict("v", "is", "ada", ADA), who="\udcff"),
    ):
        with pytest.raises(GalleryError, match="cannot be stored"):
            make()


def test_an_example_cannot_belong_to_a_missing_verdict() -> None:
    with pytest.raises(GalleryError, match="does not exist"):
        Gallery(["ada"], ADA[None], examples=[Example("e", verdict="v")])


# --- stored and read again


def test_a_stored_gallery_keeps_examples_and_verdicts() -> None:
    gallery = with_all()
    parsed = parse_gallery(render_gallery(gallery))
    assert parsed.version == gallery.version
    assert parsed.examples == gallery.examples
    for said, read in zip(gallery.verdicts, parsed.verdicts, strict=True):
        assert np.array_equal(said.encodings, read.encodings)
        assert replace(read, encodings=said.encodings) != said  # verdicts compare by identity
        for field in ("id", "kind", "name", "sources", "who", "at_s"):
            assert getattr(read, field) == getattr(said, field)


def test_a_gallery_of_verdicts_alone_is_kept() -> None:
    gallery = empty_gallery().with_verdict(verdict("v", "ignore", "", at(0.3)))
    parsed = parse_gallery(render_gallery(gallery))
    assert nearest(parsed, at(0.3)).ignored
    assert parsed.version == gallery.version != empty_gallery().version


# --- tolerance


def crowd(count: int) -> Gallery:
    points = np.random.default_rng(3).normal(0, 0.05, (count, DLIB.size))
    return Gallery([f"p{number}" for number in range(count)], points)


def test_verdicts_about_enrolled_people_do_not_change_the_tolerance() -> None:
    known = crowd(30)
    plain = gallery_tolerance(known, DLIB)
    faces = np.random.default_rng(4).normal(0, 0.05, (8, DLIB.size))
    changed = known.with_verdict(verdict("a", "is", "p3", *(known.encodings_of("p4") + 0.001)))
    for number, face in enumerate(faces):
        changed = changed.with_verdict(verdict(f"i{number}", "ignore", "", face))
        changed = changed.with_verdict(verdict(f"n{number}", "not", "p1", face))
    assert gallery_tolerance(changed, DLIB) == plain


def test_a_person_known_only_from_verdicts_counts_for_the_tolerance() -> None:
    known = crowd(30)
    said = known.without("p9").with_verdict(verdict("a", "is", "p9", *known.encodings_of("p9")))
    assert gallery_tolerance(said, DLIB).tolerance == pytest.approx(
        gallery_tolerance(known, DLIB).tolerance, abs=0.02
    )
    alone = known.without("p9")
    assert gallery_tolerance(said, DLIB) != gallery_tolerance(alone, DLIB)


@pytest.mark.parametrize("excluded", [3, 30])
def test_many_people_in_turn_can_be_excluded(excluded: int) -> None:
    """Of so many people, each is nearer to the face than the next one."""
    names = [f"p{number:02}" for number in range(40)]
    points = np.array([at(0.1 + 0.01 * number) for number in range(40)])
    known = Gallery(names, points)
    for number in range(excluded):
        known = known.with_verdict(verdict(f"v{number}", "not", names[number], at(0.01)))
    assert name(known, at()) == names[excluded]
    assert nearest(known, at()).margin == pytest.approx(0.01)
