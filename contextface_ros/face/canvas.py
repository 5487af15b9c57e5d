"""A picture to draw smooth outlines on, in the units of a face, whatever its size in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from contextface_ros.types import UInt8Array

Array = npt.NDArray[np.float64]
Colour = tuple[int, int, int]

_FRACTION_BITS = 4  # of a pixel, which OpenCV draws with
_STEPS = 8  # of a curve, from one point to the next
_TURNS = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)


@dataclass(frozen=True)
class Canvas:
    """A picture and its place in the face.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, drawn on in place.
        scale: pixels to one of the face's units.
        origin: (2,) pixels, where the middle of the face lies.
    """

    pixels: UInt8Array
    scale: float
    origin: tuple[float, float]

    def fill(self, outline: Array, colour: Colour) -> None:
        """Fill an outline (N, 2)."""
        cv2.fillPoly(self.pixels, [self._fixed(outline)], colour, cv2.LINE_AA, _FRACTION_BITS)

    def disc(self, centre: npt.ArrayLike, radius: npt.ArrayLike, colour: Colour) -> None:
        """Fill an ellipse, whose radius is one number or (2,)."""
        self.fill(np.asarray(centre) + np.asarray(radius) * _CIRCLE, colour)

    def stroke(self, line: Array, half: npt.ArrayLike, colour: Colour) -> None:
        """Draw a line (N, 2) with round ends, whose half width may change along it."""
        halves = np.broadcast_to(np.asarray(half, dtype=np.float64), len(line))
        heading = np.gradient(line, axis=0)
        heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-9)
        across = np.stack([-heading[:, 1], heading[:, 0]], axis=1) * halves[:, np.newaxis]
        self.fill(np.concatenate([line + across, (line - across)[::-1]]), colour)
        for end in (0, -1):
            self.disc(line[end], halves[end], colour)

    @contextmanager
    def within(self, outline: Array) -> Iterator[Canvas]:
        """Draw on a canvas of which only what lies within an outline is kept at the end."""
        corners = self._fixed(outline) >> _FRACTION_BITS
        size = np.array(self.pixels.shape[1::-1])
        left, top = np.clip(corners.min(axis=0) - 1, 0, size)
        right, bottom = np.clip(corners.max(axis=0) + 3, 0, size)
        below = self.pixels[top:bottom, left:right]
        origin = self.origin[0] - float(left), self.origin[1] - float(top)
        layer = replace(self, pixels=below.copy(), origin=origin)
        yield layer
        if below.size:
            stencil = replace(layer, pixels=np.zeros_like(below))
            stencil.fill(outline, (255, 255, 255))
            share = stencil.pixels.astype(np.uint16)
            mixed = layer.pixels * share + below * (255 - share)
            below[:] = (mixed + 127) // 255

    def _fixed(self, places: Array) -> npt.NDArray[np.int32]:
        """Places in the face's units, y up, as OpenCV's pixels with a fraction, y down."""
        pixels = places * (self.scale, -self.scale) + (self.origin[0] - 0.5, self.origin[1] - 0.5)
        return np.rint(pixels * (1 << _FRACTION_BITS)).astype(np.int32)


def curve(points: Sequence[Array] | Array, *, closed: bool = False) -> Array:
    """A smooth line through points (Catmull and Rom, 1974), (N, 2)."""
    places = np.asarray(points, dtype=np.float64)
    if closed:
        padded = np.concatenate([places[-1:], places, places[:2]])
    else:
        before, after = 2 * places[0] - places[1], 2 * places[-1] - places[-2]
        padded = np.concatenate([before[np.newaxis], places, after[np.newaxis]])
    t = (np.arange(_STEPS) / _STEPS)[:, np.newaxis]
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    )
    count = len(padded) - 3
    parts = sum(weights[k] * padded[k : k + count, np.newaxis] for k in range(4))
    line = np.reshape(parts, (-1, 2))
    return line if closed else np.concatenate([line, places[-1:]])


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue
