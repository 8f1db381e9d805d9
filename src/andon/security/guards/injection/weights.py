"""The injection detector's weights: their file, its seal, and the arithmetic of a score.

Whole numbers by name, so that a sum is the same in any order and on any machine. The file is a magic word, the SHA-256
of the rest, and MessagePack; one that does not match its seal is refused. The SHA-256 is the detector's version.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import msgspec

from andon.kernel.errors import Refused

MAGIC = b"andon-injection-1\n"
FILE_BYTES_MAX = 4 << 20
SCALE = 4096  # a weight of 1.0


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One linear head."""

    bias: int
    weights: dict[str, int]  # by the name of a feature, in 1/SCALE
    centre: int  # the sum at which a score is 0.5: the threshold chosen in training, in 1/SCALE
    slope: float  # of the logistic curve, by Platt 1999 on scores of models that had not seen the text
    rates: dict[str, float]  # share of benign texts to be flagged, to the score from which they are


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What training leaves."""

    made: str  # by which recipe
    sources: dict[str, int]  # how many texts of each source taught
    input: Channel
    context: Channel


def dilution(features: int) -> float:
    """What a window of so many features is weighed by, so that long texts are not suspect by their length alone."""
    return math.sqrt(20.0 / max(features, 5))


def score(channel: Channel, total: float) -> float:
    """0..1 from a sum of weights (bias included); 0.5 at the threshold of training."""
    steep = channel.slope * (total - channel.centre) / SCALE
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, steep))))


def seal(weights: Weights) -> bytes:
    """The file's bytes; the same weights always give the same."""
    content = msgspec.msgpack.encode(weights, order="deterministic")
    return MAGIC + hashlib.sha256(content).digest() + content


def load(path: Path) -> tuple[Weights, str]:
    """Weights and their SHA-256 in hex. Raises Refused where the file is absent, cut, changed or not one of ours."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= FILE_BYTES_MAX else b""
    except OSError as error:
        raise _refused("cannot be read") from error
    head = len(MAGIC) + 32
    content = raw[head:]
    digest = hashlib.sha256(content)
    if raw[: len(MAGIC)] != MAGIC or raw[len(MAGIC) : head] != digest.digest():
        raise _refused("are damaged or not ours")
    try:
        return msgspec.msgpack.decode(content, type=Weights), digest.hexdigest()
    except (msgspec.DecodeError, ValueError) as error:
        raise _refused("are of another form") from error


def _refused(why: str) -> Refused:
    return Refused(
        "guard_weights_damaged",
        f"The weights of the injection detector {why}.",
        hint="Install Andon again, or restore the file that training wrote.",
    )
