"""The head of a body with binary tensors, as far as guards must understand it.

Types alone, never compiled: what a decoder fills must be the class that it was made from.
Source: triton-inference-server extension_binary_data.md.
"""

from __future__ import annotations

from typing import Final

import msgspec


class TensorParameters(msgspec.Struct):
    """How many bytes of the body one tensor takes."""

    binary_data_size: int | None = None


class Tensor(msgspec.Struct):
    """One tensor, in or out."""

    datatype: str = ""
    parameters: TensorParameters | None = None


class Head(msgspec.Struct):
    """The JSON before the tensors."""

    inputs: list[Tensor] = []
    outputs: list[Tensor] = []


read_head: Final = msgspec.json.Decoder(Head).decode
