"""The JSON of the Open Inference Protocol v2 as a replica reads and writes it.

Types alone, apart from the code that uses them: that code may be compiled, and msgspec needs annotations as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class InputTensor(msgspec.Struct):
    """One input as received; `data` is left as JSON until its datatype is known."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] | None = None


class RequestedOutput(msgspec.Struct):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The JSON of `…/infer`. Unknown fields are ignored, as the protocol says."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """One output as sent."""

    name: str
    datatype: str
    shape: Sequence[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None
