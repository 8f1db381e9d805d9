"""Warm-up: the first predictions, made before anybody waits for them, and the last look at what a model gives.

Run in the replica before it is ready. A model that fails on its declared samples is not served; one that fails on
samples made up from its signature is, with a warning, because made-up values may be outside what it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from andon.kernel.clock import Clock
from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.formats.port import DTYPES, Array, LoadedModel, datatype_of

_REPEATS = 5
_FREE_SIZE = 1  # given to a free dimension that is not the first
_ELEMENTS_MAX = 1 << 24  # a made-up sample beyond this would take longer than it warms


class Warm(msgspec.Struct, frozen=True, kw_only=True):
    """What warm-up has learnt."""

    predict_s: float  # one row, the quickest of a few
    warning: str = ""


def can_stack(signature: Signature) -> bool:
    """Whether requests may share a call: every tensor has a free first dimension, and outputs are known."""
    tensors = (*signature.inputs, *signature.outputs)
    return bool(signature.outputs) and all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors)


def made_up(signature: Signature, rows: int) -> dict[str, Array]:
    """Inputs of `rows` rows within the stated ranges."""
    return {tensor.name: _filled(tensor, rows) for tensor in signature.inputs}


def _filled(tensor: TensorSpec, rows: int) -> Array:
    shape = [
        (rows if place == 0 else _FREE_SIZE) if size == -1 else size
        for place, size in enumerate(tensor.shape)
    ]
    if np.prod(shape, dtype=float) > _ELEMENTS_MAX:
        shape = [min(size, 1) for size in shape]
    if tensor.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    low, high = tensor.minimum, tensor.maximum
    value = low if low is not None else min(0.0, high) if high is not None else 0.0
    return np.full(shape, value, dtype=DTYPES[tensor.datatype])


def sampled(signature: Signature, sample: Mapping[str, Any]) -> dict[str, Array]:
    """A declared sample as arrays; raises `Permanent` naming what does not fit."""
    arrays: dict[str, Array] = {}
    for tensor in signature.inputs:
        if tensor.name not in sample:
            if tensor.optional:
                continue
            raise Permanent("warmup_wrong", f"A sample of spec.warmup lacks the input '{tensor.name}'.")
        try:
            array = np.array(sample[tensor.name], dtype=DTYPES[tensor.datatype])
            if array.ndim < len(tensor.shape):
                array = array.reshape([max(size, 1) if size != -1 else -1 for size in tensor.shape])
        except (ValueError, TypeError, OverflowError) as error:
            raise Permanent(
                "warmup_wrong",
                f"'{tensor.name}' of spec.warmup is no {tensor.datatype} {list(tensor.shape)}: {error}.",
            ) from error
        arrays[tensor.name] = array
    return arrays


def warm(model: LoadedModel, samples: tuple[dict[str, Any], ...], rows_max: int, clock: Clock) -> Warm:
    """Predict a few times, once with a full batch; raises `Permanent` if the model is not what it says."""
    signature = model.signature
    declared = [sampled(signature, sample) for sample in samples]
    inputs = declared or [made_up(signature, 1)]
    quickest = float("inf")
    for turn in range(max(_REPEATS, len(inputs))):
        started = clock.monotonic()
        try:
            outputs = model.predict(inputs[turn % len(inputs)])
        except Exception as error:  # whatever the model raises says whether it can be served
            text = f"{type(error).__name__}: {error}"
            if declared:
                raise Permanent(
                    "warmup_failed",
                    f"The model fails on a sample of spec.warmup: {text}",
                    hint="Correct the sample or the model.",
                ) from error
            return Warm(predict_s=0.0, warning=f"the model fails on zeros made up for warm-up: {text}")
        quickest = min(quickest, clock.monotonic() - started)
        if turn == 0:
            _check_outputs(signature, outputs)
    if rows_max > 1 and can_stack(signature):
        _predict_full(model.predict, inputs[0], rows_max)
    return Warm(predict_s=quickest)


def _predict_full(
    predict: Callable[[Mapping[str, Array]], dict[str, Array]], inputs: dict[str, Array], rows_max: int
) -> None:
    """The largest batch, so that memory for it is there; whether it works is found out per request."""
    try:
        predict({name: np.repeat(array[:1], rows_max, axis=0) for name, array in inputs.items()})
    except Exception:  # the batcher falls back to single requests and each of them is answered
        return


def _check_outputs(signature: Signature, outputs: Mapping[str, Array]) -> None:
    for tensor in signature.outputs:
        array = outputs.get(tensor.name)
        if array is None:
            raise Permanent(
                "signature_wrong",
                f"The model gives no output '{tensor.name}'; it gives: {', '.join(outputs) or 'nothing'}.",
                hint="Correct the outputs of its signature.",
            )
        given = "BF16" if tensor.datatype == "BF16" else datatype_of(array)
        if given != tensor.datatype:
            raise Permanent(
                "signature_wrong",
                f"Output '{tensor.name}' is {given}, its signature says {tensor.datatype}.",
                hint="Correct the outputs of its signature.",
            )
