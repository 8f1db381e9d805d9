"""The weights of the tagger of names: a file beside this one, made by `tools/train_pii.py`; its SHA-256 is the version.

Apart from the tagger because a compiled module does not stand where its source does.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Final

import msgspec

from andon.kernel.errors import Refused

WEIGHTS: Final = Path(__file__).with_name("tagger.weights")
SCALE: Final = 32.0  # stored weights are whole numbers of 1/SCALE


class Weights(msgspec.Struct, frozen=True):
    """What training found: tags, and for each feature the weight of each tag that it speaks of."""

    tags: tuple[str, ...]
    features: dict[str, dict[int, int]]


def load_weights(path: Path = WEIGHTS, digest: str = "") -> tuple[Weights, str]:
    """The weights and their version; raises Refused if the file is not there, damaged, or not the one expected."""
    try:
        data = path.read_bytes()
        version = hashlib.sha256(data).hexdigest()
        weights = msgspec.msgpack.decode(zlib.decompress(data), type=Weights)
    except (OSError, zlib.error, msgspec.MsgspecError) as error:
        raise Refused(
            "guard_weights_damaged",
            f"The weights of the detector of names cannot be read: {type(error).__name__}.",
            hint="Install Andon again, or train them: python -m tools.train_pii.",
        ) from error
    if digest and version != digest:
        raise Refused(
            "guard_weights_damaged",
            "The weights of the detector of names are not the ones that belong to this version.",
            hint="Install Andon again.",
        )
    return weights, version[:12]
