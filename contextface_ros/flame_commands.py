"""The commands about FLAME, and whose head a face is drawn on: options, and what they start.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from contextface_ros.errors import BadInput

if TYPE_CHECKING:
    from contextface_ros.types import Expression, Float32Array, Prediction


def calibrate(arguments: argparse.Namespace) -> int:
    """Find the 52 face units in your own FLAME file, so that faces go to FLAME and back."""
    from contextface_ros.calibrate import calibrate as run

    run(arguments.flame, arguments.name, arguments.picture)
    return 0


def retarget(arguments: argparse.Namespace) -> int:
    """Turn a sequence of FLAME coefficients into ARKit weights in 0..1."""
    from contextface_ros.retarget import retarget as run

    run(arguments.input, arguments.output, arguments.basis, arguments.rate, arguments.render)
    return 0


def describe_calibrate(command: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    add = command.add_argument
    add(
        "--flame",
        type=Path,
        required=True,
        metavar="FILE",
        help="FLAME 2020 or 2023 as it is downloaded (.pkl), or as .npz",
    )
    add(
        "--name",
        metavar="BASIS",
        help="flame2020, flame2023 or flame2023_no_jaw; needed where the name of the file, and of "
        "its folder, does not say the year",
    )
    add(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="where every unit is drawn; by default beside the calibration",
    )


def describe_retarget(command: argparse.ArgumentParser) -> None:
    """Add the options of `retarget`."""
    add = command.add_argument
    add(
        "input",
        type=Path,
        metavar="IN",
        help=".npz or .pkl with expression (or exp, expcode, expr) of up to 100 coefficients a "
        "frame and jaw_pose, or pose of 6 or 15; .npy of expressions; or a folder of exp.npy, "
        "pose.npy, shape.npy, or of such folders, one a frame",
    )
    add(
        "output",
        type=Path,
        metavar="OUT",
        help=".npz with names, weights (T, 52) and error_mm, or .csv with Live Link's names",
    )
    add(
        "--basis",
        default="flame2020",
        metavar="BASIS",
        help="of the coefficients: flame2020 (INFERNO, EMOCA, DECA, SMIRK), flame2023, "
        "flame2023_no_jaw or open-1",
    )
    add("--rate", type=float, default=30.0, metavar="HZ", help="frames a second, for the .csv")
    add(
        "--render",
        type=Path,
        metavar="FILE.png",
        help="six of the frames: FLAME's above, of the person whose shape IN holds, and the open "
        "head by the weights below",
    )


def describe_face(command: argparse.ArgumentParser) -> None:
    """Add the options of `express` that say in which basis, and on whose head, a face is."""
    add = command.add_argument
    add(
        "--basis",
        metavar="BASIS",
        help="basis of the face: open-1, or flame2020, flame2023 or flame2023_no_jaw once your "
        "file is calibrated; by default the bundle's own",
    )
    add(
        "--shape",
        type=Path,
        metavar="FILE",
        help="for --render in a basis of FLAME: whose head it is, as INFERNO or EMOCA saved it "
        "(.npz, .npy, .pkl); the open head has no space of shapes",
    )


@dataclass(frozen=True)
class Person:
    """Whose face is shown, and in which basis.

    Attributes:
        basis: of the face, or None for the model's own.
        shape: (300,) identity coefficients of FLAME, or None for the average head.
    """

    basis: str | None
    shape: Float32Array | None

    @classmethod
    def of(cls, basis: str | None, shape: Path | None) -> Person:
        """Check what was asked for, before a model is loaded.

        Raises:
            BadInput: the basis is not known or not calibrated here, or has no shapes, or the file
                of the shape cannot be used.
        """
        from contextface_ros.face.calibration import FLAME_BASES
        from contextface_ros.face.decode import check_basis
        from contextface_ros.face.flame_codes import read_shape

        if basis is not None:
            check_basis(basis)
        if shape is None:
            return cls(basis, None)
        if basis not in FLAME_BASES:
            raise BadInput(
                "--shape is of FLAME, the open head has no space of shapes: add --basis flame2020"
            )
        return cls(basis, read_shape(shape))

    def face_of(self, prediction: Prediction) -> Prediction:
        """The answer with its face in the basis that was asked for."""
        from contextface_ros.face.decode import in_basis

        if self.basis is None:
            return prediction
        return replace(prediction, expression=in_basis(prediction.expression, self.basis))

    def draw(self, face: Expression, path: Path) -> None:
        """Draw a face into a PNG or JPEG, on the head that its basis belongs to.

        Raises:
            BadInput: the FLAME file of the basis is gone, or the place cannot be written.
            MissingDependency: what draws is not installed.
        """
        from contextface_ros.face.render import FaceRenderer
        from contextface_ros.picture import write_picture
        from contextface_ros.types import OPEN_BASIS

        if face.basis == OPEN_BASIS:
            with FaceRenderer() as renderer:
                picture = renderer.picture(face.coefficients)
        else:
            from contextface_ros.face.calibration import load_calibration
            from contextface_ros.face.flame_picture import FlamePainter, flame_of, posed

            calibration = load_calibration(face.basis)
            model = flame_of(calibration)
            with FlamePainter(model, calibration) as painter:
                picture = painter.picture(
                    posed(model, face.coefficients, face.jaw_pose, shape=self.shape)
                )
        write_picture(path, picture)
