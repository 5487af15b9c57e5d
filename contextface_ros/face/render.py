"""Pictures of the open head, drawn off-screen by VTK; no display is needed."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.face.light import LIGHTS
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.surface import Surface
from contextface_ros.types import Float32Array, UInt8Array

INSTALL = "pip install 'contextface_ros[render]'"
_INSTALL_GL = "sudo apt-get install libegl1 libgl1-mesa-dri"
OVERSAMPLING = {True: 2, False: 1}
"""By whether a picture is fine: each pixel is then the mean of 2 x 2."""

_BACKGROUND = ((0.60, 0.66, 0.72), (0.87, 0.90, 0.92))  # bottom, top
_LIT = ("skin", "left_eye", "right_eye")  # whose colours hold the light already
_GLOSS = {  # strength and sharpness of highlights of the rest
    "upper_teeth": (0.4, 40),
    "lower_teeth": (0.4, 40),
    "tongue": (0.3, 20),
}
_CLOSED = ("skin", "tongue", "left_eye", "right_eye")  # surfaces with an inside
_CAMERA_M = ((0.07, 0.035, 1.05), (0.0, 0.029, 0.0))  # place, and what it looks at
_VIEW_HEIGHT_M = 0.272

_LABEL_HEIGHT = 0.09  # of a picture's height


class FaceRenderer:
    """Draws the open head. Making one takes about a second, a picture a fraction of it.

    Usable from the thread that made it. Call `close`, or use it in a `with` statement.
    """

    def __init__(
        self,
        head: OpenHead | None = None,
        *,
        width: int = 480,
        height: int = 560,
        fine: bool = True,
    ) -> None:
        """Set the scene up.

        Args:
            head: the head to draw, by default OpenHead.load().
            width: of the pictures, in pixels, 32 to 2048.
            height: of the pictures, in pixels, 32 to 2048.
            fine: for stills. Otherwise with a quarter of the triangles and of the pixels, for
                pictures that move.

        Raises:
            BadInput: a size out of range.
            MissingDependency: pyvista, a software OpenGL or the shape of the head is not installed.
        """
        if not (32 <= width <= 2048 and 32 <= height <= 2048):
            raise BadInput(f"a picture of {width} x {height} pixels: give 32 to 2048 for each side")
        self._head = head or OpenHead.load()
        self._surface = Surface(self._head.model, self._head.parts, rounds=2 if fine else 1)
        self._oversampling = OVERSAMPLING[fine]
        self._plotter = empty_scene(width * self._oversampling, height * self._oversampling)
        self._meshes: dict[str, Any] = {}
        self._sheet: UInt8Array = np.empty(0, np.uint8)  # that lies over the skin

    def picture(
        self, coefficients: npt.ArrayLike, gaze: tuple[float, float] = (0.0, 0.0)
    ) -> UInt8Array:
        """Draw one face.

        Args:
            coefficients: (100,) in standard deviations, in the open basis.
            gaze: where the eyes turn from straight ahead, in rad: to the person's left, and up.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            BadInput: the coefficients are no face.
        """
        vertices = self._head.vertices(coefficients)
        for name, shape in self._surface.shapes(vertices, gaze):
            mesh = self._meshes.get(name)
            if mesh is None:
                mesh = self._meshes[name] = self._add(name, shape.points)
            mesh.points = shape.points
            mesh.point_data["colours"] = shape.colours
            mesh.point_data["normals"] = shape.normals
            mesh.point_data.active_normals_name = "normals"
        sheet = self._surface.sheet(vertices)
        if not np.array_equal(sheet, self._sheet):
            self._lay_over_skin(sheet)
            self._sheet = sheet
        self._plotter.render()
        return reduced(self._plotter.screenshot(return_img=True), self._oversampling)

    def close(self) -> None:
        """Free the memory of the scene. Safe to call twice."""
        self._plotter.close()

    def __enter__(self) -> FaceRenderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, name: str, points: Float32Array) -> Any:
        """Add one thing to the scene; its points, normals and colours are set for each picture."""
        triangles = self._surface.triangles[name]
        mesh = import_pyvista().PolyData(points, np.c_[np.full(len(triangles), 3), triangles])
        mesh.point_data["colours"] = np.zeros((len(points), 3), np.uint8)
        mesh.point_data["normals"] = np.zeros_like(points)
        mesh.point_data.active_normals_name = "normals"
        if name == "skin":
            mesh.active_texture_coordinates = self._surface.sheet_coordinates.astype(np.float32)
        strength, sharpness = _GLOSS.get(name, (0.0, 1))
        actor = self._plotter.add_mesh(
            mesh,
            name=name,
            scalars="colours",
            rgb=True,
            ambient=0.18,
            diffuse=0.9,
            specular=strength,
            specular_power=sharpness,
            copy_mesh=False,
            reset_camera=False,
        )
        actor.prop.lighting = name not in _LIT
        if name in _CLOSED:
            actor.prop.culling = "back"  # is hidden anyway, and costs as much
        actor.prop.interpolation = "Phong"  # the normals are ours: pyvista's smoothing would split
        return mesh

    def _lay_over_skin(self, sheet: UInt8Array) -> None:
        texture = import_pyvista().Texture(np.ascontiguousarray(sheet[::-1]))
        texture.InterpolateOn()
        texture.RepeatOff()
        self._plotter.actors["skin"].texture = texture


def contact_sheet(
    faces: Sequence[npt.ArrayLike],
    labels: Sequence[str],
    path: str | Path,
    *,
    columns: int = 4,
    width: int = 480,
    height: int = 560,
) -> None:
    """Save several faces with a label under each, as one PNG.

    Args:
        faces: coefficients in the open basis, (100,) each.
        labels: one line of text for each face.
        path: of the PNG.
        columns: faces in a row.
        width: of one face, in pixels.
        height: of one face, in pixels, without its label.

    Raises:
        BadInput: no faces, another number of labels, or what FaceRenderer.picture raises.
        MissingDependency: as FaceRenderer.
    """
    if not faces or len(faces) != len(labels) or columns < 1:
        raise BadInput(f"a contact sheet of {len(faces)} faces needs as many labels, and a column")
    with FaceRenderer(width=width, height=height) as renderer:
        from PIL import Image, ImageDraw, ImageFont

        strip = round(height * _LABEL_HEIGHT)
        columns = min(columns, len(faces))
        rows = -(-len(faces) // columns)
        sheet = Image.new("RGB", (columns * width, rows * (height + strip)), "white")
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=strip * 0.55)
        for k, (face, label) in enumerate(zip(faces, labels, strict=True)):
            left, top = k % columns * width, k // columns * (height + strip)
            sheet.paste(Image.fromarray(renderer.picture(face)), (left, top))
            middle = (left + width / 2, top + height + strip / 2)
            draw.text(middle, label, fill=(40, 40, 40), font=font, anchor="mm")
        sheet.save(path, format="PNG")


def empty_scene(width: int, height: int) -> Any:
    """A plotter with background, lights and camera."""
    _choose_window()
    pyvista = import_pyvista()
    plotter = pyvista.Plotter(off_screen=True, window_size=[width, height], lighting="none")
    plotter.render_window.SetMultiSamples(0)  # dear without a GPU; pictures are oversampled
    plotter.set_background(_BACKGROUND[0], top=_BACKGROUND[1])
    for place, colour, strength in LIGHTS:
        plotter.add_light(
            pyvista.Light(position=place, focal_point=(0, 0, 0), color=colour, intensity=strength)
        )
    place, target = _CAMERA_M
    plotter.camera.position = place
    plotter.camera.focal_point = target
    plotter.camera.up = (0.0, 1.0, 0.0)
    distance = float(np.linalg.norm(np.subtract(place, target)))
    plotter.camera.view_angle = 2 * np.degrees(np.arctan(_VIEW_HEIGHT_M / 2 / distance))
    return plotter


def reduced(large: UInt8Array, factor: int) -> UInt8Array:
    """A picture (H, W, 3) of which each pixel is the mean of factor x factor pixels."""
    height, width = large.shape[0] // factor, large.shape[1] // factor
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA))


def import_pyvista() -> Any:
    """The library, imported where it is used: it takes a second."""
    try:
        import pyvista
    except ImportError as error:
        raise MissingDependency(f"pictures of faces need pyvista: {INSTALL}") from error
    return pyvista


def _choose_window() -> None:
    """Tell VTK how to draw where there is no display, or say what is missing.

    Left alone it first complains about the X server, and without EGL and OSMesa it crashes.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return
    for library, window in (
        ("libEGL.so.1", "vtkEGLRenderWindow"),
        ("libOSMesa.so.8", "vtkOSOpenGLRenderWindow"),
    ):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", window)
        return
    raise MissingDependency(f"pictures of faces without a display need EGL: {_INSTALL_GL}")
