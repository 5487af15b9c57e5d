"""The face that an image is trained towards, from whatever was measured on it.

    INFERNO           (100,) code of FLAME 2020          all 100 coefficients are known
    EMOCA, DECA       (50,) code of FLAME 2020           padded with zeros; the first 50 are known
    action units      OpenFace, py-feat or by hand       -> ARKit weights -> the open basis

A code is a .npy file for each image. A coefficient that is not known is 0 in `coefficients` and
False in `known`, and counts neither in the loss nor in L2 and FD (`training.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import action_units_to_blendshapes
from contextface_ros.face.open_head import OpenHead
from contextface_ros.types import EXPRESSION_SIZE, OPEN_BASIS, Float32Array
from training.data.action_units import PyfeatFile, read_openface, read_units
from training.data.annotations import TargetFile, TargetKind

CODE_BASIS = "flame2020"
"""The basis of INFERNO's, EMOCA's and DECA's codes."""

CODE_SIZES = {TargetKind.INFERNO: 100, TargetKind.EMOCA: 50, TargetKind.DECA: 50}

# A code this far out is no face: tracked ones lie within about +-2, and 10 in any component turns
# the mesh inside out.
_LARGEST = 20.0


@dataclass(frozen=True)
class Target:
    """A face to train towards.

    Attributes:
        basis: name with version of the basis, "flame2020" or "open-1".
        coefficients: (100,) float32, in standard deviations of each component.
        known: (100,) bool, whether a coefficient was measured. The others are 0.
    """

    basis: str
    coefficients: Float32Array
    known: npt.NDArray[np.bool_]


class Targets:
    """The faces below a folder. A file of many images is read once.

    Attributes:
        folder: where the files of the targets are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pyfeat: dict[Path, PyfeatFile] = {}

    def read(self, target: TargetFile, image: str) -> Target:
        """The face that belongs to an image.

        Args:
            target: the file, and what it holds.
            image: path of the image below the folder of the images.

        Raises:
            BadInput: the file is missing, of another length, has a number that is none, or a face
                that its own tool was not sure of.
        """
        file = self.folder / target.file
        if target.kind in CODE_SIZES:
            return read_code(file, target.kind)
        if target.kind is TargetKind.OPENFACE:
            return face_of_units(read_openface(file), str(file))
        if target.kind is TargetKind.PYFEAT:
            if file not in self._pyfeat:
                self._pyfeat[file] = PyfeatFile(file)
            return face_of_units(self._pyfeat[file].units(image), str(file))
        return face_of_units(read_units(file), str(file))


def read_code(file: Path, kind: TargetKind) -> Target:
    """A FLAME expression code as INFERNO, EMOCA or DECA saved it.

    Args:
        file: .npy of shape (n,) or (1, n), floating; n is 100 for INFERNO and 50 for the others.
        kind: whose code it is.

    Raises:
        BadInput: not such a file, or a coefficient that is not a finite number.
    """
    size = CODE_SIZES[kind]
    try:
        with file.open("rb") as stream:
            code = npy_format.read_array(stream, allow_pickle=False)
    # MemoryError and OverflowError: a header may name any shape.
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise BadInput(f"{file} is no .npy file that can be read: {error}") from error
    if not np.issubdtype(code.dtype, np.floating):
        raise BadInput(f"{file} holds no floating-point numbers: save the expression code alone")
    if code.shape not in ((size,), (1, size)):
        raise BadInput(
            f"{file} has shape {code.shape}: an expression code of {kind.value} has {size} numbers"
        )
    code = code.reshape(size)
    wrong = ~(np.abs(code) <= _LARGEST)  # written so that NaN is wrong too
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise BadInput(
            f"{file}: coefficient {first} is {code[first]:g}, which no face has: leave the image"
            " out or run the tracker again"
        )
    coefficients = np.zeros(EXPRESSION_SIZE, dtype=np.float32)
    coefficients[:size] = code
    return Target(CODE_BASIS, coefficients, np.arange(EXPRESSION_SIZE) < size)


def face_of_units(units: Mapping[str, float], where: str) -> Target:
    """The open route: action units, each 0..1, to coefficients of the open basis.

    All of them are known: the components past the basis's rank are 0 for every face.

    Raises:
        BadInput: an unknown unit or a strength outside 0..1; begins with `where`.
    """
    try:
        weights = action_units_to_blendshapes(units)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error
    known = np.ones(EXPRESSION_SIZE, dtype=np.bool_)
    return Target(OPEN_BASIS, OpenHead.load().encode(weights), known)


def find_target(folder: Path, kind: TargetKind, image: str) -> TargetFile | None:
    """The file that a tool wrote for an image, by the names that the tools give; None for none.

    The folder of the targets is laid out as that of the images. For `Happy/0001.png` these are
    looked for, in this order (with .csv for OpenFace, .json for action units by hand):

        Happy/0001.npy           CAER-S_expcode_100
        Happy/0001.png.npy
        Happy/0001/exp.npy       INFERNO, EMOCA and DECA with --save_codes
        Happy/000100/exp.npy     the same, with the number of the detected face

    py-feat writes one file: `Happy/0001.csv` or, for many images, `pyfeat.csv` at the top.
    """
    for name in _names(kind, PurePosixPath(image)):
        if (folder / name).is_file():
            return TargetFile(name, kind)
    return None


def _names(kind: TargetKind, image: PurePosixPath) -> Iterator[str]:
    if kind in CODE_SIZES:
        suffix = ".npy"
    else:
        suffix = ".json" if kind is TargetKind.ACTION_UNITS else ".csv"
    yield str(image.with_suffix(suffix))
    yield f"{image}{suffix}"
    if kind in CODE_SIZES:
        yield str(image.with_suffix("") / "exp.npy")
        yield f"{image.with_suffix('')}00/exp.npy"
    if kind is TargetKind.PYFEAT:
        yield "pyfeat.csv"
