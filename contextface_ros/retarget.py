"""`contextface retarget`: a sequence of FLAME or open coefficients as ARKit weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ARKIT_NAMES
from contextface_ros.types import OPEN_BASIS, Float32Array

if TYPE_CHECKING:
    from contextface_ros.face.flame_codes import FlameCodes
    from contextface_ros.face.open_head import OpenHead

_SUFFIXES = (".npz", ".csv")
_FRAMES = 256  # whose vertices are in memory together
_SHOWN = 6  # frames of the picture


def retarget(source: Path, out: Path, basis: str, rate_hz: float, picture: Path | None) -> None:
    """Turn a sequence of coefficients into ARKit weights, and print the error that they leave.

    Args:
        source: the sequence, as face.flame_codes reads it.
        out: .npz or .csv.
        basis: of the coefficients.
        rate_hz: frames a second, for the timecodes of a .csv.
        picture: where some frames are drawn, or None.

    Raises:
        BadInput: something of this cannot be used, or the basis is not calibrated here.
        BadBundle: the calibration is broken.
    """
    from contextface_ros.console import progress_bar
    from contextface_ros.face.decode import check_basis
    from contextface_ros.face.flame_codes import read_codes
    from contextface_ros.picture import check_picture_place

    _check_place(out)
    if not 0.0 < rate_hz <= 1000.0:
        raise BadInput(f"--rate {rate_hz:g} is no rate: give frames a second, up to 1000")
    if picture is not None:
        check_picture_place(picture)
    check_basis(basis)
    codes = read_codes(source)
    count = len(codes.expression)
    if not count:
        raise BadInput(f"{source} holds no frame")
    weights, errors = [], []
    start = time.perf_counter()
    with progress_bar(count) as advance:
        for part, error in decoded(codes, basis):
            weights.append(part)
            errors.append(error)
            done = sum(map(len, weights))
            advance(done, f"{done} of {count} frames")
    took_s = time.perf_counter() - start
    whole, error_mm = np.concatenate(weights), np.concatenate(errors)
    _write(out, whole, error_mm, rate_hz)
    mean, p95, most = error_mm[:, 0].mean(), error_mm[:, 1].mean(), error_mm[:, 2].max()
    print(
        f"{count} frames in {out} ({took_s:.2f} s, {count / took_s:.0f} a second); "
        f"vertex error: mean {mean:.2f} mm, p95 {p95:.2f} mm, max {most:.2f} mm; "
        f"the face itself moves {error_mm[:, 3].mean():.2f} mm on average"
    )
    if picture is not None:
        draw(codes, basis, whole, picture)


def decoded(codes: FlameCodes, basis: str) -> Iterator[tuple[Float32Array, Float32Array]]:
    """Weights, and the vertex error that they leave, some frames at a time.

    Yields:
        (frames, 52) weights, and (frames, 4) in mm: the mean, 95th percentile and greatest error
        over the vertices of the face, and how far these are from rest on average.

    Raises:
        BadInput, BadBundle: the basis is not known here.
    """
    from contextface_ros.face.calibration import load_calibration
    from contextface_ros.face.open_head import OpenHead

    if basis == OPEN_BASIS:
        parts = _decoded_open(OpenHead.load(), codes.expression)
    else:
        parts = load_calibration(basis).decoded(codes.expression, codes.jaw_pose)
    for weights, error, moved in parts:
        yield (
            weights,
            np.stack(
                [
                    error.mean(axis=1),
                    np.percentile(error, 95, axis=1),
                    error.max(axis=1),
                    moved.mean(axis=1),
                ],
                axis=1,
            ).astype(np.float32),
        )


def _decoded_open(
    head: OpenHead, coefficients: Float32Array
) -> Iterator[tuple[Float32Array, Float32Array, Float32Array]]:
    """Weights (frames, 52), error (frames, V) and movement (frames, V) in mm of the skin."""
    skin = np.unique(head.model.faces[head.parts == "skin"])
    directions = head.model.expression_directions[skin]  # (V, 3, 100)
    directions = np.ascontiguousarray(directions.reshape(-1, directions.shape[-1]).T)

    def lengths(faces: npt.NDArray[np.floating]) -> Float32Array:
        moved = (faces.astype(np.float32) @ directions).reshape(len(faces), -1, 3)
        return np.asarray(1e3 * np.linalg.norm(moved, axis=2), dtype=np.float32)

    for start in range(0, len(coefficients), _FRAMES):
        faces = coefficients[start : start + _FRAMES]
        weights = head.decode(faces)
        yield weights, lengths(faces - head.encode(weights)), lengths(faces)


def _check_place(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise BadInput(f"{path} must end in {' or '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be written: there is no folder {path.parent}")


def _write(path: Path, weights: Float32Array, error_mm: Float32Array, rate_hz: float) -> None:
    try:
        if path.suffix.lower() == ".npz":
            np.savez(path, names=np.array(ARKIT_NAMES), weights=weights, error_mm=error_mm[:, :3])
        else:
            path.write_text(_csv(weights, rate_hz), encoding="ascii")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from error


def _csv(weights: Float32Array, rate_hz: float) -> str:
    """The columns of Live Link Face: timecode, number of shapes, and one column a shape."""
    names = [name[0].upper() + name[1:] for name in ARKIT_NAMES]
    lines = [",".join(["Timecode", "BlendShapeCount", *names])]
    for frame, row in enumerate(weights):
        numbers = ",".join(f"{weight:.6f}" for weight in row)
        lines.append(f"{_timecode(frame, rate_hz)},{len(row)},{numbers}")
    return "\n".join(lines) + "\n"


def _timecode(frame: int, rate_hz: float) -> str:
    """HH:MM:SS:FF.mmm, FF being the frame within its second and mmm what is left of a frame."""
    seconds, rest = divmod(frame / rate_hz + 1e-9, 1.0)
    number, part = divmod(rest * rate_hz, 1.0)
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}:{int(number):02d}.{int(part * 1000):03d}"


def draw(codes: FlameCodes, basis: str, weights: Float32Array, path: Path) -> None:
    """Draw some frames: the FLAME head above, and the open head by the weights below.

    Raises:
        BadInput: the place cannot be written, or the FLAME file is gone.
        MissingDependency: pyvista or a software OpenGL is not installed.
    """
    from contextface_ros.face.calibration import load_calibration
    from contextface_ros.face.flame_picture import FlamePainter, flame_of, posed, sheet
    from contextface_ros.face.open_head import OpenHead
    from contextface_ros.face.render import FaceRenderer

    width, height = 240, 280
    frames = np.unique(np.linspace(0, len(weights) - 1, _SHOWN).round().astype(int))
    head = OpenHead.load()
    rows = []
    if basis != OPEN_BASIS:
        calibration = load_calibration(basis)
        model = flame_of(calibration)
        with FlamePainter(model, calibration, width=width, height=height) as painter:
            faces = [
                posed(model, codes.expression[k], codes.jaw_pose[k], shape=codes.shape)
                for k in frames
            ]
            rows.append(
                [
                    (painter.picture(face), f"FLAME {k}")
                    for face, k in zip(faces, frames, strict=True)
                ]
            )
    with FaceRenderer(head, width=width, height=height) as renderer:
        rows.append([(renderer.picture(head.encode(weights[k])), f"ARKit {k}") for k in frames])
    sheet(rows, path)
