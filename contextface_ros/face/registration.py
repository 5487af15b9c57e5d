"""Where each point of a FLAME head's skin lies on the open head.

FLAME's landmarks may not be shipped, so none of its vertex numbers is used. What every FLAME-format
head tells of itself is enough: the eye joints are the centres of the eyes; where vertices that
follow the jaw lie against vertices that do not, there is the mouth; the nose is what stands out
between them. These points place one head in the other. Then the open head is bent, coarsely
first, until it lies on the other (the Gaussian process registration of Luethi et al., "Gaussian
process morphable models", IEEE TPAMI 40(8), 2018, with closest points found anew in each step).
Both heads open their mouths meanwhile: closed lips lie nearest to the wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contextface_ros.errors import BadInput
from contextface_ros.face.closest import Closest, closest_points
from contextface_ros.face.flame import JOINTS, FlameModel
from contextface_ros.face.open_head import OpenHead
from contextface_ros.face.surface import vertex_normals

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_JAW, _LEFT_EYE, _RIGHT_EYE = (JOINTS.index(name) for name in ("jaw", "left_eye", "right_eye"))
_OPEN_RAD = 0.25  # by which the jaws open while the heads are laid on each other

# Distances are in units of the distance between the eyes, about 62 mm.
_LIP_GAP = 0.08  # between the lips of a closed mouth, at most
_FACE_RADIUS, _FACE_BACK = 2.0, 1.2  # of the face round the middle of the eyes, and behind it
_SITES = 400  # places that push the surface
_LEVELS = ((1.0, 6), (0.5, 6), (0.25, 6), (0.12, 6))  # width of the push, steps
_STIFFNESS = 0.002
_FAR = 0.25  # no closest point is believed that is further away
_FACING = 0.6  # cosine between the normals of points that can be the same
_ON_SURFACE = 0.06  # a point that ends up further away has no place on the open head


@dataclass(frozen=True)
class Registration:
    """A FLAME head laid on the open head.

    Attributes:
        scale: metres of the FLAME head in one metre of the open head.
        turn: (3, 3) rotation from the open head's frame to the FLAME head's.
        shift: (3,) in the FLAME head's metres: x -> scale * turn @ x + shift.
        vertices: (N,) vertices of the FLAME head that have a place on the open head.
        corners: (N, 3) vertices of the open head round that place.
        shares: (N, 3) their shares in it.
        distance_m: (N,) of those vertices from the bent open head, in the FLAME head's metres.
    """

    scale: float
    turn: Array
    shift: Array
    vertices: IntArray
    corners: IntArray
    shares: Array
    distance_m: Array

    def carried(self, displacements: npt.NDArray[np.floating]) -> Array:
        """Displacements of the open head (..., V, 3) as the FLAME head's (..., N, 3), in metres."""
        at_places = np.einsum("nc,...ncx->...nx", self.shares, displacements[..., self.corners, :])
        return np.asarray(self.scale * at_places @ self.turn.T)


def register(head: OpenHead, flame: FlameModel) -> Registration:
    """Lay a FLAME head on the open one.

    Raises:
        BadInput: the file is no head with two eyes and a mouth that its jaw opens.
        MissingDependency, BadBundle: the open head cannot be made.
    """
    open_skin = head.model.faces[head.parts == "skin"].astype(np.int64)
    of_eyes = flame.skin_weights[:, [_LEFT_EYE, _RIGHT_EYE]].max(axis=1) > 0.5
    flame_skin = flame.faces[~of_eyes[flame.faces].any(axis=1)].astype(np.int64)
    ours, theirs = _landmarks(head.model, open_skin), _landmarks(flame, flame_skin)
    scale, turn, shift = _similarity(ours, theirs)

    source = scale * _opened(head.model) @ turn.T + shift
    target = _opened(flame)
    unit = float(np.linalg.norm(theirs[0] - theirs[1]))
    triangles = _of_face(open_skin, scale * head.model.template @ turn.T + shift, theirs, turn)
    bent = _bend(source, triangles, target, flame_skin, unit)

    wanted = np.unique(flame_skin)
    found = closest_points(target[wanted], bent, triangles)
    distance = np.linalg.norm(found.points - target[wanted], axis=1)
    normals = vertex_normals(target, flame_skin)[wanted]
    facing = (normals * _interpolated(vertex_normals(bent, triangles), found)).sum(axis=1)
    kept = (distance < _ON_SURFACE * unit) & (facing > _FACING)
    kept &= found.shares.max(axis=1) < 1.0 - 1e-9  # beyond the rim it would be a corner
    return Registration(
        scale, turn, shift, wanted[kept], found.corners[kept], found.shares[kept], distance[kept]
    )


