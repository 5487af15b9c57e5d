"""`contextface calibrate`: the face units in the user's own FLAME, told, drawn and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contextface_ros.errors import BadInput, MissingDependency

if TYPE_CHECKING:
    from contextface_ros.face.calibration import Calibration
    from contextface_ros.face.flame import FlameModel

FLAME_VERTICES = 5023
"""Of every release of FLAME."""


def calibrate(file: Path, name: str | None, picture: Path | None) -> None:
    """Calibrate a FLAME file, keep the result, and print and draw what is left of each unit.

    Args:
        file: the FLAME file.
        name: its basis, or None to take it from the year in the file's or its folder's name.
        picture: where every unit is drawn, or None for beside the calibration.

    Raises:
        BadInput: an unknown basis, a file of another topology, or a place that cannot be written.
        BadBundle: the file is no FLAME file.
    """
    from contextface_ros.checksum import sha256
    from contextface_ros.console import console, progress_bar
    from contextface_ros.face.calibration import calibrate as fit
    from contextface_ros.face.flame import FlameModel
    from contextface_ros.face.open_head import OpenHead
    from contextface_ros.picture import check_picture_place

    basis = _basis(file, name)
    if picture is not None:
        check_picture_place(picture)
    flame = FlameModel.load(file)
    if len(flame.template) != FLAME_VERTICES:
        raise BadInput(
            f"{file} has {len(flame.template)} vertices, FLAME has {FLAME_VERTICES}: "
            "it is a head of another topology"
        )
    with progress_bar(3) as advance:
        advance(0, "laying FLAME on the open head")
        found = fit(
            OpenHead.load(),
            flame,
            basis=basis,
            source=sha256(file),
            flame_file=str(file.resolve()),
        )
        found.save()
        advance(2, "drawing")
        picture = picture or found.path.with_suffix(".png")
        try:
            draw(found, flame, picture)
            drawn = f"every unit is drawn in {picture}"
        except MissingDependency as error:
            drawn = f"nothing was drawn: {error}"
    out = console()
    out.print(table(found))
    mean, far = found.distance_mm
    out.print(
        f"{basis}: {len(found.skin.template)} vertices compared; the heads lie {mean:.2f} mm apart "
        f"(95 % within {far:.2f} mm). Kept in {found.path}; {drawn}.",
        soft_wrap=True,
    )


def _basis(file: Path, name: str | None) -> str:
    """The basis by its name, or by the year in the name of the file or its folder."""
    from contextface_ros.face.calibration import FLAME_BASES

    if name is not None:
        if name not in FLAME_BASES:
            raise BadInput(f"--name {name[:40]!r} is unknown: use one of {', '.join(FLAME_BASES)}")
        return name
    absolute = file.absolute()
    for words in (absolute.name.lower(), absolute.parent.name.lower()):
        years = [year for year in ("2020", "2023") if year in words]
        if len(years) == 1:
            no_jaw = years[0] == "2023" and "no_jaw" in absolute.name.lower()
            return f"flame{years[0]}{'_no_jaw' * no_jaw}"
    raise BadInput(
        f"{file} does not say which release it is, and coefficients of one mean nothing to another:"
        f" add --name {' or '.join(FLAME_BASES)}"
    )


def table(calibration: Calibration) -> str:
    """The residual of every unit as Markdown."""
    from contextface_ros.face.blendshapes import ARKIT_NAMES

    lines = [
        "| unit | moves, rms mm | left, rms mm | left | left at most, mm | jaw, rad |",
        "|---|---|---|---|---|---|",
    ]
    for k, name in enumerate(ARKIT_NAMES):
        moved, left = calibration.moved_mm[k], calibration.left_mm[k]
        if not calibration.coefficients[:, k].any() and not calibration.jaw_pose[:, k].any():
            lines.append(f"| {name} | {moved:.2f} | | not in FLAME's skin | | |")
            continue
        jaw = calibration.jaw_pose[:, k]
        turn = " ".join(f"{angle:.2f}" for angle in jaw) if jaw.any() else ""
        lines.append(
            f"| {name} | {moved:.2f} | {left:.2f} | {left / moved:.0%} "
            f"| {calibration.worst_mm[k]:.1f} | {turn} |"
        )
    return "\n".join(lines)


def draw(
    calibration: Calibration, flame: FlameModel, path: Path, *, columns: int = 8, width: int = 220
) -> None:
    """Draw FLAME with each unit at weight 1, what is left of the unit in red.

    Raises:
        MissingDependency: pyvista or a software OpenGL is not installed.
        BadInput: the place cannot be written.
    """
    import numpy as np

    from contextface_ros.face.blendshapes import ARKIT_NAMES
    from contextface_ros.face.flame_picture import FlamePainter, posed, sheet

    cells = []
    with FlamePainter(flame, calibration, width=width, height=round(width * 7 / 6)) as painter:
        for k, name in enumerate(ARKIT_NAMES):
            if not calibration.coefficients[:, k].any():
                continue
            error = np.zeros(len(flame.template))
            error[calibration.vertices] = calibration.residual_mm[k]
            face = posed(flame, calibration.coefficients[:, k], calibration.jaw_pose[:, k])
            share = calibration.left_mm[k] / calibration.moved_mm[k]
            cells.append((painter.picture(face, error), f"{name} {share:.0%}"))
    sheet([cells[i : i + columns] for i in range(0, len(cells), columns)], path)
