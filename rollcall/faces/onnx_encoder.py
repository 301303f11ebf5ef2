"""Encodes faces with the user's own model, an ONNX file of the ArcFace family.

The file `model.json` beside `model.onnx` describes the model's input and its encoding space
(docs/own-encoder.md). Both files are checked at start-up, and the error messages name the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB, MAX_SIZE, NAME_FORM, EncodingSpace
from rollcall.core.errors import SettingsError
from rollcall.core.types import DetectedFace, Encodings, Landmarks, Pixels
from rollcall.faces.onnx_models import single_thread_session

TEMPLATE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""Positions of the five landmarks (x, y) in the 112 x 112 pictures that ArcFace models are trained
with (`arcface_dst` in insightface/utils/face_align.py)."""

TEMPLATE_PX = 112
MAX_JSON_BYTES = 1 << 16
MAX_INPUT_PX = 448
"""Limit for the side of the model's input. Known models have 112 to 224 pixels."""

REQUIRED = ("space", "tolerance", "input_size", "mean", "scale", "channels")
OPTIONAL = {"same_face_distance": 0.75, "clear_margin": 1 / 6, "min_margin": 1 / 30}
"""Optional fields and their defaults, as fractions of the tolerance. The fractions are those of
dlib's encoding space."""


class OnnxEncoder:
    """Encoder that runs the user's model. Its encodings have the length (norm) 1. Thread-safe."""

    def __init__(self, model: Path) -> None:
        """Raises SettingsError, which names the file and says what to do."""
        self._file = model.with_suffix(".json")
        self._description = _read_description(self._file)
        self._network = _open_model(model)
        self._input = self._network.get_inputs()[0].name
        size = self._find_encoding_size(model)
        self.space = _space(self._file, self._description, size)
        self.name = f"onnx-{self.space.name}"

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        # One face at a time, because many exported models have a fixed batch size of 1.
        side_px, encodings = self._description["input_size"], [np.empty((0, self.space.size))]
        for face in faces:
            encoding = self._run(align(pixels, face.landmarks, side_px))
            unit = encoding / max(float(np.linalg.norm(encoding)), 1e-12)
            # In single precision, so that it can be stored without a loss.
            encodings.append(unit.astype(np.float32).astype(np.float64))
        return np.vstack(encodings)

    def _run(self, chip: Pixels) -> Encodings:
        """Return the encoding of one aligned face, shape (1, size), not normalised yet."""
        ordered = chip if self._description["channels"] == "rgb" else chip[..., ::-1]
        values = (ordered - np.array(self._description["mean"])) * self._description["scale"]
        planes = np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
        (encoding, *_) = self._network.run(None, {self._input: planes})
        # NaN and infinity would make every distance NaN, and Gallery would refuse the encoding.
        return np.nan_to_num(np.asarray(encoding, dtype=np.float64), posinf=0.0, neginf=0.0)

    def _find_encoding_size(self, model: Path) -> int:
        """Encode a grey picture. This also checks whether the model and its JSON file match.

        Raises SettingsError if they do not.
        """
        side_px = self._description["input_size"]
        try:
            encoding = self._run(np.full((side_px, side_px, 3), 128, dtype=np.uint8))
        except Exception as error:  # onnxruntime has one exception class per error code
            raise SettingsError(
                f"ENGINE: {str(model)!r} does not accept one RGB or BGR picture of {side_px} x"
                f" {side_px} pixels, shape (1, 3, {side_px}, {side_px}), float32; check input_size"
                f" in {str(self._file)!r}"
            ) from error
        fits = encoding.ndim == 2 and len(encoding) == 1 and 1 < encoding.shape[1] <= MAX_SIZE
        if not fits or not np.isfinite(encoding).all():
            raise SettingsError(
                f"ENGINE: the first output of {str(model)!r} has shape {encoding.shape}, and an"
                f" encoding has shape (1, n), n up to {MAX_SIZE}, and finite numbers; use a model"
                f" that encodes faces, and check mean and scale in {str(self._file)!r}"
            )
        return int(encoding.shape[1])


