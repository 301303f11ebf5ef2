"""Galleries of both formats are read, and pickles that try to run code are refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.needs import classroom_folder

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.types import FaceQuality
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.gallery import gallery_formats, restricted_pickle
from rollcall.gallery.gallery_formats import (
    FORMAT,
    FORMAT_WITH_VERDICTS,
    is_native,
    parse_gallery,
    render_gallery,
)

PEOPLE = ["alice", "bob", "alice"]
POINTS = np.random.default_rng(7).normal(0, 0.12, (3, 128))


def pickled(encoding: object, names: object = PEOPLE, protocol: int = 4) -> bytes:
    return pickle.dumps({"name": names, "encoding": encoding}, protocol)


def refused(body: bytes) -> str:
    with pytest.raises(GalleryError) as caught:
        parse_gallery(body)
    return str(caught.value)


# --- the native format


def test_the_file_contains_the_encoding_space() -> None:
    parsed = parse_gallery(render_gallery(Gallery(["ada"], np.ones((1, 512)), "arcface-r50")))
    assert (parsed.space, parsed.encodings.shape) == ("arcface-r50", (1, 512))


def test_a_file_without_an_encoding_space_has_dlibs() -> None:
    body = io.BytesIO()
    np.savez(body, format=np.array(FORMAT), names=np.array(["ada"]), encodings=np.ones((1, 128)))
    assert parse_gallery(body.getvalue()).space == DLIB.name


def test_a_pickle_has_dlibs_encoding_space() -> None:
    assert parse_gallery(pickled(POINTS)).space == DLIB.name


def test_the_file_cannot_claim_dlibs_space_for_other_encodings() -> None:
    body = io.BytesIO()
    arrays = {"names": np.array(["ada"]), "encodings": np.ones((1, 512))}
    np.savez(body, format=np.array(FORMAT), space=np.array(DLIB.name), **arrays)
    assert "shape" in refused(body.getvalue())


@pytest.mark.parametrize(
    "gallery",
    [
        Gallery(PEOPLE, POINTS),
        Gallery(["王小明", "Zoë", "O'Neil, Bob"], POINTS),
        empty_gallery(),
    ],
    ids=["people", "other scripts", "empty"],
)
def test_npz_round_trip(gallery: Gallery) -> None:
    body = render_gallery(gallery)
    parsed = parse_gallery(body)
    assert is_native(body)
    assert parsed.names == gallery.names
    assert np.array_equal(parsed.encodings, gallery.encodings)
    assert parsed.version == gallery.version


def test_npz_has_no_pickle_inside() -> None:
    with np.load(io.BytesIO(render_gallery(Gallery(PEOPLE, POINTS))), allow_pickle=False) as parts:
        assert {parts[name].dtype.kind for name in parts} == {"U", "f"}


def npz(**replaced: object) -> bytes:
    """Return a native gallery with some members replaced, or left out if they are None."""
    members = {
        "format": np.array(FORMAT),
        "names": np.array(PEOPLE),
        "encodings": POINTS,
    } | replaced
    out = io.BytesIO()
    arrays: dict[str, Any] = {name: part for name, part in members.items() if part is not None}
    np.savez(out, **arrays)
    return out.getvalue()


def lines(*documents: object) -> np.ndarray:
    text = "".join(json.dumps(document) + "\n" for document in documents)
    return np.frombuffer(text.encode(), np.uint8)


IS = {"id": "v", "kind": "is", "name": "bob"}
IGNORE = {"id": "v", "kind": "ignore", "faces": 1}
BAD_FACTS: dict[str, dict[str, object]] = {
    "examples that are numbers": {"examples": np.zeros(3)},
    "examples in two dimensions": {"examples": lines(*[{}] * 3)[None]},
    "one example too few": {"examples": lines({}, {})},
    "one example too many": {"examples": lines({}, {}, {}, {})},
    "an example that is a list": {"examples": lines({}, {}, [])},
    "no JSON": {"examples": np.frombuffer(b"{}\n{}\n{\n", np.uint8)},
    "no UTF-8": {"examples": np.frombuffer(b'{}\n{}\n{"id": "\xff"}\n', np.uint8)},
    "an id that is a number": {"examples": lines({}, {}, {"id": 7})},
    "an id that is a path": {"examples": lines({}, {}, {"id": "../x"})},
    "an id twice": {"examples": lines({}, {"id": "a"}, {"id": "a"})},
    "a time that is not finite": {"examples": lines({}, {}, {"added_s": float("nan")})},
    "a time that is text": {"examples": lines({}, {}, {"added_s": "now"})},
    "a time that is a truth": {"examples": lines({}, {}, {"added_s": True})},
    "a quality of three numbers": {"examples": lines({}, {}, {"quality": [100, 0.1, 0.1]})},
    "half a character": {"examples": lines({}, {}, {"photo": "\ud800.jpg"})},
    "a long text": {"examples": lines({}, {}, {"key": "k" * 2000})},
    "an example of no verdict": {"examples": lines({}, {}, {"verdict": "v"})},
    "a verdict without examples": {"verdicts": lines(IS)},
    "a verdict about somebody else's example": {
        "examples": lines({"verdict": "v"}, {}, {}),
        "verdicts": lines(IS),
    },
    "a verdict twice": {"examples": lines({}, {"verdict": "v"}, {}), "verdicts": lines(IS, IS)},
    "an unknown kind": {"verdicts": lines({"id": "v", "kind": "maybe"})},
    "faces without encodings": {"verdicts": lines(IGNORE), "verdict_faces": lines({})},
    "encodings without faces": {"verdicts": lines(IGNORE), "verdict_encodings": POINTS[:1]},
    "more faces than the verdicts have": {
        "verdicts": lines(IGNORE),
        "verdict_faces": lines({}, {}),
        "verdict_encodings": POINTS[:2],
    },
    "a negative number of faces": {
        "verdicts": lines({"id": "v", "kind": "same", "faces": -1}),
        "verdict_faces": lines({}),
        "verdict_encodings": POINTS[:1],
    },
    "a verdict with encodings of another size": {
        "verdicts": lines(IGNORE),
        "verdict_faces": lines({}),
        "verdict_encodings": POINTS[:1, :9],
    },
    "a verdict with NaN": {
        "verdicts": lines(IGNORE),
        "verdict_faces": lines({}),
        "verdict_encodings": POINTS[:1] * np.nan,
    },
    "encodings of verdicts that are no matrix": {
        "verdicts": lines(IGNORE),
        "verdict_faces": lines({}),
        "verdict_encodings": POINTS[0],
    },
    "encodings of verdicts that are one number": {
        "verdicts": lines({**IGNORE, "faces": 0}),
        "verdict_encodings": np.array(1.0),
    },
}


@pytest.mark.parametrize("members", BAD_FACTS.values(), ids=BAD_FACTS)
def test_bad_facts_are_refused(members: dict[str, object]) -> None:
    refused(npz(**members))


def test_good_facts_are_read() -> None:
    parsed = parse_gallery(
        npz(
            examples=lines({}, {"id": "a", "quality": [90, 0.1, 0, 0.9]}, {"verdict": "w"}),
            verdicts=lines(IGNORE, {"id": "w", "kind": "is", "name": "alice", "who": "eve"}),
            verdict_faces=lines({"key": "a.mp4"}),
            verdict_encodings=POINTS[:1],
        )
    )
    assert [each.id for each in parsed.examples] == ["", "a", ""]
    assert parsed.examples[1].quality == FaceQuality(90, 0.1, 0.0, 0.9)
    assert [(each.kind, each.sources[0].key) for each in parsed.verdicts] == [
        ("ignore", "a.mp4"),
        ("is", ""),
    ]
    assert np.array_equal(parsed.verdicts[1].encodings, POINTS[2:])


def test_only_a_gallery_with_verdicts_is_refused_by_older_versions() -> None:
    """Older versions read the format 1, and skip members that they do not know."""
    plain = Gallery(PEOPLE, POINTS).with_encoding("ada", POINTS[0])
    said = Verdict("v", "same", "", POINTS[:1], (FaceSource(),))
    for gallery, expected in ((plain, FORMAT), (plain.with_verdict(said), FORMAT_WITH_VERDICTS)):
        with np.load(io.BytesIO(render_gallery(gallery)), allow_pickle=False) as parts:
            assert str(parts["format"]) == expected
            assert parts["names"].tolist() == [*PEOPLE, "ada"]
            assert "O" not in {parts[name].dtype.kind for name in parts}


BAD_MEMBERS: dict[str, dict[str, object]] = {
    "names of objects": {"names": np.array(PEOPLE, dtype=object)},
    "encodings of objects": {"encodings": POINTS.astype(object)},
    "one encoding too few": {"encodings": POINTS[:2]},
    "encodings of 127": {"encodings": POINTS[:, :127]},
    "flat encodings": {"encodings": POINTS.ravel()},
    "encodings that are one number": {"encodings": np.array(1.0)},
    "one number with a verdict": {"encodings": np.array(1.0), "verdicts": lines(IS)},
    "whole numbers": {"encodings": POINTS.astype("i8")},
    "NaN": {"encodings": POINTS * np.nan},
    "records": {"encodings": np.zeros((3, 128), dtype=[("x", "f8")])},
    "names in two dimensions": {"names": np.array([PEOPLE])},
    "names that are numbers": {"names": np.arange(3)},
    "names that are bytes": {"names": np.array(PEOPLE, dtype="S")},
    "a name that nobody may have": {"names": np.array(["alice", "bob", "unknown"])},
    "another format": {"format": np.array("rollcall-gallery-9")},
    "no format": {"format": None},
    "no names": {"names": None},
    "no encodings": {"encodings": None},
}


@pytest.mark.parametrize("members", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_npz_with_a_bad_member_is_refused(members: dict[str, object]) -> None:
    refused(npz(**members))


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def npy_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def genuine(name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(npz())) as archive:
        return archive.read(f"{name}.npy")


def with_encodings(body: bytes) -> bytes:
    return zipped(
        **{"format.npy": genuine("format"), "names.npy": genuine("names"), "encodings.npy": body}
    )


def encrypted(body: bytes) -> bytes:
    """Return the archive with the encryption flag set in its first directory entry."""
    changed = bytearray(body)
    changed[body.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


ODD_ZIPS: dict[str, Callable[[], bytes]] = {
    "nothing but the magic": lambda: b"PK",
    "not a zip": lambda: b"PK\x03\x04" + b"x" * 100,
    "a zip of something else": lambda: zipped(readme=b"hello"),
    "members that are not arrays": lambda: zipped(
        **{"format.npy": genuine("format"), "names": b"alice", "encodings": b"x"}
    ),
    "a huge shape": lambda: with_encodings(
        npy_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**9, 128)}\n")
    ),
    "a shape beyond memory": lambda: with_encodings(
        npy_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 128)}\n" % 10**14)
    ),
    "a header that is not a literal": lambda: with_encodings(npy_header(b"(" * 5000)),
    "a header that is a call": lambda: with_encodings(npy_header(b"print(1)\n")),
    "cut off": lambda: npz()[:-100],
    "an encrypted member": lambda: encrypted(npz()),
}


@pytest.mark.parametrize("make", ODD_ZIPS.values(), ids=ODD_ZIPS)
def test_an_odd_zip_is_refused(make: Callable[[], bytes]) -> None:
    refused(make())


def test_a_zip_that_unpacks_to_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_formats, "MAX_RATIO", 0)
    monkeypatch.setattr(gallery_formats, "SMALL_BYTES", 1000)
    assert "unpacks" in refused(render_gallery(Gallery(PEOPLE, POINTS)))


def test_too_many_bytes_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_formats, "MAX_GALLERY_BYTES", 10)
    assert "at most 10 bytes" in refused(pickled([]))


def test_a_gallery_that_could_not_be_read_again_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gallery = Gallery(PEOPLE, POINTS)
    monkeypatch.setattr(gallery_formats, "MAX_GALLERY_BYTES", len(render_gallery(gallery)))
    parse_gallery(render_gallery(gallery))
    with pytest.raises(GalleryError, match=r"at most \d+ bytes.*remove"):
        render_gallery(gallery.with_encoding("dora", POINTS[0]))


# --- pickled galleries

ROWS: dict[str, object] = {
    "arrays": list(POINTS),
    "float32": list(POINTS.astype("f4")),
    "big-endian": list(POINTS.astype(">f8")),
    "big-endian float32": list(POINTS.astype(">f4")),
    "read-only": list(np.frombuffer(POINTS.tobytes()).reshape(3, 128)),
    "strided": list(np.asfortranarray(POINTS)),
    "lists": POINTS.tolist(),
    "tuples": [tuple(row) for row in POINTS.tolist()],
    "one array": POINTS,
    "one array in Fortran's order": np.asfortranarray(POINTS),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_pickle_of_any_protocol_gives_the_same_numbers(rows: object, protocol: int) -> None:
    gallery = parse_gallery(pickled(rows, protocol=protocol))
    assert gallery.names == tuple(PEOPLE)
    assert np.array_equal(gallery.encodings, np.array(rows, dtype=np.float64))


def test_a_pickle_without_people_is_read() -> None:
    assert len(parse_gallery(pickled([], []))) == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_pickle_of_an_older_numpy_is_read(protocol: int) -> None:
    """Before numpy 2.0, the package `numpy._core` was called `numpy.core`."""
    body = pickled(list(POINTS), protocol=protocol)
    older = body.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older != body
    assert np.array_equal(parse_gallery(older).encodings, POINTS)


def plain_pickle(body: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns about the old names of its modules
        return pickle.loads(body)


def test_the_classroom_pickle_is_read_as_plain_pickle_reads_it() -> None:
    body = (classroom_folder() / "encoding").read_bytes()
    plain = plain_pickle(body)
    gallery = parse_gallery(body)
    assert len(gallery) == 11
    assert gallery.names == tuple(plain["name"])
    assert gallery.encodings.dtype == np.float64
    assert np.array_equal(gallery.encodings, np.array(plain["encoding"]))


BAD_DOCUMENTS: dict[str, object] = {
    "a list": [],
    "no encoding": {"name": []},
    "no name": {"encoding": []},
    "keys that are not text": {1: [], "name": PEOPLE, "encoding": POINTS},
    "names in a set": {"name": set(PEOPLE), "encoding": POINTS},
    "names in an array": {"name": POINTS, "encoding": POINTS},
    "names that are lists": {"name": [[1], [2], [3]], "encoding": POINTS},
    "names that are numbers": {"name": [1, 2, 3], "encoding": POINTS},
    "names in two dimensions": {"name": np.array([PEOPLE]), "encoding": POINTS},
    "names as objects that are not text": {"name": np.array([1, 2, 3], "O"), "encoding": POINTS},
    "a name of a megabyte": {"name": [b"x" * (1 << 20)], "encoding": POINTS[:1]},
    "a person without encodings": {"alice": POINTS[:1], "bob": []},
    "a person with an array of nothing": {"alice": POINTS[:1], "bob": np.empty((0, 128))},
    "a person with encodings of 127": {"alice": POINTS[:, :127]},
    "a person with a number": {"alice": 0.5},
    "a dict of dicts": {"alice": {"encoding": POINTS[0]}},
    "nobody at all": {},
    "a pair without names": [POINTS, POINTS],
    "three columns": [POINTS, PEOPLE, PEOPLE],
    "a pair of empty columns": ([], []),
    "too few names": {"name": PEOPLE[:2], "encoding": POINTS},
    "too few encodings": {"name": PEOPLE, "encoding": list(POINTS[:2])},
    "encodings of 127": {"name": PEOPLE, "encoding": list(POINTS[:, :127])},
    "three dimensions": {"name": PEOPLE, "encoding": POINTS[None]},
    "no dimension": {"name": ["a"], "encoding": [np.array(1.0)]},
    "text": {"name": ["a"], "encoding": ["x" * 128]},
    "whole numbers": {"name": ["a"], "encoding": [np.arange(128)]},
    "a number beyond float64": {"name": ["a"], "encoding": [[10**400] * 128]},
    "booleans": {"name": ["a"], "encoding": [[True] * 128]},
    "objects": {"name": ["a"], "encoding": [np.array([None] * 128)]},
    "NaN": {"name": PEOPLE, "encoding": POINTS * np.nan},
    "a set": {"name": PEOPLE, "encoding": set()},
    "times": {"name": ["a"], "encoding": [np.zeros(128, "M8[s]")]},
    "records": {"name": ["a"], "encoding": [np.zeros(128, [("x", "f8")])]},
    "masked": {"name": ["a"], "encoding": [np.ma.zeros(128)]},
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_a_pickle_of_something_else_is_refused(document: object, protocol: int) -> None:
    refused(pickle.dumps(document, protocol))


# --- other layouts

ALICE, BOB = POINTS[[0, 2]], POINTS[1]
LAYOUTS: dict[str, object] = {
    "PyImageSearch": {"encodings": list(POINTS), "names": PEOPLE},
    "PyImageSearch with lists": {"encodings": POINTS.tolist(), "names": PEOPLE},
    "PyImageSearch with more": {"encodings": POINTS, "names": PEOPLE, "paths": ["a", "b", "c"]},
    "the library's own examples": {"known_face_encodings": POINTS, "known_face_names": PEOPLE},
    "names in a tuple": {"name": tuple(PEOPLE), "encoding": tuple(POINTS)},
    "names in an array": {"names": np.array(PEOPLE), "encodings": POINTS},
    "names in an array of bytes": {"names": np.array(PEOPLE, "S"), "encodings": POINTS},
    "names in an array of objects": {"names": np.array(PEOPLE, object), "encodings": POINTS},
    "names in a big-endian array": {"names": np.array(PEOPLE, ">U9"), "encodings": POINTS},
    "names that are bytes": {"names": [b"alice", b"bob", b"alice"], "encodings": POINTS},
    "each encoding in a list": {"encodings": [[row] for row in POINTS], "names": PEOPLE},
    "each encoding as a row": {"encodings": [row[None] for row in POINTS], "names": PEOPLE},
    "a pair, encodings first": (list(POINTS), PEOPLE),
    "a pair, names first": [PEOPLE, POINTS],
    "a pair of arrays": (POINTS, np.array(PEOPLE)),
    "a pair with names as objects": (POINTS, np.array(PEOPLE, object)),
    "by name, lists": {"alice": list(ALICE), "bob": [BOB]},
    "by name, one alone": {"alice": list(ALICE), "bob": BOB},
    "by name, numbers": {"alice": ALICE.tolist(), "bob": BOB.tolist()},
    "by name, arrays": {"alice": ALICE, "bob": BOB[None]},
    "by name, tuples": {"alice": tuple(ALICE), "bob": tuple(BOB.tolist())},
    "by name, names as bytes": {b"alice": ALICE, b"bob": BOB},
    "encodings in an array of objects": (np.array([*POINTS, None], object)[:3], PEOPLE),
}


def by_person(gallery: Gallery) -> dict[str, list[list[float]]]:
    return {name: sorted(gallery.encodings_of(name).tolist()) for name in gallery.people}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("document", LAYOUTS.values(), ids=LAYOUTS)
def test_a_common_layout_gives_the_same_gallery(document: object, protocol: int) -> None:
    gallery = parse_gallery(pickle.dumps(document, protocol))
    assert by_person(gallery) == by_person(Gallery(PEOPLE, POINTS))


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"embeddings": POINTS, "names": PEOPLE}, "a dict with the keys 'embeddings', 'names'"),
        ({"x": 1, "\u202e": 2}, "the keys 'x', '\\u202e'"),
        ({f"k{n}": n for n in range(9)}, "'k0', 'k1', 'k2', 'k3', 'k4' and 4 more"),
        ({"name": PEOPLE}, "a dict with the keys 'name'"),
        ([{"encoding": [1]}], "a list of 1"),
        ({}, "an empty dict"),
        (None, "a NoneType"),
    ],
)
def test_the_error_for_an_unknown_layout_shows_its_keys(document: object, found: str) -> None:
    message = refused(pickle.dumps(document))
    assert found in message
    assert message.isprintable()
    assert len(message) < 400


def python2_text(text: bytes, protocol: int) -> bytes:
    if not protocol:
        return b"S" + repr(text)[1:].encode() + b"\n"
    return (
        b"U" + bytes([len(text)]) + text
        if len(text) < 256
        else (b"T" + len(text).to_bytes(4, "little") + text)
    )


def python2(names: list[bytes], points: np.ndarray, protocol: int, key: bytes = b"name") -> bytes:
    """Return a pickle as Python 2 wrote it: names, keys and array data are byte strings."""

    def text(value: bytes) -> bytes:
        return python2_text(value, protocol)

    def array(numbers: np.ndarray) -> bytes:
        code = numbers.dtype.str[1:].encode()
        made = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + text(b"b") + b"tR"
        )
        dtype = DTYPE + b"(" + text(code) + b"I0\nI1\ntR"
        dtype += b"(I3\n" + text(b"<") + b"NNNI-1\nI-1\nI0\ntb"
        return made + b"(I1\n(L128L\nt" + dtype + b"I00\n" + text(numbers.tobytes()) + b"tb"

    listed = b"(l" + b"".join(text(name) + b"a" for name in names)
    rows = b"(l" + b"".join(array(row) + b"a" for row in points)
    head = bytes([0x80, protocol]) if protocol >= 2 else b""
    return head + b"(d" + text(key) + listed + b"s" + text(b"encoding") + rows + b"s."


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_pickle_of_python_2_is_read(protocol: int, dtype: str, encoding: str) -> None:
    names = ["Zo\u00eb", "bob"]
    points = POINTS[:2].astype(dtype)
    body = python2([name.encode(encoding) for name in names], points, protocol)
    gallery = parse_gallery(body)
    assert gallery.names == tuple(names)
    assert np.array_equal(gallery.encodings, points.astype("f8"))


def test_a_pickle_of_python_2_in_the_tutorials_layout_is_read() -> None:
    body = python2([b"alice", b"bob"], POINTS[:2], 2, b"names")
    assert parse_gallery(body).names == ("alice", "bob")


# --- pickles that are programs


class Calls:
    """An object whose pickle calls `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


def programs(marker: Path) -> dict[str, object]:
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {marker}"),
        "subprocess": Calls(subprocess.run, ["touch", str(marker)]),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "open": Calls(open, str(marker), "w"),
        "getattr": Calls(getattr, dict, "fromkeys"),
        "numpy's load": Calls(np.load, str(marker)),
        "numpy's save": Calls(np.save, str(marker), 1),
        "bytearray": Calls(bytearray, 10),
        "path": marker,
        "class": Gallery,
        "scalar": np.float64(1.0),
    }


@pytest.mark.parametrize("where", ["alone", "as encoding", "as name", "beside", "after a gallery"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("program", programs(Path("x")))
def test_a_program_is_refused_and_not_run(
    program: str, protocol: int, where: str, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"
    payload = programs(marker)[program]
    document: dict[str, Callable[[], object]] = {
        "alone": lambda: payload,
        "as encoding": lambda: {"name": PEOPLE, "encoding": [payload]},
        "as name": lambda: {"name": [payload], "encoding": POINTS},
        "beside": lambda: {"name": PEOPLE, "encoding": POINTS, "x": {"y": payload}},
        "after a gallery": lambda: [{"name": PEOPLE, "encoding": POINTS}, payload],
    }
    message = refused(pickle.dumps(document[where](), protocol))
    assert "no code of the pickle was run" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("member", ["names", "encodings", "format"])
def test_a_program_inside_an_npz_is_refused_and_not_run(member: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    payload = np.array([Calls(os.system, f"touch {marker}")], dtype=object)
    refused(npz(**{member: payload}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'touch MARKER'\ntR.",
        b"(S'touch MARKER'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch MARKER'\no.",
        b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch MARKER\x85\x81.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",
        b"\x80\x02cnumpy\nload\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x14ndarray.tofile.__new_\x93.",
        b"crollcall.core.gallery_formats\nGallery\n.",
        b"c__builtin__\neval\n.",
        b"cbuiltins\nobject\n.",
        b"P1\n.",
        b"\x80\x02K\x01Q.",
        b"\x82\x01.",
        b"\x80\x05\x97.",
        b"\x80\x05K\x01\x98.",
    ],
    ids=repr,
)
def test_a_handwritten_program_is_refused(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(body)
    assert not list(tmp_path.iterdir())


NDARRAY = b"cnumpy\nndarray\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
ENCODE = b"c_codecs\nencode\n"
DTYPE = b"cnumpy\ndtype\n"


@pytest.mark.parametrize("target", [NDARRAY, RECONSTRUCT, ENCODE, DTYPE, b"}", b"]"], ids=repr)
def test_a_pickle_cannot_change_the_replacements_of_numpy(target: bytes) -> None:
    """BUILD with (None, {"code": "x"}) would set an attribute of a class or function."""
    before = {name: dict(vars(part)) for name, part in restricted_pickle._ALLOWED.items()}
    refused(b"\x80\x02" + target + b"N}X\x04\x00\x00\x00codeX\x01\x00\x00\x00xs\x86b.")
    assert before == {name: dict(vars(part)) for name, part in restricted_pickle._ALLOWED.items()}


DEEP = 150_000
EXPLODING = b"]" + b"q\x00h\x00h\x00\x86" * 200
"""A tuple that is nested 200 deep, and on each level contains the next one twice. Printing it would
never end."""

ATTACKS = {
    "deep key": b"\x80\x02})" + b"\x85" * DEEP + b"Ns.",
    "deep key of a dict with items": b"\x80\x02()" + b"\x85" * DEEP + b"Nd.",
    "deep member of a set": b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.",
    "deep member of a frozen set": b"\x80\x04()" + b"\x85" * DEEP + b"\x91.",
    "deep name": b"\x80\x02}(X\x04\x00\x00\x00name](" + b")" + b"\x85" * DEEP
    + b"eX\x08\x00\x00\x00encoding]u.",
    "deep list": b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "exploding key": b"\x80\x02}" + EXPLODING + b"Ns.",
    "exploding name": b"\x80\x02}(X\x04\x00\x00\x00name](" + EXPLODING
    + b"eX\x08\x00\x00\x00encoding]u.",
    "exploding dtype": b"\x80\x02" + DTYPE + EXPLODING + b"\x85R.",
    "exploding encoding": b"\x80\x02" + ENCODE + b"X\x00\x00\x00\x00" + EXPLODING + b"\x86R.",
    "large index": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "large bytes": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00.",
    "large bytearray": b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.",
    "large frame": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
}  # fmt: skip


@pytest.mark.parametrize("body", ATTACKS.values(), ids=ATTACKS)
def test_a_pickle_that_would_kill_or_stall_the_process_is_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    "shape", [(2**40,), (2**62, 4), (0, 10**30), (-128,), (128.0,), (True,), 128, ()]
)
@pytest.mark.parametrize("protocol", [3, 5])
def test_a_shape_that_does_not_fit_its_bytes_is_refused(shape: object, protocol: int) -> None:
    class Lies:
        def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
            genuine: Any = np.zeros(128).__reduce_ex__(protocol)
            if protocol == 5:
                function, (data, dtype, _shape, order) = genuine[:2]
                return function, (bytes(data), dtype, shape, order)
            function, arguments, (version, _shape, dtype, fortran, data) = genuine[:3]
            return function, arguments, (version, shape, dtype, fortran, data)

    refused(pickled([Lies()], ["alice"], protocol))


WHOLE = {protocol: pickled(list(POINTS), protocol=protocol) for protocol in (2, 3, 4, 5)}


@pytest.mark.parametrize("protocol", WHOLE)
def test_a_truncated_pickle_is_refused(protocol: int) -> None:
    body = WHOLE[protocol]
    for length in [*range(400), *range(400, len(body), 97), len(body) - 1]:
        refused(body[:length])


def parse_or_refuse(body: bytes) -> None:
    try:
        parse_gallery(body)
    except GalleryError:
        return


@given(st.binary())
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    refused(body)
    refused(b"\x80\x04" + body)
    refused(b"PK" + body)


@given(st.sampled_from([*WHOLE.values(), npz()]), st.integers(0), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_but_gallery_error(
    body: bytes, position: int, byte: int
) -> None:
    changed = bytearray(body)
    changed[position % min(len(body), 700)] = byte
    parse_or_refuse(bytes(changed))
    changed = bytearray(body)
    changed[-1 - position % min(len(body), 700)] = byte
    parse_or_refuse(bytes(changed))
