"""The scan of one model: every file by its content, archives by their members, pickles opcode by opcode.

Reads a private copy of the model and nothing else. What is not understood is a finding: unknown is never clean.
"""

from __future__ import annotations

import ast
import json
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from andon.security.admission.budget import Allowance, Budget, Exhausted
from andon.security.admission.containers import is_outside, unpack, untar, unzip
from andon.security.admission.mlmodel import described_by_mlflow
from andon.security.admission.model import FINDINGS_MAX, Finding, Scanned, Severity
from andon.security.admission.onnx import scan_onnx
from andon.security.admission.opcodes import Buffer
from andon.security.admission.pickles import scan_if_pickle, scan_pickles
from andon.security.admission.sniffing import FORMAT_OF_SUFFIX, PICKLE_SUFFIXES, has_zip_end, sniff, suffix_of

_NPY_HEADER_MAX = 10_000  # what numpy itself is willing to read
_SAFETENSORS_TYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8,
}  # fmt: skip
_NOT_LOOKED_INTO = {"7z", "rar", "zstd", "lz4"}
VERSION = 2  # of what the scan knows; a higher one scans admitted models again


def scan_model(root: Path, names: Sequence[str], allowance: Allowance | None = None) -> Scanned:
    """Scan the files `names` below `root` (or `root` itself, if it is a file). Never raises for what is in them."""
    scan = _Scan(Budget(allowance))
    total = 0
    described = described_by_mlflow(root, names)
    scan.findings += described.findings
    for name in names:
        path = root if root.is_file() else root / name
        size = path.stat().st_size
        total += size
        scan.is_declared_pickle = name in described.pickles
        try:
            with path.open("rb") as file:
                if size == 0:
                    scan.formats[name] = scan.file(b"", name, 0)
                else:
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                        scan.formats[name] = scan.file(mapped, name, 0)
        except Exhausted as error:
            scan.formats.setdefault(name, "unknown")
            scan.say(
                name, "scan-bounded", f"It was not looked at to its end: {error.what}.", severity="refused"
            )
    scan.check_beside(set(names))
    return Scanned(
        formats=scan.formats,
        findings=tuple(scan.findings[:FINDINGS_MAX]),
        found=len(scan.findings),
        bytes_seen=total + scan.budget.unpacked_bytes,
        operations=scan.budget.operations,
    )