def align(pixels: Pixels, landmarks: Landmarks, side_px: int = TEMPLATE_PX) -> Pixels:
    """Cut the face out, shape (side_px, side_px, 3).

    It is turned, scaled and moved so that its landmarks are as close as possible to TEMPLATE.
    """
    matrix = similarity(landmarks, TEMPLATE * (side_px / TEMPLATE_PX))
    return np.asarray(cv2.warpAffine(pixels, matrix, (side_px, side_px)), dtype=np.uint8)


def similarity(points: Landmarks, targets: Landmarks) -> NDArray[np.float64]:
    """Return the rotation, scale and shift that bring the points closest to the targets.

    The result is a matrix for OpenCV, shape (2, 3), with the least sum of squared distances. If
    points are complex numbers, finding it is a linear regression: target = factor * point + shift.
    The factor's angle is the rotation, and its absolute value the scale.
    """
    sources, goals = (each[:, 0] + 1j * each[:, 1] for each in (points, targets))
    centred = sources - sources.mean()
    factor = np.vdot(centred, goals - goals.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    shift = goals.mean() - factor * sources.mean()
    return np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )


def _open_model(model: Path) -> Any:
    if not model.is_file():
        raise SettingsError(f"ENGINE: there is no model at {str(model)!r}; check the path")
    try:
        return single_thread_session(str(model))
    except Exception as error:  # onnxruntime has one exception class per error code
        raise SettingsError(
            f"ENGINE: {str(model)!r} is not an ONNX model that onnxruntime can load; export the"
            " model again"
        ) from error


def _read_description(file: Path) -> dict[str, Any]:
    try:
        if file.exists() and not file.is_file():
            raise OSError("it is not a regular file")  # opening a named pipe would block
        with open(file, "rb") as opened:
            description = json.loads(opened.read(MAX_JSON_BYTES))
    except FileNotFoundError as error:
        raise SettingsError(
            f"ENGINE: there is no description at {str(file)!r}; write one as"
            " docs/own-encoder.md shows"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"ENGINE: {str(file)!r} cannot be read as JSON: {error}") from error
    if not isinstance(description, dict):
        raise SettingsError(f"ENGINE: {str(file)!r} has to hold one JSON object")
    _check_fields(file, description)
    return description


def _check_fields(file: Path, fields: Mapping[str, Any]) -> None:
    missing = [name for name in REQUIRED if name not in fields]
    unknown = sorted(fields.keys() - {*REQUIRED, *OPTIONAL})
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has unknown fields: {unknown}"
        raise SettingsError(f"ENGINE: {str(file)!r} {problem}; see docs/own-encoder.md")
    space, side_px, mean = fields["space"], fields["input_size"], fields["mean"]
    means = mean if isinstance(mean, list) else [mean]
    distances = {name: fields[name] for name in ("tolerance", *OPTIONAL) if name in fields}
    rules = {
        "space": isinstance(space, str) and bool(NAME_FORM.fullmatch(space)) and space != DLIB.name,
        "input_size": type(side_px) is int and 16 <= side_px <= MAX_INPUT_PX,
        "mean": len(means) in (1, 3) and all(_is_number(each, -1, 256) for each in means),
        "scale": _is_number(fields["scale"], 0, 1000),
        "channels": fields["channels"] in ("rgb", "bgr"),
        **{name: _is_number(value, 0, 2) for name, value in distances.items()},
    }
    for name in (name for name, is_valid in rules.items() if not is_valid):
        raise SettingsError(
            f"ENGINE: {name} in {str(file)!r} cannot be {fields[name]!r:.80};"
            " docs/own-encoder.md says what each field may be"
        )


def _is_number(value: Any, above: float, maximum: float) -> bool:
    # `type` and not `isinstance`, because True is an int. NaN fails both comparisons.
    return type(value) in (int, float) and above < value <= maximum


def _space(file: Path, fields: Mapping[str, Any], size: int) -> EncodingSpace:
    tolerance = float(fields["tolerance"])
    distances = (float(fields.get(name, part * tolerance)) for name, part in OPTIONAL.items())
    same_face, clear_margin, min_margin = distances
    if min_margin > clear_margin:
        raise SettingsError(f"ENGINE: min_margin in {str(file)!r} is larger than clear_margin")
    return EncodingSpace(fields["space"], size, tolerance, same_face, clear_margin, min_margin)
