"""Base weights in a format that llama.cpp multiplies fast on a CPU.

llama.cpp has packed matrix kernels for Q8_0 and not for Q4_1, in which SmolLM2 comes. So the base
is written once more, as Q8_0, into the user's cache, and a prompt is read faster (docs/latency.md).
The rounding is of the size of that of the activations.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import llama_cpp

from contextface_ros.checksum import remembered_sha256
from contextface_ros.errors import BadBundle
from contextface_ros.folders import user_cache
from contextface_ros.language.gguf_header import read_header

SLOW_FILE_TYPE = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1
FAST_FILE_TYPE = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0

_LOG = logging.getLogger(__name__)


def fast_weights(base: Path, threads: int) -> Path:
    """The same weights as Q8_0 if `base` is in Q4_1, made in the cache on first use (seconds).

    Where the cache cannot be written, `base` itself, with a warning that says so.
    """
    if read_header(base).keys.get("general.file_type") != SLOW_FILE_TYPE:
        return base
    target = user_cache() / "weights" / f"{remembered_sha256(base)[:16]}-q8_0.gguf"
    if _is_whole(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that start together each write a file of their own.
        temporary = target.with_suffix(f".{os.getpid()}")
        _requantize(base, temporary, threads)
        temporary.replace(target)
    except OSError as error:
        _LOG.warning(
            "%s cannot be written (%s): the model runs from slower weights", target, error.strerror
        )
        return base
    return target


def _is_whole(file: Path) -> bool:
    """Whether a file in the cache can be loaded: one cut short is made again."""
    with contextlib.suppress(BadBundle):
        return bool(read_header(file).keys.get("general.file_type") == FAST_FILE_TYPE)
    return False


def _requantize(source: Path, target: Path, threads: int) -> None:
    """Raises OSError if llama.cpp cannot write the file."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FAST_FILE_TYPE
    parameters.allow_requantize = True
    parameters.nthread = threads
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters):
        target.unlink(missing_ok=True)
        raise OSError(None, "llama.cpp could not convert the weights")