class _Scan:
    """One scan under way."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.formats: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.is_declared_pickle = False
        self._beside: list[tuple[str, str]] = []  # (ONNX file, file it reads)
        self._unknowns: list[str] = []

    def say(
        self, path: str, rule: str, message: str, subject: str = "", severity: Severity = "suspicious"
    ) -> None:
        self.findings.append(
            Finding(rule=rule, severity=severity, path=path, message=message, subject=subject)
        )

    def file(self, data: Buffer, path: str, depth: int) -> str:
        """Look at one file or member; what it is. Raises `Exhausted`."""
        form = sniff(data, self.budget)
        suffix = suffix_of(path)
        looked: dict[str, Callable[[Buffer, str, int], str | None]] = {
            "pickle": self._pickle,
            "zip": self._archive,
            "tar": self._archive,
            "gzip": self._stream,
            "zlib": self._stream,
            "bzip2": self._stream,
            "xz": self._stream,
            "lzma": self._stream,
            "npy": self._npy,
            "onnx": self._onnx,
            "safetensors": self._safetensors,
            "text": self._text,
            "xgboost": self._text,
            "lightgbm": self._text,
            "unknown": self._unknown,
        }
        expected = FORMAT_OF_SUFFIX.get(suffix)
        if expected and expected != form and form != "empty":
            self.say(path, "name-mismatch", f"It is called {suffix} and is {form}.", severity="refused")
        if form != "zip" and has_zip_end(data) and form not in ("tar", "gzip", "bzip2", "xz"):
            self.say(path, "polyglot", f"It is {form}, and a zip archive at its end.", severity="refused")
            self._archive(data, path, depth)
        if form == "native":
            self.say(path, "native-code", "It is machine code.", severity="refused")
        elif form in _NOT_LOOKED_INTO:
            self.say(path, "archive-unknown", f"It is packed as {form}, which is not looked into.")
        elif form in ("hdf5", "gguf"):
            pass  # the list of formats decides: neither runs code when read, what Keras makes of one may
        found = looked[form](data, path, depth) if form in looked else None
        return found or form

    def _pickle(self, data: Buffer, path: str, depth: int) -> str:
        self.findings += scan_pickles(data, path, self.budget)
        return "pickle"

    def _text(self, data: Buffer, path: str, depth: int) -> str | None:
        """Text may be a pickle of protocol 0."""
        if self.is_declared_pickle and depth == 0:
            return self._pickle(data, path, depth)
        found = scan_if_pickle(data, path, self.budget)
        suffix = suffix_of(path)
        if found is not None and (found or suffix in PICKLE_SUFFIXES):
            self.findings += found
            return "pickle"
        if suffix in PICKLE_SUFFIXES - {".model", ".bin"}:
            self.say(path, "name-mismatch", f"It is called {suffix} and is text.", severity="refused")
        if suffix in (".py", ".pyx"):
            return "python"
        return None

    def _unknown(self, data: Buffer, path: str, depth: int) -> str | None:
        if self.is_declared_pickle and depth == 0:
            return self._pickle(data, path, depth)
        found = scan_if_pickle(data, path, self.budget)
        if found is not None:
            self.findings += found
            return "pickle"
        self._unknowns.append(path)
        return None

    def _archive(self, data: Buffer, path: str, depth: int) -> str | None:
        if depth >= self.budget.allowance.depth:
            self.say(path, "archive-depth", "Archives stand in archives too deeply.", severity="refused")
            return None
        is_tar = sniff(data[:1024], self.budget) == "tar"
        form: str | None = None

        def say(rule: str, message: str, severity: str) -> None:
            self.say(path, rule, message, severity="refused" if severity == "refused" else "suspicious")

        names: set[str] = set()
        for name, content in (untar if is_tar else unzip)(data, self.budget, say):
            names.add(name)
            inner = f"{path}!{name}"
            if name.endswith((".pkl", "/constants.pkl")) and not is_tar:
                form = form or "torch"
                self.findings += scan_pickles(content, inner, self.budget, may_persist=True)
            elif self._is_tensor(name, names):
                continue
            else:
                kept, self.is_declared_pickle = self.is_declared_pickle, False
                self.file(content, inner, depth + 1)
                self.is_declared_pickle = kept
        if suffix_of(path) == ".npz":
            return "npz"
        return "keras" if "config.json" in names and "metadata.json" in names else form

    @staticmethod
    def _is_tensor(name: str, names: set[str]) -> bool:
        """Raw storages of a torch archive: `archive/data/0`, beside an `archive/data.pkl`."""
        folder, _, number = name.rpartition("/")
        return number.isdigit() and folder.endswith("/data") and f"{folder}.pkl" in names

    def _stream(self, data: Buffer, path: str, depth: int) -> str | None:
        if depth >= self.budget.allowance.depth:
            self.say(path, "archive-depth", "Streams stand in streams too deeply.", severity="refused")
            return None

        def say(rule: str, message: str, severity: str) -> None:
            self.say(path, rule, message, severity="refused" if severity == "refused" else "suspicious")

        content = unpack(sniff(data[:1024], self.budget), data, self.budget, say)
        if content is None:
            return None
        return self.file(content, f"{path}!unpacked", depth + 1)

    def _npy(self, data: Buffer, path: str, depth: int) -> str:
        wide = len(data) > 8 and data[6] >= 2
        start = 12 if wide else 10
        size = int.from_bytes(data[8:start], "little")
        header = data[start : start + size]
        described: Any = None
        if size <= _NPY_HEADER_MAX and len(header) == size:
            try:
                described = ast.literal_eval(header.decode("latin-1"))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                described = None
        if not isinstance(described, dict) or "descr" not in described:
            self.say(path, "npy-broken", "The header of the array cannot be read.", severity="refused")
        elif "O" in json.dumps(described["descr"], default=str):
            rest = data[start + size :]
            self.findings += scan_pickles(rest, path, self.budget)
            return "pickle"
        return "npy"

    def _onnx(self, data: Buffer, path: str, depth: int) -> str:
        findings, beside = scan_onnx(data, path, self.budget)
        self.findings += findings
        folder = PurePosixPath(path).parent
        self._beside += [(path, (folder / name).as_posix()) for name in beside]
        return "onnx"

    def _safetensors(self, data: Buffer, path: str, depth: int) -> str:
        size = int.from_bytes(data[:8], "little")
        try:
            header = json.loads(data[8 : 8 + size])
            problem = _safetensors_problem(header, len(data) - 8 - size)
        except (ValueError, RecursionError, TypeError):
            problem = "its header is no JSON"
        if problem:
            self.say(path, "safetensors-broken", f"It cannot be read: {problem}.", severity="refused")
        return "safetensors"

    def check_beside(self, names: set[str]) -> None:
        """Files that an ONNX model reads are part of the model; unknown files that nobody reads are said."""
        for owner, beside in self._beside:
            if "!" in owner or beside not in names or is_outside(beside):
                self.say(owner, "onnx-missing", f"It reads '{beside[:120]}', which is not part of the model.")
        read = {beside for _, beside in self._beside}
        for path in self._unknowns:
            if path in read:
                self.formats[path] = "weights"
            else:
                self.say(
                    path, "unknown-content", "Nobody knows what it is, so nobody can say that it is clean."
                )


def _safetensors_problem(header: Any, size: int) -> str:
    """Why a header does not describe the `size` bytes behind it; empty if it does (safetensors, README: Format)."""
    if not isinstance(header, dict):
        return "its header is no object"
    spans: list[tuple[int, int]] = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        try:
            described = msgspec.convert(tensor, _Tensor)
        except msgspec.ValidationError:
            return "a tensor is not described"
        width = _SAFETENSORS_TYPES.get(described.dtype)
        start, end = described.data_offsets
        count = 1
        for length in described.shape:
            count *= length
        if width is None or not 0 <= start <= end <= size or end - start != count * width:
            return "a tensor is not where its header says"
        spans.append((start, end))
    spans.sort()
    at = 0
    for start, end in spans:
        if start != at:
            return "tensors overlap or leave gaps"
        at = end
    return "" if at == size else "bytes stand behind its tensors"


class _Tensor(msgspec.Struct, frozen=True):
    """One tensor of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
