"""Arrays out of a pickle, without running what else is in it.

FLAME's released files are pickles of Python 2 that hold chumpy and scipy objects, and trackers
pickle their codes. Neither package is needed to read them, and no class or function that a file
names is ever called: a stub keeps what an object was made from, and `dense` takes the numbers out.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a dictionary whose values are arrays, numbers, plain containers or stubs.

    Raises:
        OSError: the file cannot be read.
        ValueError, pickle.UnpicklingError and what a broken pickle makes Python raise: it holds
            no dictionary, or asks for a class or function that is not known here.
    """
    fields = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    if not isinstance(fields, dict):
        raise ValueError("it does not hold a dictionary")
    return fields


class _Stub:
    """Stands for an object in a pickle: keeps what it is made from, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Stub):
    """A NumPy array; its state is (version, shape, dtype, whether in Fortran's order, bytes)."""


class _Dtype(_Stub):
    """A NumPy dtype, made from a code such as "f8"; its state holds the byte order."""


class _Chumpy(_Stub):
    """A chumpy array; its state is a dictionary with the numbers in "x"."""


class _Selection(_Stub):
    """A part of a chumpy array: the entries "idxs" of the array "a", in "preferred_shape"."""


class _Sparse(_Stub):
    """A compressed-column matrix of scipy; its state is a dictionary."""


def _reconstructor(kind: Any, base: Any, state: Any) -> _Stub:
    """`copyreg._reconstructor` of an object that protocol 0 or 1 wrote; only of a stub."""
    if not (isinstance(kind, type) and issubclass(kind, _Stub)) or base is not object or state:
        raise pickle.UnpicklingError("it asks for an object that is no array")
    return kind()


def _latin1(text: str, encoding: str) -> bytes:
    """What pickles of Python 2 call `_codecs.encode` for, and nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


_PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and plain containers as stubs, and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "_reconstruct"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("chumpy", "Ch"): _Chumpy,
            ("chumpy", "Select"): _Selection,
            ("scipy", "csc_matrix"): _Sparse,
            ("_codecs", "encode"): _latin1,
            # Every chumpy array carries a set of its own bookkeeping.
            ("builtins", "set"): set,
            ("builtins", "object"): object,
            ("copyreg", "_reconstructor"): _reconstructor,
        }
        package = module.partition(".")[0]
        try:
            return known[_PYTHON_2_NAMES.get(package, package), name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def dense(value: Any) -> npt.NDArray[Any]:
    """Turn a value of `read_pickle`, or of an .npz, into an array. Raises ValueError for others."""
    if isinstance(value, _Chumpy):
        return dense(_fields(value)["x"])
    if isinstance(value, _Selection):
        fields = _fields(value)
        chosen = dense(fields["a"]).ravel()[dense(fields["idxs"]).astype(np.int64)]
        return chosen.reshape(tuple(int(side) for side in fields["preferred_shape"]))
    if isinstance(value, _Sparse):
        fields = _fields(value)
        rows, columns = (int(side) for side in fields["_shape"])
        starts, row = dense(fields["indptr"]), dense(fields["indices"])
        column = np.repeat(np.arange(columns), np.diff(starts))
        matrix = np.zeros((rows, columns))
        np.add.at(matrix, (row, column), dense(fields["data"]))
        return matrix
    if isinstance(value, _Array):
        _, shape, dtype, fortran, raw = value.state
        if not isinstance(dtype, _Dtype) or not re.fullmatch("[biuf][1248]", dtype.arguments[0]):
            raise ValueError("it holds an array of something else than numbers")
        order = "<" if dtype.state is None or dtype.state[1] == "|" else dtype.state[1]
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        numbers = np.frombuffer(data, np.dtype(order + dtype.arguments[0]))
        return np.reshape(numbers, shape, order="F" if fortran else "C")
    if isinstance(value, _Stub):
        raise ValueError("it holds something else than arrays")
    return np.asarray(value)


def _fields(stub: _Stub) -> dict[str, Any]:
    if not isinstance(stub.state, dict):
        raise ValueError("it holds an array without numbers")
    return stub.state
