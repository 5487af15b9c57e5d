"""What is put right, and looked after, while mtmd runs CLIP.

llama.cpp puts CLIP's class token behind the patches, and goes on to number positions and patches
as if it stood in front (https://github.com/ggml-org/llama.cpp/issues/25814): each patch gets its
neighbour's position, the first is lost, and the class token is read as part of the picture. The
two lists of numbers are inputs of the graph, so they are rewritten right before they are used:

    patches 1..N, class     positions 1..N, 0     read 0..N-1

A version that has the class token in front is left alone. The same callback stops the work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp._ggml import libggml_base_path

from contextface_ros.errors import BadBundle

_EVERY = 64
"""Nodes of the graph that are computed in one go, between two looks at whether to stop."""


class _Tensor(ctypes.Structure):
    """The beginning of ggml_tensor, in ggml.h; the exact version of llama.cpp is pinned."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
    )


class ClipWatch:
    """A callback for the scheduler of ggml. Held as long as the context that it was given to.

    Attributes:
        callback: for `mtmd_context_params.cb_eval`.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        """`stopped` is asked now and then; once it says true, the graph is left unfinished."""
        self._stopped = stopped
        self._ggml = _library()
        self._class_is_last = False
        self._settled: set[str] = set()
        self._asked = 0
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._look)

    def require_order(self) -> None:
        """Raise BadBundle unless both lists were seen since the last call."""
        settled, self._settled = self._settled, set()
        if settled != {"class", "positions", "patches"}:
            raise BadBundle(
                "this llama.cpp orders CLIP's patches in a way that is not known: "
                "pip install llama-cpp-python==0.3.36"
            )

    def _look(self, node: int, asking: bool, _: Any) -> bool:
        """Before a node is computed: whether to stop behind it. Behind it: whether to go on."""
        if not asking:
            return not self._stopped()
        first, second = _Tensor.from_address(node).src[:2]
        if first and second:
            self._settle(self._name(first), second, self._name(second))
        self._asked += 1
        return self._asked % _EVERY == 0

    def _settle(self, first: str, address: int, second: str) -> None:
        """Look at a node's two sources."""
        if "v.class_embd" in (first, second):
            self._settled.add("class")
            self._class_is_last = second == "v.class_embd"
        for name, shift in (("positions", 1), ("patches", 0)):
            if name in second:  # on a GPU a copy's name says more
                self._settled.add(name)
                if self._class_is_last:
                    self._write(address, shift)

    def _write(self, address: int, shift: int) -> None:
        """0, 1, 2, ... into a list of int32, turned by `shift`."""
        count = _Tensor.from_address(address).ne[0]
        numbers = np.roll(np.arange(count, dtype=np.int32), -shift)
        self._ggml.ggml_backend_tensor_set(address, numbers.ctypes.data, 0, numbers.nbytes)

    def _name(self, address: int) -> str:
        name: bytes = self._ggml.ggml_get_name(address)
        return name.decode(errors="replace")


def _library() -> ctypes.CDLL:
    """The core of ggml, which llama.cpp has loaded already."""
    library: ctypes.CDLL = llama_cpp._ctypes_extensions.load_shared_library(
        "ggml-base", libggml_base_path
    )
    library.ggml_get_name.argtypes = [ctypes.c_void_p]
    library.ggml_get_name.restype = ctypes.c_char_p
    library.ggml_backend_tensor_set.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    ]
    library.ggml_backend_tensor_set.restype = None
    return library
