"""What a file is, by its content. A name is believed only to say what a file pretends to be.

Pure but for parsing; never imports or loads what it looks at.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from andon.security.admission.budget import Budget
from andon.security.admission.onnx import is_onnx
from andon.security.admission.opcodes import Buffer
from andon.security.admission.pickles import is_binary_pickle

_HEAD = 8192
_JSON_BYTES_MAX = 64 << 20
_SAFETENSORS_HEADER_MAX = 100 << 20

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\x7fELF", "native"),
    (b"MZ", "native"),
    (b"\xfe\xed\xfa", "native"),
    (b"\xcf\xfa\xed\xfe", "native"),
    (b"\xce\xfa\xed\xfe", "native"),
    (b"\xca\xfe\xba\xbe", "native"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"PAR1", "table"),
    (b"ARROW1", "table"),
)
# Names that make loaders take a file for a pickle, whatever is in it.
PICKLE_SUFFIXES = frozenset(
    ".pkl .pickle .p .pk .joblib .cloudpickle .dill .pt .pth .ckpt .bin .mar .model .sav .npy .npz .z .gz".split()
)
FORMAT_OF_SUFFIX = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".npy": "npy",
    ".npz": "zip",
    ".zip": "zip",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".keras": "zip",
    ".gguf": "gguf",
}


def sniff(data: Buffer, budget: Budget) -> str:
    """The format of these bytes; "unknown" if they are none that is known."""
    if len(data) == 0:
        return "empty"
    head = data[:_HEAD]
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if is_binary_pickle(data):
        return "pickle"
    if len(head) > 262 and head[257:262] == b"ustar":
        return "tar"
    if _is_zlib(head):
        return "zlib"
    if _is_safetensors(data, head):
        return "safetensors"
    if _is_text(data, head):
        return _text_format(data, head)
    if is_onnx(data, budget):
        return "onnx"
    return "unknown"


def has_zip_end(data: Buffer) -> bool:
    """Whether an end of a zip's directory stands in the last 64 KiB: readers of zips start there."""
    return data[max(0, len(data) - 66_000) :].rfind(b"PK\x05\x06") >= 0


def suffix_of(path: str) -> str:
    """The suffix of the innermost name, in lower case."""
    return PurePosixPath(path.rpartition("!")[2].lower()).suffix


def _is_zlib(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x78 and head[1] in (0x01, 0x5E, 0x9C, 0xDA) and _is_not_text(head)


def _is_not_text(head: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 32 or byte > 126 for byte in head[:512])


def _is_safetensors(data: Buffer, head: bytes) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    size = int.from_bytes(head[:8], "little")
    return 2 <= size <= min(_SAFETENSORS_HEADER_MAX, len(data) - 8)


def _is_text(data: Buffer, head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < _HEAD:
            return False
    if len(data) <= _HEAD:
        return True
    try:
        if len(data) <= _JSON_BYTES_MAX:
            data[:].decode("utf-8")
        return data.find(b"\0") < 0
    except UnicodeDecodeError:
        return False


def _text_format(data: Buffer, head: bytes) -> str:
    start = head.lstrip()
    if start.startswith(b"tree\n") and b"version=" in head[:200]:
        return "lightgbm"
    if start.startswith(b"{") and len(data) <= _JSON_BYTES_MAX:
        try:
            document = json.loads(data[:])
        except (ValueError, RecursionError):
            return "text"
        if isinstance(document, dict) and "learner" in document and "version" in document:
            return "xgboost"
    return "text"
