"""Light on the skin, by vertex: soft, and warm at its edge, as where light goes through skin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextface_ros.types import Float32Array

# Three-point lighting: place in m, colour, strength. Seen from the front, the key light is on the
# left and above, the fill on the right, and the rim behind the head.
LIGHTS = (
    ((-0.55, 0.65, 0.95), (1.0, 0.95, 0.88), 0.80),
    ((0.80, 0.10, 0.70), (0.80, 0.88, 1.0), 0.36),
    ((0.35, 0.60, -0.70), (1.0, 1.0, 1.0), 0.55),
)
SKY, GROUND = (0.20, 0.21, 0.23), (0.13, 0.10, 0.09)  # light from above and from below
WRAP = (0.24, 0.10, 0.06)  # how far red, green and blue reach round an edge of the light
GLOSS, SQUARINGS = 0.10, 4  # strength of highlights, and their sharpness: to the power of 2^4


def _towards(places: npt.ArrayLike) -> Float32Array:
    directions = np.asarray(places, dtype=np.float32)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


_DIRECTIONS = _towards([place for place, _, _ in LIGHTS])
_HALFWAY = _towards(_DIRECTIONS + np.array((0.0, 0.0, 1.0)))  # between each light and who looks
_STRENGTHS = np.array([np.array(colour) * s for _, colour, s in LIGHTS], dtype=np.float32)


def light_on(normals: npt.NDArray[np.floating]) -> tuple[Float32Array, Float32Array]:
    """Light on a surface with unit normals (N, 3), far from the lights.

    Returns:
        (N, 3) factors of the surface's colour, red, green and blue, and (N, 1) what its gloss adds.
    """
    normals = np.asarray(normals, dtype=np.float32)
    facing = normals @ _DIRECTIONS.T
    upward = 0.5 + 0.5 * normals[:, 1]
    factors = np.empty((len(normals), 3), np.float32)
    for channel, wrap in enumerate(WRAP):
        diffuse = np.clip((facing + wrap) / (1.0 + wrap), 0.0, 1.0) @ _STRENGTHS[:, channel]
        ground, sky = GROUND[channel], SKY[channel]
        factors[:, channel] = 0.92 * diffuse + ground + (sky - ground) * upward
    gloss = np.maximum(normals @ _HALFWAY.T, 0.0)
    for _ in range(SQUARINGS):
        gloss *= gloss
    return factors, GLOSS * (gloss @ _STRENGTHS.mean(axis=1))[:, np.newaxis]
