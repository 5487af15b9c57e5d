"""ContextFace: a Context in, a Prediction out. f_phi and g_theta of the paper, joined.

Context -> prompts -> language model (emotion, hidden state) -> face head (beta) -> Prediction
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from contextface_ros.bundle import Bundle, load_bundle
from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.face.head import FaceHead
from contextface_ros.language.protocol import LanguageModel, Reading
from contextface_ros.language.runtime import Runtime
from contextface_ros.types import EMOTIONS, Context, Expression, Float32Array, Prediction

VALENCE = np.array([-0.51, -0.63, 0.40, 0.0, -0.64, 0.81, -0.60], np.float32)
"""(7,) pleasure of each emotion, -1..1, in the order of EMOTIONS: angry, sad, surprised, (none),
fearful, happy and disgusted in Russell and Mehrabian, Evidence for a Three-Factor Theory of
Emotions, Journal of Research in Personality 11 (1977). Neutral is the origin."""

AROUSAL = np.array([0.59, -0.27, 0.67, 0.0, 0.60, 0.51, 0.35], np.float32)
"""(7,) arousal of each emotion, -1..1, from the same table."""

INTENSITY_PER_NORM = 0.139
"""Intensity of a face in the open basis over the norm of its coefficients: least squares through
zero over the annotated training faces, where the two correlate at 0.98 (docs/log.md)."""

_LOG = logging.getLogger(__name__)


class ContextFace:
    """One loaded bundle. One thread owns it; `abort` may be called from any.

    Attributes:
        bundle: what was loaded.
        device: where the language model and the face head really run, in words.
    """

    def __init__(self, bundle: Bundle, language: LanguageModel, head: FaceHead) -> None:
        """Join two loaded parts. `load` is the usual way.

        Raises:
            BadInput: the head takes a hidden state of another width than the model's.
        """
        if language.hidden_size != head.hidden_size:
            raise BadInput(
                f"the language model's hidden state has {language.hidden_size} numbers, the face "
                f"head takes {head.hidden_size}: use the head that was trained with the model"
            )
        self.bundle = bundle
        self.device = f"{bundle.backend}, face head on {head.provider}"
        self._language = language
        self._head = head
        self._told_blind = False

    @classmethod
    def load(cls, bundle: str | Path = "nano", runtime: Runtime | None = None) -> ContextFace:
        """Load a bundle by name or path, with every file checked.

        Args:
            bundle: name of a bundle, or the folder of one.
            runtime: where and how it runs; `Runtime()` by default.

        Raises:
            BadBundle: not found, changed, or unfit.
            BadInput: a device that does not work here.
            MissingDependency: a package that the bundle needs is not installed.
        """
        runtime = runtime or Runtime()
        loaded = load_bundle(bundle)
        head = FaceHead(loaded.face_head_path, runtime.device)
        if head.fallback_reason:
            _LOG.warning("%s", head.fallback_reason)
        language = load_language(loaded, runtime)
        try:
            return cls(loaded, language, head)
        except BaseException:
            language.close()
            raise

    @property
    def sees(self) -> bool:
        """Whether the image of a context reaches the model."""
        return self._language.sees

    def predict(self, context: Context) -> Prediction:
        """Answer one context.

        Raises:
            BadInput: the text is missing, empty or too long.
            Aborted: `abort` was called meanwhile.
        """
        return self.predict_many([context])[0]

    def predict_many(self, contexts: Sequence[Context]) -> list[Prediction]:
        """Answer several contexts, in order. Raises as `predict` does, for any of them."""
        if not contexts:
            return []
        readings = self._language.read_many(contexts)
        betas = self._head.project(
            np.stack([reading.hidden_state for reading in readings]),
            np.stack([reading.probabilities for reading in readings]),
        )
        self._say_if_blind(contexts, readings)
        return [
            predicted(reading.probabilities, beta, self.bundle.basis, reading.used_image)
            for reading, beta in zip(readings, betas, strict=True)
        ]

    def abort(self) -> None:
        """Make the call under way raise Aborted soon. Callable from any thread."""
        self._language.abort()

    def close(self) -> None:
        """Free native memory. Safe to call twice."""
        self._language.close()

    def __enter__(self) -> ContextFace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _say_if_blind(self, contexts: Sequence[Context], readings: Sequence[Reading]) -> None:
        blind = any(
            context.image is not None and not reading.used_image
            for context, reading in zip(contexts, readings, strict=True)
        )
        if blind and not self._told_blind:
            self._told_blind = True
            _LOG.warning(
                "The bundle %s cannot see: images are left out, and answers are from words alone.",
                self.bundle.name,
            )


def predicted(
    probabilities: Float32Array, beta: Float32Array, basis: str, used_image: bool
) -> Prediction:
    """What follows from the two things that a model says.

    Args:
        probabilities: (7,) over EMOTIONS.
        beta: (100,) coefficients of the face.
        basis: name of their basis.
        used_image: whether an image was among what was read.
    """
    return Prediction(
        emotion=EMOTIONS[int(probabilities.argmax())],
        probabilities=probabilities,
        valence=float(probabilities @ VALENCE),
        arousal=float(probabilities @ AROUSAL),
        expression=Expression(
            basis=basis,
            coefficients=beta,
            jaw_pose=np.zeros(3, np.float32),
            intensity=min(1.0, INTENSITY_PER_NORM * float(np.linalg.norm(beta))),
        ),
        used_image=used_image,
    )


def load_language(bundle: Bundle, runtime: Runtime) -> LanguageModel:
    """The language model of a checked bundle, by its back end. Raises as `ContextFace.load`."""
    if bundle.backend == "huggingface":
        return _load_huggingface(bundle, runtime)
    from contextface_ros.language.llama_cpp import LlamaCpp

    return LlamaCpp(
        bundle.base_path,
        prompt="paper" if bundle.prompt == "paper" else "edge",
        adapter=bundle.adapter_path,
        adapter_scale=bundle.adapter.scale if bundle.adapter else 1.0,
        mmproj=bundle.mmproj_path,
        runtime=runtime,
    )


def _load_huggingface(bundle: Bundle, runtime: Runtime) -> LanguageModel:
    try:
        from contextface_ros.language.huggingface import HuggingFace
    except ImportError as error:
        raise MissingDependency(
            f"bundle {bundle.name} runs on transformers, and {error.name} is missing: "
            "pip install 'contextface_ros[huggingface]'"
        ) from error

    return HuggingFace(
        bundle.base_path,
        prompt="paper" if bundle.prompt == "paper" else "edge",
        adapter=bundle.adapter_path,
        adapter_scale=bundle.adapter.scale if bundle.adapter else 1.0,
        precision=bundle.precision or "bfloat16",
        runtime=runtime,
    )
