"""What is measured on dev and put behind a face projection.

Two things, both by what the model itself answers there:

- the face of a doubtful answer leans to those of the other emotions that it may be, weighted by
  their probabilities, and stays as strong as it was: the expected face, in its direction;
- one gain a coefficient, by least squares, makes smaller what the projection knows little about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contextface_ros.types import EMOTIONS, EXPRESSION_SIZE, Float32Array
from training import metrics
from training.evaluation.faces import Faces

HIGHEST_GAIN = 1.5
TINY = 1e-6


@dataclass(frozen=True)
class Calibration:
    """What is measured on dev and written into the head.

    Attributes:
        class_faces: (7, 100) float32, the mean face that the head gives each answer.
        gains: (100,) float32, one a coefficient.
    """

    class_faces: Float32Array
    gains: Float32Array

    def apply(self, said: Float32Array, probabilities: Float32Array) -> Float32Array:
        """(N, 100) float32 faces after calibration; `face_head.write_head` writes the same in ONNX.

        Args:
            said: (N, 100) faces as the projection gives them.
            probabilities: (N, 7) over EMOTIONS.
        """
        turned = lean(said, probabilities, self.class_faces)
        return (turned * self.gains).astype(np.float32)


def lean(
    said: Float32Array, probabilities: Float32Array, class_faces: Float32Array
) -> Float32Array:
    """(N, 100) faces that lean to the other emotions' (7, 100) mean faces, as strong as before."""
    certain = np.eye(len(EMOTIONS))[probabilities.argmax(axis=1)]
    turned = said + (probabilities - certain) @ class_faces
    norm = np.linalg.norm(turned, axis=1, keepdims=True)
    strength = np.linalg.norm(said, axis=1, keepdims=True) / np.maximum(norm, TINY)
    return np.asarray(turned * strength, dtype=np.float32)


def calibrate(faces: Faces) -> Calibration:
    """The mean face of each answer, and the gains with the smallest squared error behind it.

    The gain of a coefficient that is never moved is 1.
    """
    class_faces = np.zeros((len(EMOTIONS), EXPRESSION_SIZE), np.float32)
    for emotion in np.unique(faces.answers):
        class_faces[emotion] = faces.said[faces.answers == emotion].mean(axis=0)
    said = lean(faces.said, faces.probabilities, class_faces).astype(np.float64)
    truth = faces.truth.astype(np.float64)
    power = (said**2).sum(axis=0)
    gains = np.divide(
        (said * truth).sum(axis=0), power, out=np.ones(EXPRESSION_SIZE), where=power > TINY
    )
    return Calibration(class_faces, np.clip(gains, 0.0, HIGHEST_GAIN).astype(np.float32))


def print_calibration(faces: Faces, calibration: Calibration) -> None:
    """L2 and FD over those of the mean face, before and after."""
    truth = faces.truth
    mean = np.broadcast_to(faces.mean_face, truth.shape)
    l2_mean, fd_mean = metrics.l2(mean, truth), metrics.frechet(mean, truth)
    after = calibration.apply(faces.said, faces.probabilities)
    for when, said in (("before", faces.said), ("after", after)):
        l2, fd = metrics.l2(said, truth) / l2_mean, metrics.frechet(said, truth) / fd_mean
        print(f"{when} calibration, on dev, over those of the mean face: L2 {l2:.3f}, FD {fd:.3f}")