def _landmarks(model: FlameModel, skin: IntArray) -> Array:
    """Left eye, right eye, middle of the mouth, tip of the nose: (4, 3)."""
    points = model.template.astype(np.float64)
    joints = model.joint_regressor.astype(np.float64) @ points
    left, right = joints[_LEFT_EYE], joints[_RIGHT_EYE]
    unit = float(np.linalg.norm(left - right))
    if not 0.01 * np.ptp(points, axis=0).max() < unit:
        raise BadInput("the head has no two eyes: its eye joints lie in one place")
    used = np.unique(skin)
    jaw = model.skin_weights[used, _JAW]
    upper, lower = used[jaw < 0.3], used[jaw > 0.6]
    gap = np.linalg.norm(points[upper, np.newaxis] - points[lower], axis=-1)
    above, below = np.nonzero(gap < _LIP_GAP * unit)
    middles = (points[upper][above] + points[lower][below]) / 2
    across = (left - right) / unit
    eyes = (left + right) / 2
    middles = middles[np.abs((middles - eyes) @ across) < 0.1 * unit]
    if not len(middles):
        raise BadInput("the head's jaw joint opens no mouth: it is no FLAME head")
    lips = middles.mean(axis=0)

    down = lips - eyes - across * ((lips - eyes) @ across)
    forward = np.cross(down / np.linalg.norm(down), across)
    # The lips' foremost point, so that a deep inside of a mouth does not pull.
    lips = middles[(middles @ forward).argmax()]
    skin_points = points[used]
    beside = np.abs((skin_points - eyes) @ across) < 0.25 * unit
    height = (skin_points - eyes) @ down / (down @ down)  # 0 at the eyes, 1 at the mouth
    between = skin_points[beside & (height > 0.1) & (height < 0.9)]
    if not len(between):
        raise BadInput("the head has no nose between its eyes and mouth: it is no FLAME head")
    return np.array([left, right, lips, between[(between @ forward).argmax()]])


def _similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation and shift of least squares between points (N, 3).

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    IEEE TPAMI 13(4), 1991.
    """
    from_middle, to_middle = source.mean(axis=0), target.mean(axis=0)
    a, b = source - from_middle, target - to_middle
    left, stretch, right = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.linalg.det(left @ right)])
    turn = (left * flip) @ right
    scale = float((stretch * flip).sum() / (a**2).sum())
    return scale, turn, to_middle - scale * turn @ from_middle


def _opened(model: FlameModel) -> Array:
    """The vertices with an open mouth, (V, 3)."""
    joints = model.joint_regressor @ model.template
    pose = np.zeros((len(JOINTS), 3))
    pose[_JAW] = _OPEN_RAD * (joints[_LEFT_EYE] - joints[_RIGHT_EYE])
    pose[_JAW] /= np.linalg.norm(joints[_LEFT_EYE] - joints[_RIGHT_EYE])
    return model.vertices(np.zeros(1), pose).astype(np.float64)


def _of_face(skin: IntArray, points: Array, landmarks: Array, turn: Array) -> IntArray:
    """The triangles of the skin that belong to the face: not neck, nape and crown."""
    eyes = landmarks[:2].mean(axis=0)
    unit = float(np.linalg.norm(landmarks[0] - landmarks[1]))
    near = np.linalg.norm(points - eyes, axis=1) < _FACE_RADIUS * unit
    near &= (points - eyes) @ turn[:, 2] > -_FACE_BACK * unit
    return np.asarray(skin[near[skin].all(axis=1)])


def _bend(
    points: Array, triangles: IntArray, target: Array, target_triangles: IntArray, unit: float
) -> Array:
    """Bend a surface onto another, (V, 3); vertices of no triangle go along with the rest."""
    used = np.unique(triangles)
    sites = used[_spread(points[used], _SITES)]
    target_normals = vertex_normals(target, target_triangles)
    bent: Array = points
    for width, steps in _LEVELS:
        start, spread = bent, width * unit
        kernel = _kernel(start, start[sites], spread)  # (V, S)
        for _ in range(steps):
            found = closest_points(bent[used], target, target_triangles)
            normals = _interpolated(target_normals, found)
            facing = (vertex_normals(bent, triangles)[used] * normals).sum(axis=1)
            away = np.linalg.norm(found.points - bent[used], axis=1)
            believed = ((facing > _FACING) & (away < _FAR * unit))[:, np.newaxis]
            basis = kernel[used]
            system = basis.T @ (believed * basis) + len(used) * _STIFFNESS * kernel[sites]
            system += 1e-9 * len(used) * np.eye(len(sites))
            pushes = np.linalg.solve(system, basis.T @ (believed * (found.points - start[used])))
            bent = np.asarray(start + kernel @ pushes)
    return bent


def _kernel(points: Array, sites: Array, width: float) -> Array:
    square = (points**2).sum(1)[:, np.newaxis] + (sites**2).sum(1) - 2 * points @ sites.T
    return np.asarray(np.exp(-np.maximum(square, 0.0) / (2 * width**2)))


def _spread(points: Array, count: int) -> IntArray:
    """Points far from each other: each is the one furthest from those before."""
    chosen = [0]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen, dtype=np.int64)


def _interpolated(values: Array, found: Closest) -> Array:
    return np.asarray(np.einsum("nc,ncx->nx", found.shares, values[found.corners]))
