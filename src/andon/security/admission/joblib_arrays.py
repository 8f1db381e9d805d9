"""Where the pickle goes on after an array that joblib wrote raw into the stream.

joblib (numpy_pickle.NumpyArrayWrapper) writes the wrapper as an object and the array's bytes right behind its BUILD:
with `numpy_array_alignment_bytes` one byte of padding length, the padding, then the data; object arrays as a pickle.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from andon.security.admission.opcodes import Buffer

_DEPTH_MAX = 4
_STATE_MIN = 8  # (version, order, sub-array, names, fields, size, alignment, flags)
_OBJECT_FLAGS = 0x07  # NPY_ITEM_HASOBJECT, NPY_LIST_PICKLE, NPY_ITEM_IS_POINTER
_FLAGS_OF_OBJECTS = 63
WRAPPERS = ("joblib.numpy_pickle.NumpyArrayWrapper",)


class Place(msgspec.Struct, frozen=True):
    """Where the stream goes on, or why that cannot be said."""

    end: int = 0
    is_pickled: bool = False
    problem: str = ""


def after_wrapper(state: Any, data: Buffer, at: int) -> Place:
    """The place after the array of this wrapper whose bytes begin at `at`."""
    if not isinstance(state, dict):
        return Place(problem="an array's wrapper has no state")
    shape, dtype = state.get("shape"), _dtype(state.get("dtype"))
    if dtype is None:
        return Place(problem="the type of an array is not known")
    if dtype == "object":
        return Place(is_pickled=True, end=at)
    if not isinstance(shape, tuple) or not all(isinstance(size, int) and 0 <= size < 2**48 for size in shape):
        return Place(problem="the shape of an array is not known")
    size = math.prod(shape) * int(dtype)
    if state.get("numpy_array_alignment_bytes") is not None:
        if at >= len(data):
            return Place(problem="an array is cut off")
        at += 1 + data[at]
    if at + size > len(data):
        return Place(problem="an array is cut off")
    return Place(end=at + size)


def _dtype(made: Any) -> str | None:
    """The bytes of one element as text, "object", or None. `made` is the call of numpy.dtype."""
    code = _code(made)
    if code is None or dtype_problem(made):
        return None
    if code.lstrip("|<>=").startswith("O"):
        return "object"
    found = re.fullmatch(r"[<>|=]?([biufcSVUmM?])(\d+)", code)
    return None if found is None else str(int(found[2]) * (4 if found[1] == "U" else 1))


def _code(made: Any) -> str | None:
    arguments = getattr(made, "arguments", None)
    if getattr(made, "of", "") != "numpy.dtype" or not isinstance(arguments, tuple) or not arguments:
        return None
    return arguments[0] if isinstance(arguments[0], str) else None


def dtype_problem(made: Any, depth: int = 0) -> str:
    """Why a numpy.dtype with its state may not be made; empty if it may.

    A pickle sets the flags of a dtype itself. One that says that its elements are no objects while they are, or the
    other way round, makes numpy take the file's bytes for pointers.
    """
    code = _code(made)
    if code is None or depth > _DEPTH_MAX:
        return "its type cannot be followed"
    state = made.state
    if state is None:
        return ""
    if not isinstance(state, tuple) or len(state) < _STATE_MIN or not isinstance(state[7], int):
        return "its state cannot be followed"
    is_object = code.lstrip("|<>=").startswith("O")
    if is_object != bool(state[7] & _OBJECT_FLAGS) or (is_object and state[7] != _FLAGS_OF_OBJECTS):
        return "its flags lie about objects"
    parts = [] if state[2] is None else [state[2][0] if isinstance(state[2], tuple) and state[2] else None]
    if isinstance(state[4], dict):
        if not isinstance(state[3], tuple) or len(state[4]) != len(state[3]):
            return "its fields cannot be followed"
        parts += [value[0] if isinstance(value, tuple) and value else None for value in state[4].values()]
    elif state[4] is not None:
        return "its fields cannot be followed"
    for part in parts:
        inner = _code(part)
        if inner is None or inner.lstrip("|<>=").startswith("O") or dtype_problem(part, depth + 1):
            return "its parts hold objects or cannot be followed"
    return ""
