"""g_theta: from the language model's hidden state to the 100 expression coefficients."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contextface_ros.errors import BadBundle, BadInput, MissingDependency
from contextface_ros.face.onnx_check import HeadShape, check_head
from contextface_ros.folders import user_cache
from contextface_ros.types import DEVICES, EMOTIONS, EXPRESSION_SIZE, Float32Array

if TYPE_CHECKING:
    import onnxruntime

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_WANTED = {
    "auto": (_TENSORRT, _CUDA, _CPU),
    "cpu": (_CPU,),
    "cuda": (_CUDA,),
    "tensorrt": (_TENSORRT, _CUDA),
}
_NO_GPU = b"no GPU"
_MAX_ROWS = 256  # a TensorRT engine is built for 1 to this many rows; more go in several calls


class FaceHead:
    """A face head in ONNX, run by ONNX Runtime. Usable from one thread at a time.

    Attributes:
        hidden_size: width D of the hidden state that it takes.
        provider: the execution provider that really runs it, such as "CPUExecutionProvider".
        fallback_reason: why `auto` runs on a slower provider than this onnxruntime has, in one
            sentence for the log, or None.
    """

    def __init__(self, path: str | Path, device: str = "auto", threads: int = 1) -> None:
        """Load, check and try a face head.

        Args:
            path: the ONNX file.
            device: "cpu", "cuda", "tensorrt", or "auto" for the best that works. Only "auto"
                falls back to another than it names.
            threads: CPU threads of one inference.

        Raises:
            BadBundle: the file is missing or is not a face head; says what is wrong.
            BadInput: unknown device, or one that does not work here.
            MissingDependency: onnxruntime is not installed.
        """
        if device not in DEVICES:
            raise BadInput(f"device {device!r} is unknown, known are: {', '.join(DEVICES)}")
        if threads < 1:
            raise BadInput(f"threads is {threads}, it must be at least 1")
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadBundle(f"the face head {path} cannot be read: {error.strerror}") from error
        shape = check_head(data, path.name)
        self._shape = shape
        self.hidden_size = shape.hidden_size
        self._session, self.fallback_reason = _open_session(data, shape, device, threads)
        self.provider: str = self._session.get_providers()[0]
        # The first run is the slow one (TensorRT builds its engine here), so it is done now.
        try:
            zeros = np.zeros(self.hidden_size, np.float32)
            self.project(zeros, np.full(len(EMOTIONS), 1 / len(EMOTIONS), np.float32))
        except Exception as error:
            raise BadBundle(f"{path.name} cannot be run by {self.provider}: {error}") from error

    def project(
        self, hidden: Float32Array, probabilities: Float32Array | None = None
    ) -> Float32Array:
        """Expression coefficients of one hidden state or of several.

        Args:
            hidden: (D,) or (N, D) float32.
            probabilities: (7,) or (N, 7) float32 over EMOTIONS, for the heads that use them; the
                others take no notice.

        Returns:
            (100,) or (N, 100) float32, in standard deviations of each component.

        Raises:
            BadInput: another shape, a number that is not finite, or no probabilities for a head
                that needs them.
            BadBundle: the head's answer is not finite.
        """
        rows = np.atleast_2d(np.asarray(hidden, np.float32))
        if np.ndim(hidden) not in (1, 2) or rows.shape[1] != self.hidden_size:
            raise BadInput(
                f"the hidden state has shape {np.shape(hidden)}, "
                f"the face head takes ({self.hidden_size},) or (N, {self.hidden_size})"
            )
        if not np.isfinite(rows).all():
            raise BadInput("the hidden state holds numbers that are not finite")
        feeds = {self._shape.input: rows}
        if self._shape.probabilities is not None:
            feeds[self._shape.probabilities] = _checked(probabilities, len(rows))
        beta: Float32Array = np.empty((len(rows), EXPRESSION_SIZE), np.float32)
        for start in range(0, len(rows), _MAX_ROWS):
            part = slice(start, start + _MAX_ROWS)
            batch = {name: np.ascontiguousarray(value[part]) for name, value in feeds.items()}
            (answer,) = self._session.run([self._shape.output], batch)
            if answer.shape != beta[part].shape:
                raise BadBundle(f"the face head gave an array of shape {answer.shape}")
            beta[part] = answer
        if not np.isfinite(beta).all():
            raise BadBundle("the face head gave numbers that are not finite; its weights are unfit")
        return beta[0] if np.ndim(hidden) == 1 else beta


def _checked(probabilities: Float32Array | None, rows: int) -> Float32Array:
    """(N, 7) float32. Raises BadInput."""
    if probabilities is None:
        raise BadInput("this face head needs the probabilities of the seven emotions too")
    table = np.atleast_2d(np.asarray(probabilities, np.float32))
    if table.shape != (rows, len(EMOTIONS)) or not np.isfinite(table).all():
        raise BadInput(
            f"the probabilities have shape {np.shape(probabilities)}, the face head takes "
            f"{len(EMOTIONS)} finite numbers for each of {rows} hidden states"
        )
    return table


def _open_session(
    data: bytes, shape: HeadShape, device: str, threads: int
) -> tuple[onnxruntime.InferenceSession, str | None]:
    """A session on the best provider that `device` allows, and why it is not a better one."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency("the face head needs: pip install onnxruntime") from error

    available = onnxruntime.get_available_providers()
    wanted = [name for name in _WANTED[device] if name in available]
    if _WANTED[device][0] not in available and device != "auto":
        raise BadInput(
            f"device {device!r} needs {_WANTED[device][0]}, but the installed onnxruntime "
            f"{onnxruntime.__version__} has {', '.join(available)}: install onnxruntime-gpu "
            "(on a Jetson, NVIDIA's wheel) or choose device 'cpu'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The bytes were checked as ONNX: they must not be taken for ONNX Runtime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    settings = [_provider_settings(name, data, shape) for name in wanted]
    try:
        session = onnxruntime.InferenceSession(
            data, options, providers=wanted, provider_options=settings
        )
        trouble = ""
    except Exception as error:  # onnxruntime raises its own classes, without a common base
        if device != "auto" or wanted == [_CPU]:
            raise BadBundle(f"onnxruntime refuses the face head: {error}") from error
        session = onnxruntime.InferenceSession(data, options, providers=[_CPU])
        trouble = f" ({error})"
    provider = session.get_providers()[0]
    if provider == wanted[0]:
        blind = device == "auto" and provider == _CPU and _gpu_name() != _NO_GPU
        hint = "this onnxruntime has no GPU provider (pip install onnxruntime-gpu)"
        return session, f"the face head runs on {provider}: {hint}" if blind else None
    if device != "auto":  # onnxruntime itself falls back to the CPU, silently
        raise BadInput(
            f"device {device!r} was asked for, but {wanted[0]} does not start here and onnxruntime "
            f"would use {provider}: check its CUDA and cuDNN libraries, or choose device 'cpu'"
        )
    return session, f"the face head runs on {provider}: {wanted[0]} does not start here{trouble}"


def _provider_settings(provider: str, data: bytes, shape: HeadShape) -> dict[str, Any]:
    if provider != _TENSORRT:
        return {}
    folder = tensorrt_cache(data)
    folder.mkdir(parents=True, exist_ok=True)
    widths = {shape.input: shape.hidden_size}
    if shape.probabilities is not None:
        widths[shape.probabilities] = len(EMOTIONS)

    def shapes(rows: int) -> str:
        return ",".join(f"{name}:{rows}x{width}" for name, width in widths.items())

    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(1),
        "trt_profile_max_shapes": shapes(_MAX_ROWS),
    }


def tensorrt_cache(data: bytes) -> Path:
    """Where TensorRT keeps the engine of one model, on one GPU, with one pair of versions.

    TensorRT names engines by the structure of a model alone, and loads those that an older
    version wrote: so whatever an engine depends on is in the name of its folder.

    Args:
        data: the ONNX file's bytes.
    """
    import onnxruntime

    parts = [data, _gpu_name(), _tensorrt_version(), onnxruntime.__version__.encode()]
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return user_cache() / "tensorrt" / key[:32]


def _gpu_name() -> bytes:
    with contextlib.suppress(OSError):
        cuda = ctypes.CDLL("libcuda.so.1")
        name = ctypes.create_string_buffer(256)
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetName(name, 256, 0) == 0:
            return name.value
    return _NO_GPU


def _tensorrt_version() -> bytes:
    for major in (10, 8):
        with contextlib.suppress(OSError):
            return str(ctypes.CDLL(f"libnvinfer.so.{major}").getInferLibVersion()).encode()
    return b"no TensorRT"
