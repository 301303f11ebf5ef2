"""Galleries that are made to use up memory or time, and hundreds of damaged galleries.

A process with tight limits for memory and time (`support.limited`) reads them, and must survive.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from support.needs import REPOSITORY

from rollcall.core.gallery import Gallery
from rollcall.core.verdicts import NAMING_KINDS, VERDICT_KINDS, FaceSource, Verdict
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_pickle import MAX_PICKLE_BYTES, parse_pickle

MB = 1 << 20
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
ENCODE = b"c_codecs\nencode\n"
MUTATIONS = 600
POINT = np.zeros((1, 128))


def read_all(folder: Path, bodies: Iterable[bytes]) -> list[str]:
    """Return what the reader printed for each file."""
    paths = []
    for number, body in enumerate(bodies):
        paths.append(folder / f"{number:04}")
        paths[-1].write_bytes(body)
    env = {**os.environ, "PYTHONPATH": "tests", "OPENBLAS_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "support.limited", *map(str, paths)]
    done = subprocess.run(argv, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    return lines


def text(string: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(string)) + string


def opcodes(value: object) -> bytes:
    """Return the opcodes of a pickle without PROTO at the start and STOP at the end."""
    return pickle.dumps(value, 3)[2:-1]


def gallery(rows: bytes, names: bytes = b"]" + text(b"a") + b"a") -> bytes:
    return b"\x80\x03}(" + text(b"name") + names + text(b"encoding") + rows + b"u."


def repeated(row: bytes, count: int) -> bytes:
    """Return a gallery whose rows are all references to one row in the memo."""
    names = b"](" + text(b"a") + b"r\xfe\x00\x00\x00" + b"j\xfe\x00\x00\x00" * count + b"e"
    return gallery(b"](" + row + b"r\xff\x00\x00\x00" + b"j\xff\x00\x00\x00" * count + b"e", names)


def huge_sides() -> bytes:
    side = b"\x8b" + struct.pack("<i", 12 * MB) + b"\x7f" * (12 * MB)
    dtype = b"cnumpy\ndtype\n" + text(b"f8") + b"\x85R"
    return gallery(
        RECONSTRUCT + b")R" + b"(K\x01" + side + b"q\x00h\x00\x86" + dtype + b"\x89C\x00tb"
    )


def arrays() -> bytes:
    return b"\x80\x02" + RECONSTRUCT + b"q\x00" + b"h\x00)R" * (5 * MB) + b"."


def announced(opcode: bytes, size: int) -> bytes:
    """Return a pickle that announces that many bytes and then ends."""
    return b"\x80\x05" + opcode + struct.pack("<Q", size) + b"N."


def latin1() -> bytes:
    setup = ENCODE + b"q\x00" + text(b"x" * MB) + b"q\x01" + text(b"latin1") + b"q\x02"
    return b"\x80\x02" + setup + b"h\x00h\x01h\x02\x86R" * 100_000 + b"."


def many_names() -> bytes:
    """Return a pickle with an array of more than sixty million names of one byte each."""
    return pickle.dumps({"names": np.zeros(60 * MB, "S1"), "encodings": []}, 3)


def long_names() -> bytes:
    name = b"B" + struct.pack("<I", MB) + b"x" * MB + b"r\xfe\x00\x00\x00"
    names = b"](" + name + b"j\xfe\x00\x00\x00" * 100_000 + b"e"
    return gallery(b"]", names)


def long_keys() -> bytes:
    key = b"B" + struct.pack("<I", MB) + b"x" * MB + b"r\xfe\x00\x00\x00"
    return b"\x80\x03}" + key + b"Ns" + b"j\xfe\x00\x00\x00Ns" * 500_000 + b"."


def one_array_for_everybody(array: np.ndarray) -> bytes:
    """Return the pickle of a dict of 200,000 people who all have the same array."""
    shared = opcodes(array) + b"r\xfe\x00\x00\x00"
    entries = (text(b"%06d" % n) + b"j\xfe\x00\x00\x00" for n in range(200_000))
    return b"\x80\x03}(" + text(b"first") + shared + b"".join(entries) + b"u."


def wide_arrays() -> bytes:
    return one_array_for_everybody(np.zeros((1, 4 * MB)))


def shared_arrays() -> bytes:
    return one_array_for_everybody(np.zeros((10_000, 128)))


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def zip_bomb() -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 128)}"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117) + b"\n"
    return zipped(**{"encodings.npy": npy + bytes(200 * MB)})


def facts(format_name: str = "rollcall-gallery-1", **members: np.ndarray) -> bytes:
    """A native gallery of one encoding with these further members."""
    out = io.BytesIO()
    known = {"format": np.array(format_name), "names": np.array(["a"]), "encodings": POINT}
    np.savez(out, **{**known, **members})  # type: ignore[arg-type]
    return out.getvalue()


def text_of(body: bytes) -> np.ndarray:
    return np.frombuffer(body, np.uint8)


def many_faces_of_one_verdict() -> bytes:
    """A verdict that claims a billion faces."""
    head = b'{"id": "v", "kind": "ignore", "faces": 1e9}\n'
    return facts("rollcall-gallery-2", verdicts=text_of(head))


def many_verdicts_with_one_id() -> bytes:
    """Each verdict claims all encodings, so together they would have 20 GB."""
    examples = b'{"verdict": "v"}\n' * 1000
    verdicts = b'{"id": "v", "kind": "is", "name": "a"}\n' * 20_000
    return facts(
        "rollcall-gallery-2",
        names=np.array(["a"] * 1000),
        encodings=np.zeros((1000, 128)),
        examples=text_of(examples),
        verdicts=text_of(verdicts),
    )


def millions_of_verdicts() -> bytes:
    return facts("rollcall-gallery-2", verdicts=text_of(b"{}\n" * (8 * MB)))


def with_64_bit_directory() -> bytes:
    """Return an archive with a ZIP64 locator, by which the directory could have any size."""
    body = zipped(readme=b"hello")
    end = body.rfind(b"PK\x05\x06")
    return body[:end] + b"PK\x06\x07" + bytes(16) + body[end:]


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "lists": (lambda: b"\x80\x02" + b"]" * (20 * MB) + b".", "steps"),
    "marks": (lambda: b"\x80\x02" + b"(" * (20 * MB) + b".", "steps"),
    "arrays": (arrays, "steps"),
    "one text encoded again and again": (latin1, "is a dict"),
    "huge bytes": (lambda: announced(b"\x8e", 16 << 30), "EOFError"),
    "a huge bytearray": (lambda: announced(b"\x96", 16 << 30), "announces more bytes"),
    "a bytearray that ends early": (lambda: announced(b"\x96", MB), "EOFError"),
    "a huge frame": (lambda: announced(b"\x95", 16 << 30), "is a dict"),
    "one row many times": (lambda: repeated(opcodes([0.5] * 128), 300_000), "do not fit"),
    "one large array many times": (lambda: repeated(opcodes(np.zeros(MB)), 20_000), "128 numbers"),
    "one long list many times": (lambda: repeated(opcodes([1] * 500_000), 4_000), "128 numbers"),
    "sides of millions of digits": (huge_sides, "one dimension"),
    "digits": (lambda: b"I" + b"9" * (10 * MB) + b"\n.", "ValueError"),
    "a long global": (lambda: b"c" + b"m" * (10 * MB) + b"\nx\n.", "no code of the pickle was run"),
    "a long persistent id": (lambda: b"P" + b"9" * (10 * MB) + b"\n.", "outside"),
    "many names in an array": (many_names, "do not fit"),
    "one long name many times": (long_names, "too long"),
    "one long key many times": (long_keys, "too long"),
    "one wide array for everybody": (wide_arrays, "one encoding of 128 numbers"),
    "one array of many for everybody": (shared_arrays, "do not fit"),
    "registered object": (lambda: b"\x80\x02\x82\x01.", "KeyError"),
    "a zip bomb": (zip_bomb, "unpacks to"),
    "thousands of members": (lambda: zipped(**{f"{n}": b"" for n in range(5000)}), "many members"),
    "a directory of 64 bits": (with_64_bit_directory, "missing or damaged"),
    "millions of facts": (lambda: facts(examples=text_of(b"[]\n" * (20 * MB))), "more than 1"),
    "one endless line": (lambda: facts(examples=text_of(b"[]," * (20 * MB))), "too long"),
    "deep lists in a line": (lambda: facts(examples=text_of(b"[" * 60_000 + b"\n")), "line 1"),
    "a number of many digits": (
        lambda: facts(examples=text_of(b'{"added_s": ' + b"9" * 60_000 + b"}\n")), "line 1"
    ),
    "millions of verdicts": (millions_of_verdicts, "more than 100000"),
    "a verdict about a billion faces": (many_faces_of_one_verdict, "line 1"),
    "many verdicts with one id": (many_verdicts_with_one_id, "at least one"),
}  # fmt: skip


def test_bombs_are_refused_within_little_memory_and_time(tmp_path: Path) -> None:
    lines = read_all(tmp_path, (make() for make, _ in BOMBS.values()))
    for name, (_, reason), line in zip(BOMBS, BOMBS.values(), lines, strict=True):
        assert line.startswith("refused:"), f"{name}: {line}"
        assert reason in line, f"{name}: {line}"
        assert len(line) < 400, name


def test_a_pickle_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(Exception, match="has to be native"):
        parse_pickle(bytes(MAX_PICKLE_BYTES + 1))


def test_a_harmless_gallery_of_thousands_fits_the_limits(tmp_path: Path) -> None:
    points = np.random.default_rng(3).normal(0, 0.1, (12_000, 128))
    names = [f"person {number}" for number in range(12_000)]
    document = {"name": names, "encoding": list(points)}
    as_lists = {"name": names, "encoding": points.tolist()}
    packed = io.BytesIO()
    np.savez_compressed(
        packed, format=np.array("rollcall-gallery-1"), names=np.array(names), encodings=points
    )
    bodies = [pickle.dumps(document, protocol) for protocol in (2, 5)]
    bodies += [pickle.dumps(as_lists), render_gallery(Gallery(names, points)), packed.getvalue()]
    assert read_all(tmp_path, bodies) == ["12000 encodings"] * 5


def with_verdicts(gallery: Gallery) -> Gallery:
    """The gallery with a verdict of each kind."""
    source = FaceSource(bucket="b", key="a.mp4", etag="e", time_s=1.5)
    for number, kind in enumerate(VERDICT_KINDS):
        name = "bob" if kind in NAMING_KINDS else ""
        faces = np.full((2, 128), 0.01 * number)
        gallery = gallery.with_verdict(Verdict(f"v{number}", kind, name, faces, (source, source)))
    return gallery


def test_every_kind_of_damage_to_the_facts_is_found(tmp_path: Path) -> None:
    """Most bytes of a gallery are numbers, so this test damages only the text."""
    chance = random.Random(5)
    body = render_gallery(with_verdicts(Gallery(["alice", "bob"], np.ones((2, 128)))))
    with np.load(io.BytesIO(body)) as arrays:
        whole = {name: arrays[name] for name in arrays.files}
    bodies = []
    for number in range(MUTATIONS // 2):
        name = ("examples", "verdicts", "verdict_faces")[number % 3]
        text = np.frombuffer(damaged(whole[name].tobytes(), chance), np.uint8)
        out = io.BytesIO()
        np.savez(out, **{**whole, name: text})
        bodies.append(out.getvalue())
    lines = read_all(tmp_path, bodies)
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("refused") for line in lines) > len(lines) // 2


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Change one to five bytes, or cut out, repeat or move a piece."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 5)):
        at, length = chance.randrange(len(changed)), chance.randint(1, 40)
        piece = changed[at : at + length]
        match chance.randrange(5):
            case 0 | 1:
                changed[at] = chance.randrange(256)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = piece * chance.randint(1, 50)
            case _:
                to = chance.randrange(len(changed))
                changed[to:to] = piece
        if not changed:
            return b"."
    return bytes(changed)


def test_hundreds_of_damaged_galleries_are_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(17)
    points = np.random.default_rng(7).normal(0, 0.12, (3, 128))
    people = ["alice", "bob", "alice"]
    layouts: list[object] = [
        {"names": np.array(people), "encodings": points},
        {"alice": points[:2], "bob": points[2].tolist()},
        (list(points), np.array(people, object)),
    ]
    whole = [
        *(pickle.dumps(document, n) for document in layouts for n in (0, 2, 5)),
        *(pickle.dumps({"name": people, "encoding": list(points)}, n) for n in range(6)),
        pickle.dumps({"name": people, "encoding": points.tolist()}),
        render_gallery(Gallery(people, points)),
        render_gallery(with_verdicts(Gallery(people, points))),
    ]
    bodies = [damaged(whole[number % len(whole)], chance) for number in range(MUTATIONS)]
    # Most bytes of a pickle are numbers. Half of the files are damaged at the start instead, where
    # the opcodes are.
    bodies[::2] = [
        damaged(body[:200], chance) + body[200:]
        for body in (whole[number % len(whole)] for number in range(0, MUTATIONS, 2))
    ]
    lines = read_all(tmp_path, bodies)
    assert all(line.isprintable() for line in lines)  # the message fits one log line
    refused = sum(line.startswith("refused:") for line in lines)
    assert MUTATIONS // 2 < refused < MUTATIONS
    numbers = {f"{number!r}" for number in points.ravel()}
    assert not [line for line in lines if any(number[:8] in line for number in numbers)]
