"""Pictures of a user's FLAME head: plain clay, eyes lighter, and errors in red where asked for."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from contextface_ros.checksum import sha256
from contextface_ros.errors import BadInput
from contextface_ros.face.calibration import Calibration
from contextface_ros.face.flame import JOINTS, FlameModel
from contextface_ros.face.render import OVERSAMPLING, empty_scene, import_pyvista, reduced
from contextface_ros.types import UInt8Array

_CLAY, _EYE, _RED = (0.78, 0.70, 0.64), (0.93, 0.92, 0.90), (0.85, 0.10, 0.08)
_RED_MM = 2.0  # an error that is drawn all red


class FlamePainter:
    """Draws a FLAME head where the open head would be. Usable from the thread that made it."""

    def __init__(
        self,
        model: FlameModel,
        calibration: Calibration,
        *,
        width: int = 480,
        height: int = 560,
        fine: bool = True,
    ) -> None:
        """Set the scene up.

        Args:
            model: the head.
            calibration: of that head.
            width: of the pictures, in pixels.
            height: of the pictures, in pixels.
            fine: for stills. Otherwise with a quarter of the pixels, for pictures that move.

        Raises:
            MissingDependency: pyvista or a software OpenGL is not installed.
        """
        self.model = model
        self._frame = calibration.frame
        self._oversampling = OVERSAMPLING[fine]
        self._plotter = empty_scene(width * self._oversampling, height * self._oversampling)
        library = import_pyvista()
        triangles = np.c_[np.full(len(model.faces), 3), model.faces]
        self._mesh = library.PolyData(self._placed(model.template), triangles)
        eyes = model.skin_weights[:, [JOINTS.index("left_eye"), JOINTS.index("right_eye")]]
        self._colours = np.where(eyes.max(axis=1, keepdims=True) > 0.5, _EYE, _CLAY)
        self._show(np.zeros(len(model.template)))
        self._plotter.add_mesh(
            self._mesh,
            scalars="colours",
            rgb=True,
            smooth_shading=True,
            ambient=0.15,
            diffuse=0.85,
            specular=0.12,
            specular_power=15,
            copy_mesh=False,
            reset_camera=False,
        )

    def picture(
        self, vertices: npt.NDArray[np.floating], error_mm: npt.NDArray[np.floating] | None = None
    ) -> UInt8Array:
        """Draw one face.

        Args:
            vertices: (V, 3) in the model's frame, in m.
            error_mm: (V,) drawn in red, all red from 2 mm on; None for none.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        self._mesh.points = self._placed(vertices)
        self._show(np.zeros(len(vertices)) if error_mm is None else error_mm)
        self._mesh.compute_normals(
            cell_normals=False, split_vertices=False, consistent_normals=False, inplace=True
        )
        self._plotter.render()
        return reduced(self._plotter.screenshot(return_img=True), self._oversampling)

    def close(self) -> None:
        """Free the memory of the scene. Safe to call twice."""
        self._plotter.close()

    def __enter__(self) -> FlamePainter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _placed(self, vertices: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Vertices where the open head would be, which the camera looks at."""
        placed = vertices @ self._frame[:3, :3].T + self._frame[:3, 3]
        return np.asarray(placed, dtype=np.float32)

    def _show(self, error_mm: npt.NDArray[np.floating]) -> None:
        share = np.clip(error_mm / _RED_MM, 0.0, 1.0)[:, np.newaxis]
        colours = (1.0 - share) * self._colours + share * np.array(_RED)
        self._mesh.point_data["colours"] = (255 * colours).astype(np.uint8)


def flame_of(calibration: Calibration) -> FlameModel:
    """The FLAME model that a calibration was made with, whose shapes it does not hold.

    Raises:
        BadInput: its file is gone or has changed.
        BadBundle: it cannot be read.
    """
    path, again = Path(calibration.flame_file), "run contextface calibrate again"
    try:
        same = sha256(path) == calibration.source
    except OSError as error:
        raise BadInput(
            f"the FLAME file {path} cannot be read ({error.strerror}): bring it back, or {again}"
        ) from error
    if not same:
        raise BadInput(f"the FLAME file {path} is another one than was calibrated: {again}")
    return FlameModel.load(path)


def posed(
    model: FlameModel,
    coefficients: npt.ArrayLike,
    jaw_pose: npt.ArrayLike,
    *,
    shape: npt.ArrayLike | None = None,
    head_pose: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float32]:
    """Vertices (V, 3) of a face with a jaw, on a person's head if a shape is given."""
    pose = np.zeros((len(JOINTS), 3))
    pose[JOINTS.index("jaw")] = jaw_pose
    if head_pose is not None:
        pose[0] = head_pose
    return model.vertices(coefficients, pose, shape)


def sheet(rows: list[list[tuple[UInt8Array, str]]], path: Path) -> None:
    """Save pictures of one size, each with a line of text under it, as one PNG.

    Raises:
        BadInput: the place cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = rows[0][0][0].shape
    strip = max(14, round(0.09 * height))
    columns = max(len(row) for row in rows)
    whole = Image.new("RGB", (columns * width, len(rows) * (height + strip)), "white")
    draw = ImageDraw.Draw(whole)
    font: Any = ImageFont.load_default(size=strip * 0.6)
    for i, row in enumerate(rows):
        for k, (picture, label) in enumerate(row):
            left, top = k * width, i * (height + strip)
            whole.paste(Image.fromarray(picture), (left, top))
            middle = (left + width / 2, top + height + strip / 2)
            draw.text(middle, label, fill=(40, 40, 40), font=font, anchor="mm")
    try:
        whole.save(path, format="PNG")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from error
