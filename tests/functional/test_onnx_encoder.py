"""ENGINE=onnx:PATH runs the user's model on faces that are aligned as ArcFace models expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from support.pictures import astronaut

from rollcall.cli.main import main
from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError, SettingsError
from rollcall.core.gallery import Gallery
from rollcall.core.settings import Settings, parse_settings
from rollcall.core.types import Box, DetectedFace
from rollcall.faces.dlib_encoder import DlibEncoder
from rollcall.faces.onnx_encoder import TEMPLATE, OnnxEncoder, align, similarity
from rollcall.gallery.enrolment import enrol_in
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, read_gallery
from rollcall.wiring import build_engine

DESCRIPTION = {
    "space": "test-arcface",
    "tolerance": 1.2,
    "input_size": 112,
    "mean": 127.5,
    "scale": 0.0078125,
    "channels": "rgb",
}


def write_model(folder: Path, outputs: int = 512, **changes: Any) -> Path:
    """Write a network that averages blocks of 8 x 8 pixels and then mixes them linearly.

    Returns its path. A change to None leaves a field of the description out.
    """
    weights = np.random.default_rng(1).normal(size=(3 * 14 * 14, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node(
                "AveragePool", ["picture"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]
            ),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["encoding"]),
        ],
        "test",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("encoding", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    description = {**DESCRIPTION, **changes}
    given = {name: value for name, value in description.items() if value is not None}
    (folder / "model.json").write_text(json.dumps(given))
    return path


def test_a_known_similarity_is_recovered() -> None:
    angle, scale, shift = 0.4, 2.5, np.array([30.0, -12.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = TEMPLATE @ turn.T + shift
    np.testing.assert_allclose(
        similarity(TEMPLATE, moved), np.column_stack([turn, shift]), atol=1e-9
    )


@pytest.mark.parametrize("side_px", [112, 224])
def test_landmarks_are_moved_to_the_template(side_px: int) -> None:
    picture = np.zeros((600, 800, 3), dtype=np.uint8)
    landmarks = TEMPLATE * 3 + (250, 120)
    for x, y in landmarks.tolist():
        cv2.circle(picture, (round(x), round(y)), 12, (255, 255, 255), -1)
    chip = align(picture, landmarks, side_px)
    assert chip.shape == (side_px, side_px, 3)
    for x, y in (TEMPLATE * side_px / 112).tolist():
        assert chip[round(y), round(x)].min() > 200
    assert chip.mean() < 60


def test_an_encoding_has_512_values_and_length_1(tmp_path: Path) -> None:
    engine = build_engine(Settings(engine=f"onnx:{write_model(tmp_path)}"))
    both = np.ascontiguousarray(np.hstack([astronaut(), astronaut()[:, ::-1]]))
    encodings = engine.encode(both, engine.detect(both))
    assert (encodings.shape, encodings.dtype) == ((2, 512), np.float64)
    np.testing.assert_allclose(np.linalg.norm(encodings, axis=1), 1)
    assert engine.encode(both, []).shape == (0, 512)
    assert (engine.space.name, engine.space.size) == ("test-arcface", 512)
    assert engine.space.same_face_distance == pytest.approx(0.9)


def test_pixels_are_normalised_and_ordered_as_the_description_says(tmp_path: Path) -> None:
    """The result is compared with the same computation in numpy."""
    write_model(tmp_path, channels="bgr", mean=[10, 20, 30], scale=0.5)
    weights = np.random.default_rng(1).normal(size=(3 * 14 * 14, 512)).astype(np.float32)
    chip = np.random.default_rng(2).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    face = DetectedFace(Box(0, 112, 112, 0), TEMPLATE, 1.0)
    (encoding,) = OnnxEncoder(tmp_path / "model.onnx").encode(chip, [face])
    values = (chip[..., ::-1] - np.array([10, 20, 30])) * 0.5
    pooled = values.reshape(14, 8, 14, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    expected = pooled.ravel() @ weights
    np.testing.assert_allclose(encoding, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_gallery_of_dlib_is_refused_and_a_new_one_is_created(tmp_path: Path) -> None:
    engine = build_engine(Settings(engine=f"onnx:{write_model(tmp_path)}"))
    old = GalleryFile(tmp_path / "old.npz")
    old.save(render_gallery(Gallery(["ada"], np.zeros((1, 128)))))
    with pytest.raises(GalleryError, match=r"dlib-resnet-1 .* test-arcface .* set ENGINE"):
        read_gallery(old, engine.space)
    with pytest.raises(GalleryError, match="dlib-resnet-1"):
        enrol_in(old, "bob", [Path("a")], engine, lambda _: astronaut(), 0.6)
    new = GalleryFile(tmp_path / "new.npz")
    done = enrol_in(new, "ada", [Path("a")], engine, lambda _: astronaut(), 1.2)
    assert (done.added, done.refused) == (1, [])
    kept = read_gallery(new, engine.space)
    assert (kept.space, kept.encodings.shape) == ("test-arcface", (1, 512))
    assert parse_gallery(render_gallery(kept)).space == "test-arcface"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tolerance": None}, "lacks tolerance"),
        ({"tolerance": "high"}, "tolerance .* cannot be 'high'"),
        ({"tolerance": True}, "tolerance"),
        ({"space": "dlib-resnet-1"}, "space"),
        ({"space": "a b"}, "space"),
        ({"channels": "grey"}, "channels"),
        ({"mean": [1, 2]}, "mean"),
        ({"scale": 0}, "scale"),
        ({"input_size": 112.5}, "input_size"),
        ({"input_size": 160}, "check input_size"),
        ({"toleranze": 1}, "unknown fields"),
        ({"min_margin": 0.5, "clear_margin": 0.1}, "min_margin"),
    ],
)
def test_a_bad_description_is_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    model = write_model(tmp_path, **changes)
    with pytest.raises(SettingsError, match=sentence):
        OnnxEncoder(model)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 30_000])
def test_a_file_that_is_not_a_description_is_refused(tmp_path: Path, text: str) -> None:
    model = write_model(tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(SettingsError, match=r"model\.json"):
        OnnxEncoder(model)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    model.unlink()
    with pytest.raises(SettingsError, match="no model at"):
        OnnxEncoder(model)
    (tmp_path / "model.json").unlink()
    with pytest.raises(SettingsError, match="no description at"):
        OnnxEncoder(model)


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    model.write_bytes(b"not a model")
    with pytest.raises(SettingsError, match="not an ONNX model"):
        OnnxEncoder(model)


def test_a_model_with_another_output_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path, outputs=1)
    with pytest.raises(SettingsError, match="shape"):
        OnnxEncoder(model)


@pytest.mark.parametrize("engine", ["torch", "onnx:", "onnx:model.pt"])
def test_an_unknown_engine_is_refused(engine: str) -> None:
    with pytest.raises(SettingsError, match="ENGINE"):
        parse_settings({"ENGINE": engine})


@pytest.mark.parametrize("command", ["recognise", "up"])
def test_commands_refuse_a_gallery_of_another_space(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands do so before they read a video."""
    known = tmp_path / "dlib.npz"
    known.write_bytes(render_gallery(Gallery(["ada"], np.full((1, DLIB.size), 0.01))))
    model = write_model(tmp_path)
    monkeypatch.setenv("ENGINE", f"onnx:{model}")
    video = [str(tmp_path / "a.mp4")] if command == "recognise" else []
    done = CliRunner().invoke(main, [command, *video, "--encodings", str(known)])
    assert done.exit_code != 0
    assert "enrol everybody again" in done.stderr


def test_a_batch_of_faces_is_encoded_like_single_faces() -> None:
    encoder = DlibEncoder(Path.home() / ".cache" / "rollcall")
    pixels = np.random.default_rng(1).integers(0, 255, (200, 400, 3)).astype(np.uint8)
    points = np.array([[40, 40], [70, 40], [55, 60], [45, 75], [65, 75]], dtype=np.float64)
    faces = [
        DetectedFace(Box(20, 90 + 7 * n, 90, 20 + 7 * n), points + np.array([7.0 * n, 0.0]), 1.0)
        for n in range(40)
    ]
    together = encoder.encode(pixels, faces)
    alone = np.vstack([encoder.encode(pixels, [face]) for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-5)
