"""The vision tower on llama.cpp's mtmd: a picture in, the language model's embeddings of it out.

The picture is padded to a square, never cropped, as in training. mtmd then resizes it with the
very bicubic filter of Pillow, so that CLIP sees the pixels that it saw there, byte by byte.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp

from contextface_ros.errors import Aborted, BadBundle, BadInput
from contextface_ros.language.clip_watch import ClipWatch
from contextface_ros.types import Float32Array, UInt8Array

PADDING = (122, 116, 104)
"""RGB beside a picture that is not square: CLIP's mean colour, which becomes zero."""


class Eyes:
    """An mmproj file beside a loaded language model. One thread owns both.

    Attributes:
        count: how many embeddings a picture has.
    """

    def __init__(
        self,
        mmproj: Path,
        model: Any,
        *,
        threads: int,
        on_gpu: bool,
        flash_attention: int,
        log: Any,
        stopped: Callable[[], bool],
    ) -> None:
        """Load a file that was checked before (`mmproj_header.py`).

        Args:
            mmproj: GGUF of vision tower and projector.
            model: llama.cpp's pointer to the language model; must outlive this.
            threads: CPU threads.
            on_gpu: whether a GPU is used where there is one.
            flash_attention: one of llama.cpp's LLAMA_FLASH_ATTN_TYPE.
            log: llama.cpp's callback for its lines.
            stopped: asked now and then; once it says true, `see` ends with Aborted.

        Raises:
            BadBundle: mtmd cannot load it, or it is for another language model.
        """
        self._stopped = stopped
        self._watch = ClipWatch(stopped)
        self._width = int(llama_cpp.llama_model_n_embd(model))
        mtmd_cpp.mtmd_helper_log_set(log, ctypes.c_void_p(0))
        parameters = mtmd_cpp.mtmd_context_params_default()
        parameters.use_gpu = on_gpu
        parameters.print_timings = False
        parameters.n_threads = threads
        parameters.flash_attn_type = flash_attention
        parameters.cb_eval = self._watch.callback
        self._context: Any = mtmd_cpp.mtmd_init_from_file(str(mmproj).encode(), model, parameters)
        if not self._context:
            raise BadBundle(
                f"llama.cpp cannot load {mmproj} beside its language model: export both"
            )
        try:
            self.count = len(self.see(np.zeros((8, 8, 3), np.uint8)))
        except BaseException:
            self.close()
            raise

    def check(self, picture: UInt8Array) -> None:
        """Raise BadInput unless it is (H, W, 3) uint8, with pixels."""
        shape, kind = np.shape(picture), getattr(picture, "dtype", None)
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise BadInput(f"The image is {kind} of shape {shape}; send (H, W, 3) uint8 in RGB.")

    def see(self, picture: UInt8Array) -> Float32Array:
        """(T, D) float32 embeddings of an (H, W, 3) uint8 RGB picture; T is `count`, always.

        Raises:
            BadInput: it is no such picture.
            Aborted: `stopped` said so.
        """
        self.check(picture)
        square = padded(picture)
        side = len(square)
        pixels = np.ascontiguousarray(square).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = mtmd_cpp.mtmd_bitmap_init(side, side, pixels)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        try:
            return self._encode(bitmap, chunks)
        finally:
            mtmd_cpp.mtmd_input_chunks_free(chunks)
            mtmd_cpp.mtmd_bitmap_free(bitmap)

    def close(self) -> None:
        """Free native memory, before that of the language model. Safe to call twice."""
        if self._context is not None:
            mtmd_cpp.mtmd_free(self._context)
        self._context = None

    def _encode(self, bitmap: Any, chunks: Any) -> Float32Array:
        # A picture alone: no text goes through here, so none can hold a marker.
        part = mtmd_cpp.mtmd_input_part(None, bitmap)
        parts = (ctypes.POINTER(mtmd_cpp.mtmd_input_part) * 1)(ctypes.pointer(part))
        failed = mtmd_cpp.mtmd_tokenize_from_parts(self._context, chunks, parts, 1, False)
        if failed or mtmd_cpp.mtmd_input_chunks_size(chunks) != 1:
            raise BadBundle("the vision tower wants more than a picture: export mmproj again")
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, 0)
        failed = mtmd_cpp.mtmd_encode_chunk(self._context, chunk)
        if self._stopped():
            raise Aborted("Stopped before there was an answer.")
        if failed:
            raise BadBundle("llama.cpp failed on a picture; its log says why.")
        self._watch.require_order()
        shape = (mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk), self._width)
        embeddings = mtmd_cpp.mtmd_get_output_embd(self._context)
        return np.array(np.ctypeslib.as_array(embeddings, shape), np.float32)


def padded(picture: UInt8Array) -> UInt8Array:
    """(S, S, 3) uint8 of (H, W, 3): in the middle of a square of its longer side."""
    height, width, _ = picture.shape
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = PADDING
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
