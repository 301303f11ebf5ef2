"""The networks in onnxruntime compute what dlib computes, and are built once."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from support.memory import watch_peak
from support.pictures import astronaut, cat, first_frames

from rollcall.adapters.faces import onnx_models
from rollcall.adapters.faces.dlib_weights import WeightsError, model_path, read_layers
from rollcall.adapters.faces.encoder_graph import encoder_graph
from rollcall.adapters.faces.onnx_faces import OnnxFaces
from rollcall.adapters.faces.onnx_models import DETECTOR, ENCODER, detector_model
from rollcall.core.types import Pixels

face_recognition = pytest.importorskip("face_recognition")

SAME = 1e-5
"""Largest distance of two encodings of one face; two people are 0.6 apart."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> OnnxFaces:
    return OnnxFaces(tmp_path_factory.mktemp("models"))


def assert_same_encodings(faces: OnnxFaces, pixels: Pixels) -> None:
    """Of the same boxes: where a face is, is not the encoder's work."""
    found = faces.faces(pixels)
    assert found
    boxes = [tuple(face.box) for face in found]
    expected = face_recognition.face_encodings(pixels, boxes, model="small")
    for face, encoding in zip(found, expected, strict=True):
        assert np.linalg.norm(face.encoding - encoding) < SAME


def test_the_encoding_is_that_of_face_recognition(faces: OnnxFaces) -> None:
    assert_same_encodings(faces, astronaut())


def test_several_faces_are_encoded_at_once(faces: OnnxFaces) -> None:
    both = np.ascontiguousarray(np.hstack([astronaut(), astronaut()[:, ::-1]]))
    assert len(faces.faces(both)) == 2
    assert_same_encodings(faces, both)


def test_the_encodings_of_real_clips_are_those_of_face_recognition(
    classroom: Path, faces: OnnxFaces
) -> None:
    for frame in first_frames(classroom / "videos"):
        assert_same_encodings(faces, frame)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("shape", [(16_000, 16, 3), (16, 16_000, 3), (3000, 100, 3)])
def test_a_strip_costs_no_more_than_a_picture(
    faces: OnnxFaces, shape: tuple[int, int, int], thorough: bool
) -> None:
    grown_by = watch_peak()
    assert faces.faces(np.full(shape, 90, np.uint8), thorough=thorough) == ()
    assert grown_by() < 1 << 30


def test_a_cat_has_no_encoding(faces: OnnxFaces) -> None:
    assert faces.faces(cat()) == ()


def test_a_model_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = detector_model(tmp_path)

    def refuse(_data: bytes) -> None:
        pytest.fail("the weights were read again")

    monkeypatch.setattr(onnx_models, "read_layers", refuse)
    assert detector_model(tmp_path) == built


def test_a_damaged_model_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built = detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(built[: len(built) // 2])
    with caplog.at_level(logging.WARNING):
        assert detector_model(tmp_path) == built
    assert "damaged" in caplog.text
    assert kept.read_bytes() == built


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert detector_model(no_folder / "models") == detector_model(tmp_path / "models")
    assert "could not be cached" in caplog.text


def test_a_model_may_be_read_by_another_user_than_made_it(tmp_path: Path) -> None:
    """An image is built by root and runs as somebody else."""
    detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o644


def test_a_model_that_cannot_be_read_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.unlink()
    kept.mkdir()
    with caplog.at_level(logging.WARNING):
        assert detector_model(tmp_path) == built
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("name", [ENCODER, DETECTOR])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(
    name: str, part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model_path(name).read_bytes()
    short = tmp_path / name
    short.write_bytes(whole[: int(part * len(whole))])
    monkeypatch.setattr(onnx_models, "model_path", lambda _: short)
    build = onnx_models.encoder_model if name == ENCODER else onnx_models.detector_model
    with pytest.raises(WeightsError):
        build(tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_another_network_is_no_encoder() -> None:
    with pytest.raises(WeightsError):
        encoder_graph(read_layers(model_path(DETECTOR).read_bytes()))


def test_a_missing_file_says_what_to_install() -> None:
    with pytest.raises(WeightsError, match="face_recognition_models"):
        model_path("no_such_model.dat")
