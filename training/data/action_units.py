"""Facial action units measured by OpenFace or py-feat, from the CSV files that they write.

OpenFace 2 (Baltrusaitis et al., 2018; its wiki, page "Output Format") gives intensities on FACS's
scale, 0 to 5, in columns AU01_r ... AU45_r, beside `confidence` and, for videos, `success`. Its
columns AU01_c ... are whether a unit is there at all and are not read. py-feat (Cheong et al.,
2023) gives 0 to 1 in columns AU01 ... AU43, beside `FaceScore` and the image in `input`.

Both leave units out that we have, and have some that we leave out: AU11 (nasolabial deepener) has
no shape of its own here and is dropped; OpenFace's AU45 (blink) is, on a still picture, a pair of
closed eyes, which FACS calls AU43.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contextface_ros.errors import BadInput
from contextface_ros.face.blendshapes import ACTION_UNITS

MIN_CONFIDENCE = 0.5
"""Of a detected face. Both tools write a row of numbers for what may be no face at all."""

DROPPED = ("AU11",)
RENAMED = {"AU45": "AU43"}


@dataclass(frozen=True)
class Dialect:
    """How one tool writes a row.

    Attributes:
        tool: its name, for messages.
        column: pattern of an intensity's column; the group is the unit's number.
        full: the intensity that is as strong as a unit gets.
        confidence: the column that says how sure the face is.
    """

    tool: str
    column: re.Pattern[str]
    full: float
    confidence: str


OPENFACE = Dialect("OpenFace", re.compile(r"AU(\d\d?)_r"), 5.0, "confidence")
PYFEAT = Dialect("py-feat", re.compile(r"AU(\d\d?)"), 1.0, "FaceScore")


@dataclass(frozen=True)
class Row:
    """One face of a CSV file.

    Attributes:
        where: file and line, for messages.
        cells: the fields by the name of their column.
    """

    where: str
    cells: Mapping[str, str]


def read_openface(file: Path) -> dict[str, float]:
    """The action units of the one face that OpenFace found in an image.

    Of several faces, which FaceLandmarkImg writes one below the other, the surest is taken.

    Args:
        file: the CSV file that belongs to the image.

    Returns:
        {"AU12": 0.6, ...}, each 0..1.

    Raises:
        BadInput: no face, one that is too unsure, an unknown unit, or an intensity out of 0..5.
    """
    rows = _rows(file, OPENFACE)
    return _units(max(rows, key=lambda row: _number(row, OPENFACE.confidence)), OPENFACE)


class PyfeatFile:
    """A CSV file of py-feat, of one image or of many; read once."""

    def __init__(self, file: Path) -> None:
        """Raises BadInput for a file that py-feat did not write, or one with a row cut short."""
        self._file = file
        self._by_name: dict[tuple[str, ...], list[Row]] = {}
        for row in _rows(file, PYFEAT):
            if "input" not in row.cells:
                raise BadInput(f"{file} has no column 'input', as py-feat writes it")
            self._by_name.setdefault(_parts(row.cells["input"])[-1:], []).append(row)

    def units(self, image: str) -> dict[str, float]:
        """The action units of the surest face of an image.

        Args:
            image: its path below the folder of the images; the column `input` of a row ends with
                it, or is its name alone.

        Returns:
            {"AU12": 0.6, ...}, each 0..1.

        Raises:
            BadInput: no such image, no face, one that is too unsure, an unknown unit, or an
                intensity out of 0..1.
        """
        wanted = _parts(image)
        rows = [
            row
            for row in self._by_name.get(wanted[-1:], ())
            if (parts := _parts(row.cells["input"]))[-len(wanted) :] == wanted or len(parts) == 1
        ]
        if not rows:
            raise BadInput(f"{self._file} has no row for {image}: run py-feat on this image too")
        return _units(max(rows, key=lambda row: _number(row, PYFEAT.confidence)), PYFEAT)


def read_units(file: Path) -> dict[str, float]:
    """Action units that a person wrote down: a JSON object {"AU12": 0.6, ...}, each 0..1.

    Raises:
        BadInput: not such an object. The names are checked where they become a face.
    """
    try:
        units = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(units, dict) or not all(
        type(strength) in (int, float) and 0 <= strength <= 1 for strength in units.values()
    ):
        raise BadInput(f'{file} is no set of action units in 0..1: write {{"AU12": 0.6}}')
    return {name: float(strength) for name, strength in units.items()}


def _rows(file: Path, dialect: Dialect) -> list[Row]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    # OpenFace writes a space after each comma, in the header too.
    try:
        lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise BadInput(f"{file} is no CSV file: {error}") from error
    if not lines:
        raise BadInput(f"{file} is empty: run {dialect.tool} again")
    header = [name.strip() for name in lines[0]]
    if not any(dialect.column.fullmatch(name) for name in header):
        raise BadInput(f"{file} has no columns of action units as {dialect.tool} writes them")
    if dialect.confidence not in header:
        raise BadInput(f"{file} has no column {dialect.confidence!r}: write it by {dialect.tool}")
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) != len(header):
            raise BadInput(
                f"{file}, line {number}: {len(cells)} fields in place of {len(header)}: the row is"
                f" cut short or has extra fields, run {dialect.tool} again"
            )
        rows.append(Row(f"{file}, line {number}", dict(zip(header, cells, strict=True))))
    if not rows:
        raise BadInput(f"{file} has no face: leave the image out")
    return rows


def _units(row: Row, dialect: Dialect) -> dict[str, float]:
    sure = _number(row, dialect.confidence)
    if not sure >= MIN_CONFIDENCE or row.cells.get("success", "1").strip() == "0":
        raise BadInput(
            f"{row.where}: the face is unsure ({dialect.confidence} {sure:g}, below"
            f" {MIN_CONFIDENCE:g}, or no success): leave the image out"
        )
    units = {}
    for column in row.cells:
        if match := dialect.column.fullmatch(column):
            name = f"AU{int(match[1])}"
            name = RENAMED.get(name, name)
            if name in DROPPED:
                continue
            if name not in ACTION_UNITS:
                raise BadInput(
                    f"{row.where}: {column} is no unit that {dialect.tool} is known to write:"
                    " check its version"
                )
            units[name] = _strength(row, column, dialect.full)
    return units


def _strength(row: Row, column: str, full: float) -> float:
    value = _number(row, column)
    if not 0.0 <= value <= full:  # NaN too
        raise BadInput(
            f"{row.where}: {column} is {row.cells[column].strip() or 'empty'}, not 0 to {full:g}:"
            " no face was found there, or the file is of another tool"
        )
    return value / full


def _number(row: Row, column: str) -> float:
    """The number in a cell; NaN, which is below any limit, for none."""
    try:
        return float(row.cells[column])
    except ValueError:
        return math.nan


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/")).parts
